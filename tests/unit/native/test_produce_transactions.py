"""Produce of transactional batches: the gate that is asked, and the log behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Client, Node, batch
from tests.unit.native.produce_requests import only, produce
from tidelog._native.crc32c import crc32c


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
async def client(node: Node) -> Client:
    return node.connect()


class Verifier:
    """The transaction gate of produces: an error code at once, or after a while."""

    def __init__(self, code: int, later: bool) -> None:
        self.code = code
        self.later = later
        self.asked: list[tuple[Any, ...]] = []

    def verify(self, partition: Any, *question: Any) -> Any:
        self.asked.append(question)

        async def answer() -> int:
            await asyncio.sleep(0)
            return self.code

        return answer() if self.later else self.code


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("code", [0, 51])
async def test_the_transaction_gate_lets_pass_or_refuses(
    node: Node, client: Client, code: int, later: bool
) -> None:
    node.topic("t")
    node.gates.transactions = gate = Verifier(code, later)
    request = produce(transactional_batch(7, 3, 0))
    request.transactional_id = "tx"
    answer = only(await client.ask(request, 9))
    # Behind the open gate stands the log, which knows of no transaction of that producer.
    assert answer.error_code == (code or 48)
    assert set(gate.asked) == {(b"tx", 7, 3, 0, 9)}
    assert only(await client.ask(produce(batch([b"plain"])), 9)).error_code == 0


async def test_a_transactional_batch_needs_a_transactional_id(node: Node, client: Client) -> None:
    node.topic("t")
    node.gates.transactions = gate = Verifier(0, False)
    answer = only(await client.ask(produce(transactional_batch(7, 3, 0)), 9))
    assert (answer.error_code, gate.asked) == (53, [])


async def test_what_the_coordinator_knows_begins_a_transaction(node: Node, client: Client) -> None:
    partition = node.topic("t")
    log = node.table.partition(b"t", 0).log
    expected = log.producers.expect(7, 3, 0)
    assert log.producers.verified(7, expected)
    node.gates.transactions = Verifier(0, True)
    request = produce(transactional_batch(7, 3, 0))
    request.transactional_id = "tx"
    assert only(await client.ask(request, 9)).error_code == 0
    assert log.producers.is_open(7, 3)
    assert partition is not None


def transactional_batch(producer_id: int, epoch: int, sequence: int) -> bytes:
    records = bytearray(batch([b"a"], producer=(producer_id, epoch, sequence)))
    records[22] |= 0x10
    records[17:21] = crc32c(bytes(records[21:])).to_bytes(4, "big")
    return bytes(records)

"""Produce of transactional batches: the gate that is asked, and the log behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Client, Node, batch
from tests.unit.native.produce_requests import only, produce
from tidelog._native.crc32c import crc32c
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
async def client(node: Node) -> Client:
    return node.connect()


class Verifier:
    """The transaction gate of produces; `codes` of its answers by partition, 0 for others.
    `says_yes`: what is not refused may be appended afterwards.
    """

    def __init__(self, codes: dict[int, int], *, asks: bool = True, says_yes: bool = False) -> None:
        self.codes = codes
        self.asks = asks
        self.says_yes = says_yes
        self.asked: list[tuple[Any, ...]] = []

    def must_ask(self, writer: tuple[Any, int, int, int]) -> bool:
        return self.asks and not writer[0].log.producers.is_open(*writer[1:3])

    def verify(self, writers: list[Any], *question: Any) -> Awaitable[list[int]]:
        self.asked.append(([(one[0].index, *one[1:]) for one in writers], *question))
        return self._answer(writers)

    async def _answer(self, writers: list[Any]) -> list[int]:
        await asyncio.sleep(0)
        for partition, producer_id, epoch, sequence in writers if self.says_yes else ():
            producers = partition.log.producers
            if not self.codes.get(partition.index):
                producers.verified(producer_id, producers.expect(producer_id, epoch, sequence))
        return [self.codes.get(one[0].index, 0) for one in writers]


def of_parts(parts: dict[int, bytes], version: int) -> ProduceRequest:
    request = produce(b"", version=version)
    request.transactional_id = "tx"
    request.topic_data[0].partition_data = [
        PartitionProduceData(index=index, records=records) for index, records in parts.items()
    ]
    return request


def codes_of(answer: Any) -> dict[int, int]:
    return {one.index: one.error_code for one in answer.responses[0].partition_responses}


async def test_an_open_gate_asks_nobody(node: Node, client: Client) -> None:
    node.topic("t")
    node.gates.transactions = gate = Verifier({}, asks=False)
    request = of_parts({0: transactional_batch(7, 3, 0)}, 9)
    # Behind it stands the log, which knows of no transaction of that producer.
    assert only(await client.ask(request, 9)).error_code == 48
    assert gate.asked == []


async def test_a_closed_gate_refuses(node: Node, client: Client) -> None:
    node.topic("t")
    node.gates.transactions = gate = Verifier({0: 51})
    request = of_parts({0: transactional_batch(7, 3, 0)}, 9)
    assert only(await client.ask(request, 9)).error_code == 51
    assert gate.asked == [([(0, 7, 3, 0)], b"tx", 9)]
    assert only(await client.ask(produce(batch([b"plain"])), 9)).error_code == 0


@pytest.mark.parametrize("version", [9, 12])
async def test_all_partitions_of_a_request_are_one_question(
    node: Node, client: Client, version: int
) -> None:
    node.topic("t", partitions=10)
    node.gates.transactions = gate = Verifier({}, says_yes=True)
    batches = {index: transactional_batch(7, 3, 0) for index in range(10)}
    answer = await client.ask(of_parts(batches, version), version)
    assert codes_of(answer) == dict.fromkeys(range(10), 0)
    assert gate.asked == [([(index, 7, 3, 0) for index in range(10)], b"tx", version)]
    # They are open now.
    batches = {index: transactional_batch(7, 3, 1) for index in range(10)}
    answer = await client.ask(of_parts(batches, version), version)
    assert codes_of(answer) == dict.fromkeys(range(10), 0)
    assert len(gate.asked) == 1


async def test_each_partition_has_its_own_answer(node: Node, client: Client) -> None:
    """Whatever is wrong with a batch before the gate, it is not asked for."""
    node.topic("t", partitions=6)
    node.gates.transactions = gate = Verifier({1: 120, 4: 51}, says_yes=True)
    batches = {index: transactional_batch(7, 3, 0) for index in (0, 1, 9, 3, 4, 5)}
    batches[2] = b""
    batches[3] = batch([b"plain"])
    answer = await client.ask(of_parts(batches, 12), 12)
    assert codes_of(answer) == {0: 0, 1: 120, 9: 3, 3: 0, 4: 51, 5: 0, 2: 87}
    assert gate.asked == [([(index, 7, 3, 0) for index in (0, 1, 4, 5)], b"tx", 12)]


async def test_a_yes_is_void_when_a_marker_came_before_the_batch(
    node: Node, client: Client
) -> None:
    """While an earlier part of the request waits for its first file."""
    node.topic("t", partitions=2)
    node.gates.transactions = gate = Verifier({}, says_yes=True)
    first, second = (node.table.partition(b"t", index).log for index in (0, 1))
    roll = first.owner.roll

    async def roll_slowly() -> None:
        assert second.producers.may_write(7, 3)
        second.producers.expect(7, 4, 0)  # As after a marker, the epoch before is not expected.
        gate.codes = {1: 120}
        await roll()

    first.owner.roll = roll_slowly
    batches = {index: transactional_batch(7, 3, 0) for index in (0, 1)}
    answer = await client.ask(of_parts(batches, 12), 12)
    assert codes_of(answer) == {0: 0, 1: 120}
    assert [one[0] for one in gate.asked] == [[(0, 7, 3, 0), (1, 7, 3, 0)], [(1, 7, 3, 0)]]


async def test_a_transactional_batch_needs_a_transactional_id(node: Node, client: Client) -> None:
    node.topic("t")
    node.gates.transactions = gate = Verifier({})
    answer = only(await client.ask(produce(transactional_batch(7, 3, 0)), 9))
    assert (answer.error_code, gate.asked) == (53, [])


async def test_what_the_coordinator_knows_begins_a_transaction(node: Node, client: Client) -> None:
    partition = node.topic("t")
    log = node.table.partition(b"t", 0).log
    expected = log.producers.expect(7, 3, 0)
    assert log.producers.verified(7, expected)
    node.gates.transactions = Verifier({})
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

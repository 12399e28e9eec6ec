"""InitProducerId: ids out of the controller's blocks, and the error table."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.coordinator.txn.decisions import Identity
from tidelog.limits import PRODUCER_ID_BLOCK_SIZE
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest


def ask(**words: Any) -> InitProducerIdRequest:
    words.setdefault("transactional_id", None)
    return InitProducerIdRequest(**words)


@pytest.mark.parametrize("version", range(6))
async def test_ids_are_new(version: int) -> None:
    node = Node()
    answers = [await node.ask(ask(), version) for _ in range(3)]
    assert [(a.error_code, a.producer_id, a.producer_epoch) for a in answers] == [
        (0, 0, 0),
        (0, 1, 0),
        (0, 2, 0),
    ]
    assert len(node.requests) == 1


async def test_a_block_that_is_used_up() -> None:
    node = Node()
    answers = await asyncio.gather(*(node.ask(ask(), 4) for _ in range(PRODUCER_ID_BLOCK_SIZE + 5)))
    ids = [answer.producer_id for answer in answers]
    assert sorted(ids) == list(range(PRODUCER_ID_BLOCK_SIZE + 5))
    assert len(node.requests) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"producer_id": 5}, 42),
        ({"producer_epoch": 5}, 42),
        ({"producer_id": 5, "producer_epoch": 3}, 0),
        ({"transaction_timeout_ms": -1}, 0),
        ({"transactional_id": ""}, 42),
    ],
)
async def test_codes(words: dict[str, Any], code: int) -> None:
    answer = await Node().ask(ask(**words), 4)
    assert answer.error_code == code
    assert (answer.producer_id, answer.producer_epoch) == ((0, 0) if code == 0 else (-1, -1))


@pytest.mark.parametrize(
    ("words", "expected"),
    [({}, None), ({"producer_id": 5, "producer_epoch": 3}, Identity(5, 3))],
)
async def test_a_transactional_id_is_the_coordinator_s(
    words: dict[str, Any], expected: Identity | None
) -> None:
    node = Node()
    node.transactions.answers["init_producer_id"] = Identity(9, 4)
    request = ask(transactional_id="tx", transaction_timeout_ms=77, **words)
    answer = await node.ask(request, 4)
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (0, 9, 4)
    assert node.transactions.asked == [("init_producer_id", "tx", 77, expected)]
    assert node.requests == []


@pytest.mark.parametrize(("version", "code"), [(3, 47), (4, 90)])
async def test_old_clients_know_no_fencing(version: int, code: int) -> None:
    node = Node()
    node.transactions.answers["init_producer_id"] = refusal(90)
    answer = await node.ask(ask(transactional_id="tx", transaction_timeout_ms=77), version)
    assert (answer.error_code, answer.producer_id) == (code, -1)


async def test_without_a_block() -> None:
    node = Node()
    await node.follow()
    node.silent = True
    assert (await node.ask(ask(), 4)).error_code == 14
    node.silent = False
    assert (await node.ask(ask(), 4)).producer_id == 0

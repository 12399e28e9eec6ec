"""AddPartitionsToTxn: of clients, and batched of brokers; all or nothing; the error table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.controller.requests import NewTopic
from tidelog.coordinator.txn.transaction import TopicPartition
from tidelog.handlers.context import RequestContext
from tidelog.protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


async def node_with(answer: Any = None) -> Node:
    node = Node()
    await node.create(NewTopic("t", 2), NewTopic("u", 1))
    node.transactions.answers = {"add_partitions": answer, "verify_partitions": answer}
    return node


def topics(**partitions: list[int]) -> list[AddPartitionsToTxnTopic]:
    return [AddPartitionsToTxnTopic(name=n, partitions=ps) for n, ps in partitions.items()]


def of_client(tid: str = "x", **partitions: list[int]) -> AddPartitionsToTxnRequest:
    return AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=tid,
        v3_and_below_producer_id=5,
        v3_and_below_producer_epoch=1,
        v3_and_below_topics=topics(**partitions),
    )


def of_broker(*asked: tuple[str, bool, dict[str, list[int]]]) -> AddPartitionsToTxnRequest:
    return AddPartitionsToTxnRequest(
        transactions=[
            AddPartitionsToTxnTransaction(
                transactional_id=tid,
                producer_id=5,
                producer_epoch=1,
                verify_only=verify_only,
                topics=topics(**partitions),
            )
            for tid, verify_only, partitions in asked
        ]
    )


def codes(results: Any) -> dict[tuple[str, int], int]:
    return {
        (topic.name, each.partition_index): each.partition_error_code
        for topic in results
        for each in topic.results_by_partition
    }


@pytest.mark.parametrize("version", range(4))
async def test_a_client(version: int) -> None:
    node = await node_with()
    answer = await node.ask(of_client(t=[0, 1, 0], u=[0]), version)
    found = codes(answer.results_by_topic_v3_and_below)
    assert found == {("t", 0): 0, ("t", 1): 0, ("u", 0): 0}
    ((_, tid, producer, places, client_version),) = node.transactions.asked
    assert (tid, producer, client_version) == ("x", (5, 1), 0)
    assert places == [T0, T1, TopicPartition("u", 0)]


@pytest.mark.parametrize("version", [4, 5])
async def test_brokers_ask_for_several_transactions(version: int) -> None:
    node = await node_with({T0: 0, T1: 120})
    node.transactions.answers["add_partitions"] = lambda tid, *_: (
        refusal(90) if tid == "z" else None
    )
    answer = await node.ask(
        of_broker(("x", True, {"t": [0, 1]}), ("y", False, {"u": [0]}), ("z", False, {"t": [1]})),
        version,
    )
    assert answer.error_code == 0
    found = {each.transactional_id: codes(each.topic_results)
             for each in answer.results_by_transaction}  # fmt: skip
    assert found == {
        "x": {("t", 0): 0, ("t", 1): 120},
        "y": {("u", 0): 0},
        "z": {("t", 1): 90},
    }
    assert [(asked[0], asked[1]) for asked in node.transactions.asked] == [
        ("verify_partitions", "x"),
        ("add_partitions", "y"),
        ("add_partitions", "z"),
    ]
    assert node.transactions.asked[1][-1] == 2  # the second generation


@pytest.mark.parametrize("version", [3, 5])
async def test_one_that_is_unknown_stops_the_others(version: int) -> None:
    node = await node_with()
    if version < 4:
        answer = await node.ask(of_client(t=[0, 2], nowhere=[0]), version)
        found = codes(answer.results_by_topic_v3_and_below)
    else:
        answer = await node.ask(of_broker(("x", False, {"t": [0, 2], "nowhere": [0]})), version)
        found = codes(answer.results_by_transaction[0].topic_results)
    assert found == {("t", 0): 55, ("t", 2): 3, ("nowhere", 0): 3}
    assert node.transactions.asked == []


@pytest.mark.parametrize(("version", "code"), [(0, 47), (1, 47), (2, 90), (3, 90)])
async def test_a_fenced_client(version: int, code: int) -> None:
    node = await node_with(refusal(90))
    answer = await node.ask(of_client(t=[0]), version)
    assert codes(answer.results_by_topic_v3_and_below) == {("t", 0): code}


async def test_without_a_transactional_id() -> None:
    node = await node_with()
    answer = await node.ask(of_client(tid="", t=[0]), 3)
    assert codes(answer.results_by_topic_v3_and_below) == {("t", 0): 42}


async def test_what_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    denied: set[tuple[int, int]] = set()
    monkeypatch.setattr(
        RequestContext,
        "authorize",
        lambda self, operation, resource, name: (operation, resource) not in denied,
    )
    node = await node_with()
    denied.add((4, 2))  # write to a topic
    answer = await node.ask(of_client(t=[0]), 3)
    assert codes(answer.results_by_topic_v3_and_below) == {("t", 0): 29}
    denied.add((4, 5))  # use a transactional id
    answer = await node.ask(of_client(t=[0]), 3)
    assert codes(answer.results_by_topic_v3_and_below) == {("t", 0): 53}
    answer = await node.ask(of_broker(("x", False, {"t": [0]})), 5)
    assert codes(answer.results_by_transaction[0].topic_results) == {("t", 0): 53}
    denied.add((9, 4))  # be a broker
    answer = await node.ask(of_broker(("x", False, {"t": [0]})), 5)
    assert (answer.error_code, answer.results_by_transaction) == (31, [])
    assert node.transactions.asked == []

"""TxnOffsetCommit: what reaches the coordinator, and the answer put together again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.controller.requests import NewTopic
from tidelog.handlers import txn_offset_commit
from tidelog.handlers.api import Handler
from tidelog.handlers.dispatch import Dispatcher
from tidelog.protocol.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)

HANDLER = Handler(txn_offset_commit.API, txn_offset_commit.handle, txn_offset_commit.error_answer)


def request(**topics: list[int]) -> TxnOffsetCommitRequest:
    return TxnOffsetCommitRequest(
        transactional_id="tx",
        group_id="g",
        producer_id=7,
        producer_epoch=1,
        topics=[
            TxnOffsetCommitRequestTopic(
                name=name,
                partitions=[
                    TxnOffsetCommitRequestPartition(partition_index=index, committed_offset=5)
                    for index in indexes
                ],
            )
            for name, indexes in topics.items()
        ],
    )


def committed(asked: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse:
    """Partition 1 is refused with 12, the others are taken."""
    return TxnOffsetCommitResponse(
        topics=[
            TxnOffsetCommitResponseTopic(
                name=topic.name,
                partitions=[
                    TxnOffsetCommitResponsePartition(
                        partition_index=each.partition_index,
                        error_code=12 if each.partition_index == 1 else 0,
                    )
                    for each in topic.partitions
                ],
            )
            for topic in asked.topics
        ]
    )


async def world() -> Node:
    node = Node(nodes=1)
    node.dispatcher = Dispatcher(node.services, (HANDLER,))
    await node.create(NewTopic("a", 3), NewTopic("b", 1))
    return node


def told(answer: Any) -> list[tuple[str, dict[int, int]]]:
    return [
        (topic.name, {each.partition_index: each.error_code for each in topic.partitions})
        for topic in answer.topics
    ]


@pytest.mark.parametrize("version", range(6))
async def test_what_does_not_exist_is_refused_and_the_rest_committed(version: int) -> None:
    node = await world()
    node.groups.answers["commit_transactional"] = committed
    answer = await node.ask(request(a=[0, 1, 3], gone=[0], b=[0, 1]), version)
    assert told(answer) == [
        ("a", {0: 0, 1: 12, 3: 3}),
        ("gone", {0: 3}),
        ("b", {0: 0, 1: 3}),
    ]
    ((_, asked),) = node.groups.asked
    assert [(topic.name, len(topic.partitions)) for topic in asked.topics] == [("a", 2), ("b", 1)]
    assert (asked.transactional_id, asked.group_id, asked.producer_id) == ("tx", "g", 7)


async def test_a_refusal_stands_on_what_was_asked_for() -> None:
    node = await world()
    node.groups.answers["commit_transactional"] = refusal(22)
    answer = await node.ask(request(a=[0, 9], gone=[0]), 5)
    assert told(answer) == [("a", {0: 22, 9: 3}), ("gone", {0: 3})]


async def test_nothing_that_exists() -> None:
    node = await world()
    assert told(await node.ask(request(gone=[0]), 5)) == [("gone", {0: 3})]
    assert node.groups.asked == []


async def test_a_partition_that_is_named_twice_is_answered_twice() -> None:
    node = await world()
    node.groups.answers["commit_transactional"] = committed
    (answered,) = (await node.ask(request(a=[1, 3, 0, 1]), 3)).topics
    found = [(each.partition_index, each.error_code) for each in answered.partitions]
    assert found == [(1, 12), (3, 3), (0, 0), (1, 12)]

"""OffsetCommit: what reaches the coordinator, and the answer put together again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.group_cases import refused
from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)

UNKNOWN_ID = b"\x01" * 16


def topic(name: str, *indexes: int, topic_id: bytes = bytes(16)) -> OffsetCommitRequestTopic:
    return OffsetCommitRequestTopic(
        name=name,
        topic_id=topic_id,
        partitions=[
            OffsetCommitRequestPartition(
                partition_index=index, committed_offset=5, committed_metadata="x"
            )
            for index in indexes
        ],
    )


def committed(request: OffsetCommitRequest) -> OffsetCommitResponse:
    """The coordinator's answer: partition 1 is refused with 12, the others are committed."""
    return OffsetCommitResponse(
        topics=[
            OffsetCommitResponseTopic(
                name=each.name,
                partitions=[
                    OffsetCommitResponsePartition(
                        partition_index=p.partition_index,
                        error_code=12 if p.partition_index == 1 else 0,
                    )
                    for p in each.partitions
                ],
            )
            for each in request.topics
        ]
    )


async def world() -> Node:
    node = Node()
    await node.create(NewTopic("t", 3, 1), NewTopic("u", 1, 1))
    node.groups.answers["commit_offsets"] = committed
    return node


def codes(answer: Any) -> list[tuple[str, dict[int, int]]]:
    return [
        (t.name, {p.partition_index: p.error_code for p in t.partitions}) for t in answer.topics
    ]


@pytest.mark.parametrize("version", range(2, 10))
async def test_by_name(version: int) -> None:
    node = await world()
    topics = [topic("t", 0, 9, 1), topic("none", 0), topic("u", 0)]
    answer = await node.ask(OffsetCommitRequest(group_id="g", topics=topics), version)
    assert codes(answer) == [("t", {0: 0, 9: 3, 1: 12}), ("none", {0: 3}), ("u", {0: 0})]
    ((_, asked),) = node.groups.asked
    assert [(t.name, [p.partition_index for p in t.partitions]) for t in asked.topics] == [
        ("t", [0, 1]),
        ("u", [0]),
    ]


async def test_by_id() -> None:
    node = await world()
    topic_id = node.image.topics["t"].topic_id
    topics = [topic("", 0, topic_id=UNKNOWN_ID), topic("", 0, 1, topic_id=topic_id)]
    answer = await node.ask(OffsetCommitRequest(group_id="g", topics=topics), 10)
    assert [t.topic_id for t in answer.topics] == [UNKNOWN_ID, topic_id]
    assert [codes for _, codes in codes(answer)] == [{0: 100}, {0: 0, 1: 12}]
    ((_, asked),) = node.groups.asked
    assert [t.name for t in asked.topics] == ["t"]


@pytest.mark.parametrize("topics", [[], [topic("none", 0)], [topic("t", 9)]])
async def test_nothing_to_commit(topics: list[OffsetCommitRequestTopic]) -> None:
    node = await world()
    answer = await node.ask(OffsetCommitRequest(group_id="g", topics=topics), 9)
    assert len(answer.topics) == len(topics)
    assert not node.groups.asked


async def test_a_coordinator_that_is_elsewhere() -> None:
    request = OffsetCommitRequest(group_id="g", topics=[topic("t", 0, 1)])
    answer = await refused(await world(), "commit_offsets", request, 9)
    assert codes(answer) == [("t", {0: 16, 1: 16})]


async def test_a_partition_that_is_named_twice_is_answered_twice() -> None:
    """As Kafka 4.3.1 does; the coordinator gets both, the later one holds."""
    request = OffsetCommitRequest(group_id="g", topics=[topic("t", 1, 9, 0, 1, 9)])
    node = await world()
    (answered,) = (await node.ask(request, 9)).topics
    found = [(each.partition_index, each.error_code) for each in answered.partitions]
    assert found == [(1, 12), (9, 3), (0, 0), (1, 12), (9, 3)]
    ((_, asked),) = node.groups.asked
    assert [each.partition_index for each in asked.topics[0].partitions] == [1, 0, 1]

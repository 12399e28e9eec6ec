"""ListOffsets: named places, times, and the error table (cases asked of a running Kafka 4.3.1)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)


def ask(
    *timestamps: int, topic: str = "t", index: int = 0, epoch: int = -1, **words: Any
) -> ListOffsetsRequest:
    words.setdefault("replica_id", -1)
    partitions = [
        ListOffsetsPartition(partition_index=index, timestamp=each, current_leader_epoch=epoch)
        for each in timestamps
    ]
    return ListOffsetsRequest(topics=[ListOffsetsTopic(name=topic, partitions=partitions)], **words)


async def world() -> Node:
    """Node 1 leads t-0 with offsets 10 to 19, node 2 leads t-1."""
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    node.set_offsets("t", 0, 10, 20)
    node.log("t").times = [(1000, 10), (3000, 12), (2000, 15)]
    return node


def found(answer: Any) -> tuple[int, int, int, int]:
    (topic,) = answer.topics
    (result,) = topic.partitions
    return result.error_code, result.timestamp, result.offset, result.leader_epoch


@pytest.mark.parametrize(
    ("timestamp", "version", "expected"),
    [
        (-1, 11, (0, -1, 20, 0)),
        (-2, 11, (0, -1, 10, 0)),
        (-3, 11, (0, 3000, 12, 0)),
        (-4, 11, (0, -1, 10, 0)),
        (-5, 11, (0, -1, -1, -1)),
        (-6, 11, (0, -1, -1, -1)),
        (-7, 11, (35, -1, -1, -1)),
        (-100, 11, (35, -1, -1, -1)),
        (0, 11, (0, 1000, 10, 0)),
        (1001, 11, (0, 3000, 12, 0)),
        (3001, 11, (0, -1, -1, -1)),
        (-1, 1, (0, -1, 20, -1)),
        (-1, 4, (0, -1, 20, 0)),
        (-3, 6, (35, -1, -1, -1)),
        (-3, 7, (0, 3000, 12, 0)),
        (-4, 7, (35, -1, -1, -1)),
        (-5, 8, (35, -1, -1, -1)),
        (-6, 10, (35, -1, -1, -1)),
    ],
)
async def test_places_and_times(
    timestamp: int, version: int, expected: tuple[int, int, int, int]
) -> None:
    assert found(await (await world()).ask(ask(timestamp), version)) == expected


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask(-1, topic="none"), 3),
        (ask(-1, index=9), 3),
        (ask(-1, index=-1), 3),
        (ask(-1, index=1), 6),
        (ask(-1, epoch=5), 75),
        (ask(-1, epoch=0), 0),
        (ask(-1, epoch=-2), 74),
        (ask(-1, isolation_level=1), 0),
        (ask(-1, replica_id=3), 0),
    ],
)
async def test_codes(request_: ListOffsetsRequest, code: int) -> None:
    assert found(await (await world()).ask(request_, 11))[0] == code


async def test_a_partition_given_twice() -> None:
    answer = await (await world()).ask(ask(-1, -2), 11)
    assert [p.error_code for p in answer.topics[0].partitions] == [42]


async def test_an_offline_log() -> None:
    node = await world()
    node.take_offline("t", 0)
    assert found(await node.ask(ask(-1), 11))[0] == 56


async def test_several_topics_keep_their_order() -> None:
    node = await world()
    request = ask(-1, topic="none")
    request.topics += ask(-2).topics
    answer = await node.ask(request, 11)
    assert [t.name for t in answer.topics] == ["none", "t"]
    assert [t.partitions[0].error_code for t in answer.topics] == [3, 0]

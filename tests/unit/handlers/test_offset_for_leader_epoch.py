"""OffsetForLeaderEpoch: ends of epochs and the error table."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize(
    ("topic", "index", "epoch", "current_epoch", "expected"),
    [
        ("t", 0, 0, -1, (0, 0, 20)),
        ("t", 0, 0, 0, (0, 0, 20)),
        ("t", 0, -1, -1, (0, -1, -1)),
        ("t", 0, 0, 3, (75, -1, -1)),
        ("t", 9, 0, -1, (3, -1, -1)),
        ("t", 1, 0, -1, (6, -1, -1)),
        ("none", 0, 0, -1, (3, -1, -1)),
    ],
)
async def test_codes(
    version: int,
    topic: str,
    index: int,
    epoch: int,
    current_epoch: int,
    expected: tuple[int, int, int],
) -> None:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    node.set_offsets("t", 0, 10, 20)
    partition = OffsetForLeaderPartition(
        partition=index, leader_epoch=epoch, current_leader_epoch=current_epoch
    )
    request = OffsetForLeaderEpochRequest(
        topics=[OffsetForLeaderTopic(topic=topic, partitions=[partition])]
    )
    answer = await node.ask(request, version)
    (result,) = answer.topics[0].partitions
    assert answer.topics[0].topic == topic
    assert result.partition == index
    assert (result.error_code, result.leader_epoch, result.end_offset) == expected

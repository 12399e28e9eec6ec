"""Where a log begins and ends on its leader."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.replication.follower_harness import Followee
from tests.unit.storage.log_fixtures import LogHarness
from tidelog.errors import KafkaError
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from tidelog.replication.leader_offsets import AskedOffsets


class Peers:
    """Answers as a PeerClient does."""

    def __init__(self, offsets: dict[int, int], error_code: int = 0, topics: int = 1) -> None:
        self.offsets = offsets
        self.error_code = error_code
        self.topics = topics
        self.asked: list[tuple[int, int, str, int, int, int]] = []

    async def request(self, node_id: int, request: ListOffsetsRequest, version: int) -> Any:
        (topic,) = request.topics
        (partition,) = topic.partitions
        self.asked.append(
            (
                node_id,
                request.replica_id,
                topic.name,
                partition.partition_index,
                partition.current_leader_epoch,
                version,
            )
        )
        found = ListOffsetsPartitionResponse(
            partition_index=partition.partition_index,
            error_code=self.error_code,
            offset=self.offsets[partition.timestamp],
        )
        answered = ListOffsetsTopicResponse(name=topic.name, partitions=[found])
        return ListOffsetsResponse(topics=[answered] * self.topics)


async def followee(tmp_path: object) -> Followee:
    harness = LogHarness(str(tmp_path))
    partition = Followee(harness.open(), leader_id=5, leader_epoch=8)
    await harness.close()
    return partition


async def test_both_ends_as_a_replica_and_with_the_leader_epoch(tmp_path: object) -> None:
    peers = Peers({-2: 40, -1: 90})
    ask = AskedOffsets(2, peers)  # type: ignore[arg-type]
    assert await ask(await followee(tmp_path)) == (40, 90)
    assert peers.asked == [(5, 2, "topic", 3, 8, 7)] * 2


@pytest.mark.parametrize(("error_code", "topics"), [(74, 1), (0, 0)])
async def test_no_answer(tmp_path: object, error_code: int, topics: int) -> None:
    ask = AskedOffsets(2, Peers({-2: 40, -1: 90}, error_code, topics))  # type: ignore[arg-type]
    with pytest.raises(KafkaError):
        await ask(await followee(tmp_path))

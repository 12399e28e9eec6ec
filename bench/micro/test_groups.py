"""Requests of group members through the coordinator's shard, with the replay of what they write.

Without the log and the socket: what a group costs the loop for each request.
"""

from __future__ import annotations

import itertools

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.unit.coordinator.group.shard_harness import ShardHarness
from tidelog.coordinator.group.member import Caller
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)

CALLER = Caller("client", "/127.0.0.1")
GENERATION = 1


def many_groups(count: int) -> tuple[ShardHarness, list[tuple[str, str]]]:
    """A shard with so many groups of one member each, all stable: (group, member) of each."""
    h = ShardHarness()
    members = []
    for number in range(count):
        group = f"group-{number}"
        member_id = h.join(group=group).member_id
        h.sync(member_id, GENERATION, {member_id: b"assignment"}, group=group)
        members.append((group, member_id))
    return h, members


@pytest.mark.benchmark(group="python")
@pytest.mark.parametrize("groups", [1, 1000])
def test_heartbeat(benchmark: BenchmarkFixture, groups: int) -> None:
    h, members = many_groups(groups)
    turns = itertools.cycle(members)

    def beat() -> int:
        group, member_id = next(turns)
        return h.shard.heartbeat(group, member_id, None, GENERATION)

    assert benchmark(beat) == 0


@pytest.mark.benchmark(group="python")
def test_rejoin(benchmark: BenchmarkFixture) -> None:
    """JoinGroup and SyncGroup of a group's only member: a whole rebalance."""
    h, ((group, member_id),) = many_groups(1)

    def rejoin() -> int:
        answer = h.join(member_id, group=group, metadata=b"m" * 40)
        h.sync(member_id, answer.generation_id, {member_id: b"a" * 40}, group=group)
        h.log.clear()
        return int(answer.error_code)

    assert benchmark(rejoin) == 0


@pytest.mark.benchmark(group="python")
@pytest.mark.parametrize("partitions", [1, 10])
def test_offset_commit(benchmark: BenchmarkFixture, partitions: int) -> None:
    h, ((group, member_id),) = many_groups(1)
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=GENERATION,
        member_id=member_id,
        topics=[
            OffsetCommitRequestTopic(
                name="topic",
                partitions=[
                    OffsetCommitRequestPartition(partition_index=index, committed_offset=77)
                    for index in range(partitions)
                ],
            )
        ],
    )

    def commit() -> None:
        h.run(lambda: h.shard.commit(request, {}, 8, h.now_ms))
        h.log.clear()

    benchmark(commit)
    assert h.committed(group, partitions - 1, "topic") == 77


@pytest.mark.benchmark(group="python")
def test_consumer_group_heartbeat(benchmark: BenchmarkFixture) -> None:
    """Of the consumer protocol, when nothing has changed."""
    h = ShardHarness()
    h.topics(topic=10)
    answer = h.beat("member", 0, "topic")
    request = ConsumerGroupHeartbeatRequest(
        group_id="g", member_id="member", member_epoch=answer.member_epoch
    )

    def beat() -> object:
        return h.run(lambda: h.shard.consumer_heartbeat(request, CALLER, 1, h.now_ms))

    found = benchmark(beat)
    assert found.member_epoch == answer.member_epoch
    assert found.assignment is None

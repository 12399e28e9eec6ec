"""Classic members in a consumer group."""

from __future__ import annotations

from typing import Any

from tests.unit.coordinator.group.shard_harness import ShardHarness, given, owned
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.protocol.records import encode_versioned
from tidelog.protocol.records.consumer_protocol import (
    ConsumerProtocolSubscription,
    TopicPartition,
    decode_assignment,
)

ALL = {("t", 0), ("t", 1)}


def subscription(*partitions: int, topics: tuple[str, ...] = ("t",)) -> bytes:
    """A member's metadata: topics, and the partitions of t that it still has."""
    has = [TopicPartition(topic="t", partitions=list(partitions))] if partitions else []
    return encode_versioned(
        ConsumerProtocolSubscription(topics=list(topics), owned_partitions=has), 1
    )


def started() -> ShardHarness:
    """A consumer group with one member that has everything; it stays one."""
    h = ShardHarness(allows_downgrade=False)
    h.topics(t=2)
    assert given(h.beat("m", 0, "t")) == ALL
    return h


def group_of(h: ShardHarness) -> ConsumerGroup:
    return h.shard.registry.consumer["g"]


def assigned(answer: Any) -> set[tuple[str, int]]:
    """Partitions of a SyncGroup's answer."""
    assert answer.error_code == 0
    return {
        (topic.topic, index)
        for topic in decode_assignment(answer.assignment).assigned_partitions
        for index in topic.partitions
    }


def test_a_classic_member_gets_its_part() -> None:
    h = started()
    joined = h.join(metadata=subscription())
    assert (joined.error_code, joined.generation_id, joined.leader) == (0, 3, "")
    assert (joined.protocol_type, joined.protocol_name, joined.members) == ("consumer", "range", [])
    member = joined.member_id
    assert assigned(h.sync(member, 3)) == set()
    kept = given(h.beat("m", 2))
    assert kept is not None
    assert h.heartbeat(member, 3) == 0
    assert h.beat("m", 2, topic_partitions=owned(*kept)).member_epoch == 3
    # What it waits for is free now.
    assert h.heartbeat(member, 3) == 27
    again = h.join(member, metadata=subscription())
    assert again.generation_id == 3
    assert assigned(h.sync(member, 3)) == ALL - kept
    assert h.heartbeat(member, 3) == 0
    assert group_of(h).state_name == "Stable"
    h.reload()
    assert h.heartbeat(member, 3) == 0
    found = h.shard.describe_consumer("g", {}, "uniform").members
    assert sorted(each.member_type for each in found) == [0, 1]


def test_a_classic_member_gives_up_what_it_lost() -> None:
    h = started()
    member = h.join(metadata=subscription()).member_id
    h.sync(member, 3)
    h.beat("m", -1)
    assert h.heartbeat(member, 3) == 27
    assert h.join(member, metadata=subscription()).generation_id == 4
    assert assigned(h.sync(member, 4)) == ALL
    assert h.beat("n", 0, "t").member_epoch == 5
    assert h.heartbeat(member, 4) == 27
    # It still has everything: it is told what to keep, and joins again without the rest.
    assert h.join(member, metadata=subscription(0, 1)).generation_id == 4
    (kept,) = assigned(h.sync(member, 4))
    assert h.heartbeat(member, 4) == 27
    assert given(h.beat("n", 5)) is None
    assert h.join(member, metadata=subscription(kept[1])).generation_id == 5
    assert given(h.beat("n", 5)) == ALL - {kept}


def test_who_does_not_come_back_in_time_is_out() -> None:
    h = started()
    member = h.join(metadata=subscription(), rebalance_timeout_ms=20_000).member_id
    h.sync(member, 3)
    h.beat("m", -1)
    for _ in range(4):
        assert h.heartbeat(member, 3) == 27
        h.advance(4_000)
    h.advance(4_500)
    assert group_of(h).members == {}
    assert h.heartbeat(member, 3) == 25


def test_who_does_not_sync_is_out() -> None:
    h = started()
    h.join(metadata=subscription(), rebalance_timeout_ms=5_000)
    assert len(group_of(h).members) == 2
    h.advance(5_000)
    assert set(group_of(h).members) == {"m"}


def test_refusals() -> None:
    h = started()
    assert h.join(metadata=b"?").error_code == 23
    assert h.join(metadata=subscription(), protocol_type="connect").error_code == 23
    assert h.join(metadata=subscription(), session_timeout_ms=1).error_code == 26
    wanted = h.join(metadata=subscription(), known_id=True)
    assert wanted.error_code == 79
    assert h.join(wanted.member_id, metadata=subscription()).error_code == 0
    other = h.join(metadata=subscription(), protocols=("sticky",))
    assert other.error_code == 23
    assert h.sync("nobody", 3) == 25
    assert h.sync(wanted.member_id, 9) == 22
    assert h.sync(wanted.member_id, 3, protocol_name="sticky") == 23
    assert h.heartbeat("nobody", 3) == 25
    assert h.heartbeat("m", 2) == 25
    assert h.heartbeat(wanted.member_id, 9) == 22


def test_members_leave() -> None:
    h = started()
    member = h.join(metadata=subscription()).member_id
    static = h.join(metadata=subscription(), instance="one").member_id
    left = h.leave((member, None), ("nobody", None), ("wrong", "one"), ("", "one"))
    assert [each.error_code for each in left.members] == [0, 25, 82, 0]
    assert set(group_of(h).members) == {"m"}
    assert h.heartbeat(static, 4) == 25


def test_a_static_member_restarts() -> None:
    h = started()
    first = h.join(metadata=subscription(), instance="one")
    second = h.join(metadata=subscription(), instance="one")
    assert second.member_id != first.member_id
    assert h.heartbeat(first.member_id, first.generation_id, instance="one") == 82
    assert h.join(first.member_id, metadata=subscription(), instance="one").error_code == 82
    assert h.join("nobody", metadata=subscription(), instance="two").error_code == 25
    assert set(group_of(h).members) == {"m", second.member_id}


def test_commits_of_classic_members_are_of_their_generation() -> None:
    h = started()
    member = h.join(metadata=subscription()).member_id
    assert h.commit(5, member_id=member, generation_id=3) == 0
    assert h.commit(5, member_id=member, generation_id=2) == 22

"""A consumer group becomes a classic group while it runs."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.group.shard_harness import ShardHarness, given, owned, topic_id
from tests.unit.coordinator.group.test_classic_in_consumer import assigned, subscription
from tidelog.coordinator.group.downgrade import can_downgrade, downgraded
from tidelog.coordinator.promise import Promise
from tidelog.protocol.records import decode_key
from tidelog.protocol.records.group import RECORD_TYPES

ALL = {("t", 0), ("t", 1)}


def started(**config: int) -> tuple[ShardHarness, str]:
    """A consumer group of `m` and a member of the classic protocol; each has a partition."""
    h = ShardHarness(**config)
    h.topics(t=2)
    assert given(h.beat("m", 0, "t")) == ALL
    member: str = h.join(metadata=subscription()).member_id
    h.sync(member, 3)
    kept = given(h.beat("m", 2))
    assert kept is not None
    assert h.beat("m", 2, topic_partitions=owned(*kept)).member_epoch == 3
    h.join(member, metadata=subscription())
    assert assigned(h.sync(member, 3)) == ALL - kept
    h.commit(7, member_id=member, generation_id=3)
    return h, member


def rejoins(h: ShardHarness, member: str) -> None:
    """The member is told to join again, and does."""
    assert h.heartbeat(member, 3) == 27
    joined = h.join(member, metadata=subscription(0))
    assert (joined.generation_id, joined.leader) == (4, member)
    assert h.sync(member, 4, {member: b"all"}).assignment == b"all"
    assert h.heartbeat(member, 4) == 0


def test_the_last_consumer_leaves() -> None:
    h, member = started()
    before = len(h.log)
    assert h.beat("m", -1).error_code == 0
    registry = h.shard.registry
    assert (registry.consumer, set(registry.classic)) == ({}, {"g"})
    assert registry.classic["g"].state_name == "PreparingRebalance"
    assert h.committed() == 7
    types = [decode_key(RECORD_TYPES, record.key)[0] for record in h.log[before:]]
    assert types == [8, 8, 7, 7, 6, 5, 5, 3, 2]
    assert [record.value is None for record in h.log[before:]] == [True] * 8 + [False]
    timers = {key for key in h.timers.due if isinstance(key, tuple) and key[0] == "g"}
    assert timers == {("g", member, "session"), ("g", "join")}
    rejoins(h, member)


def test_it_is_a_classic_group_in_the_log_and_a_new_coordinator_starts_the_round() -> None:
    h, member = started()
    h.beat("m", -1)
    h.reload()
    group = h.shard.groups["g"]
    assert (group.generation_id, group.leader_id, group.protocol_name) == (3, member, "range")
    (written,) = group.members.values()
    assert (written.session_timeout_ms, written.rebalance_timeout_ms) == (10_000, 60_000)
    assert group.state_name == "PreparingRebalance"
    rejoins(h, member)
    h.reload()
    assert h.shard.groups["g"].state_name == "Stable"
    assert h.heartbeat(member, 4) == 0


def test_the_last_consumer_vanishes() -> None:
    h, member = started()
    for _ in range(7):
        h.advance(7_000)
        if "g" in h.shard.groups:
            break
        h.heartbeat(member, 3)
    rejoins(h, member)


def test_a_classic_leave_of_the_last_consumer() -> None:
    """An admin client removes it from the group."""
    h, member = started()
    assert h.leave(("m", None)).members[0].error_code == 0
    rejoins(h, member)


@pytest.mark.parametrize("config", [{"allows_downgrade": False}, {"max_size": 0}])
def test_it_stays_a_consumer_group(config: dict[str, int]) -> None:
    h, member = started(**config)
    assert h.beat("m", -1).error_code == 0
    assert set(h.shard.registry.consumer["g"].members) == {member}
    assert h.heartbeat(member, 3) == 27
    assert h.join(member, metadata=subscription(0)).generation_id == 4


def test_a_failed_write_leaves_the_consumer_group() -> None:
    h, member = started()
    h.fail_writes = 15
    assert h.beat("m", -1) == 15
    h.fail_writes = 0
    assert set(h.shard.registry.consumer["g"].members) == {"m", member}
    assert h.heartbeat(member, 3) == 0
    assert h.beat("m", -1).error_code == 0
    rejoins(h, member)


def test_there_and_back() -> None:
    """A consumer that comes before the round is over gets nothing that somebody else has."""
    h, member = started()
    h.beat("m", -1)
    (has,) = (m.assignment for m in h.shard.groups["g"].members.values())
    assert has
    new = h.beat("n", 0, "t")
    assert (new.member_epoch, h.shard.groups) == (4, {})
    owners = h.shard.registry.consumer["g"].owners
    assert list(owners.values()).count(member) == 1
    assert given(new) in ({("t", 0)}, {("t", 1)})


def test_what_a_member_has_is_written_not_what_it_shall_have() -> None:
    h = ShardHarness()
    h.topics(t=2)
    h.beat("m", 0, "t")
    h.beat("m", -1)
    member = h.beat("n", 0, "t") and h.join(metadata=subscription()).member_id
    group = h.shard.registry.consumer["g"]
    assert len(group.target[member]) == 1
    classic = downgraded(group, {"n"}, h.image, h.now_ms)
    (written,) = classic.members.values()
    assert written.assignment == b"\0\1\0\0\0\0\xff\xff\xff\xff"


# -- static members --------------------------------------------------------------------------------


def static(**config: int) -> tuple[ShardHarness, str]:
    """As `started`, and `m` is static."""
    h = ShardHarness(**config)
    h.topics(t=2)
    h.beat("m", 0, "t", instance_id="i")
    member: str = h.join(metadata=subscription()).member_id
    h.sync(member, 3)
    return h, member


def test_a_static_member_comes_back_with_the_classic_protocol() -> None:
    h, member = static()
    h.beat("m", -2, instance_id="i")
    assert "g" in h.shard.registry.consumer
    joining = h.join(instance="i", metadata=subscription())
    assert isinstance(joining, Promise)
    assert h.shard.registry.consumer == {}
    rejoined = h.join(member, metadata=subscription())
    joined = joining.value
    assert joined is not None
    assert (rejoined.generation_id, joined.generation_id) == (4, 4)
    assert set(h.shard.groups["g"].members) == {member, joined.member_id}


def test_a_static_member_alone_comes_back_with_the_classic_protocol() -> None:
    h = ShardHarness()
    h.topics(t=2)
    h.beat("m", 0, "t", instance_id="i")
    h.beat("m", -2, instance_id="i")
    assert h.join(instance="i", metadata=subscription()).error_code == 0
    assert (h.shard.registry.consumer, set(h.shard.groups)) == ({}, {"g"})


def test_who_is_still_there_is_not_replaced() -> None:
    h, _ = static()
    assert h.join(instance="i", metadata=subscription()).error_code == 111
    assert "g" in h.shard.registry.consumer


@pytest.mark.parametrize(
    ("words", "error_code"),
    [
        ({"session_timeout_ms": 1}, 26),
        ({"protocols": ("other",)}, 23),
        ({"protocol_type": "connect"}, 23),
    ],
)
def test_a_refused_join_changes_nothing(words: dict[str, object], error_code: int) -> None:
    h, _ = static()
    h.beat("m", -2, instance_id="i")
    joined = h.join(instance="i", **{"metadata": subscription(), **words})  # type: ignore[arg-type]
    assert joined.error_code == error_code
    assert "g" in h.shard.registry.consumer


def test_conditions() -> None:
    h, member = started()
    group = h.shard.registry.consumer["g"]
    assert can_downgrade(group, {"m"}, 0, 1)
    assert not can_downgrade(group, {"m"}, 1, 1)
    assert not can_downgrade(group, {"m", member}, 0, 1)
    assert not can_downgrade(group, {member}, 0, 5)
    assert {partition[0] for partition in group.owners} == {topic_id("t")}

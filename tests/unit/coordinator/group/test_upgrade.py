"""A classic group becomes a consumer group while it runs."""

from __future__ import annotations

from tests.unit.coordinator.group.shard_harness import ShardHarness, given, owned
from tests.unit.coordinator.group.test_classic_in_consumer import assigned, subscription
from tidelog.coordinator.group.upgrade import can_upgrade
from tidelog.coordinator.promise import Promise
from tidelog.protocol.records import encode_versioned
from tidelog.protocol.records.consumer_protocol import ConsumerProtocolAssignment, TopicPartition

ALL = {("t", 0), ("t", 1)}


def started(**config: int) -> tuple[ShardHarness, str]:
    """A classic group with one member that has everything."""
    h = ShardHarness(**config)
    h.topics(t=2)
    member = h.join(metadata=subscription()).member_id
    everything = encode_versioned(
        ConsumerProtocolAssignment(
            assigned_partitions=[TopicPartition(topic="t", partitions=[0, 1])]
        ),
        1,
    )
    assert assigned(h.sync(member, 1, {member: everything})) == ALL
    h.commit(7, member_id=member, generation_id=1)
    return h, member


def test_a_consumer_joins_a_running_classic_group() -> None:
    h, member = started()
    new = h.beat("n", 0, "t")
    assert (new.error_code, new.member_epoch, given(new)) == (0, 2, set())
    assert h.shard.groups == {}
    for _ in range(2):
        group = h.shard.registry.consumer["g"]
        assert set(group.members) == {member, "n"}
        assert {index for _, index in group.members[member].assigned} == {0, 1}
        assert h.committed() == 7
        h.reload()
    assert h.heartbeat(member, 1) == 27
    assert h.join(member, metadata=subscription(0, 1)).generation_id == 1
    (kept,) = assigned(h.sync(member, 1))
    assert h.join(member, metadata=subscription(kept[1])).generation_id == 2
    assert assigned(h.sync(member, 2)) == {kept}
    assert given(h.beat("n", 2)) == ALL - {kept}
    assert h.beat("n", 2, topic_partitions=owned(*(ALL - {kept}))).member_epoch == 2
    assert h.shard.registry.consumer["g"].state_name == "Stable"


def test_the_old_timers_end() -> None:
    h, member = started()
    h.beat("n", 0, "t")
    for _ in range(4):
        h.advance(9_000)
        h.heartbeat(member, 1)
        h.beat("n", 2)
    assert set(h.shard.registry.consumer["g"].members) == {member, "n"}
    h.advance(10_500)
    assert set(h.shard.registry.consumer["g"].members) == {"n"}


def test_who_waits_is_told_to_join_again() -> None:
    h, _ = started()
    waiting = h.join(metadata=subscription())
    assert isinstance(waiting, Promise)
    assert not waiting.done
    h.beat("n", 0, "t")
    assert waiting.value is not None
    assert waiting.value.error_code == 27


def test_other_groups_and_a_policy_that_forbids_it() -> None:
    h = ShardHarness(allows_upgrade=False)
    h.topics(t=1)
    h.join(metadata=subscription())
    assert h.beat("n", 0, "t") == 69
    h = ShardHarness()
    h.join(metadata=subscription(), protocol_type="connect")
    assert not can_upgrade(h.shard.groups["g"])
    assert h.beat("n", 0, "t") == 69


def test_what_a_member_said_that_it_has_is_not_free() -> None:
    """It joined a round with what it had, and has not heard yet that it lost some of it."""
    h = ShardHarness()
    h.topics(t=2)
    member = h.join(metadata=subscription(0, 1)).member_id
    nothing = encode_versioned(ConsumerProtocolAssignment(assigned_partitions=[]), 1)
    h.sync(member, 1, {member: nothing})
    assert given(h.beat("n", 0, "t")) == set()
    group = h.shard.registry.consumer["g"]
    assert set(group.owners.values()) == {member}
    assert len(group.owners) == 2
    # It joins with what it still has, and the rest is free.
    assert h.heartbeat(member, 1) == 27
    h.join(member, metadata=subscription())
    (got,) = given(h.beat("n", 2)) or {None}
    assert got is not None


def test_a_failed_write_leaves_the_classic_group() -> None:
    h, member = started()
    h.fail_writes = 15
    assert h.beat("n", 0, "t") == 15
    h.fail_writes = 0
    assert h.heartbeat(member, 1) == 0
    assert h.shard.registry.consumer == {}

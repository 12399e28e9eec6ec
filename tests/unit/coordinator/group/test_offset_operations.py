"""Offsets through a shard: who may commit, deletion, expiry."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.group.shard_harness import ShardHarness
from tidelog.coordinator.group import offset_operations
from tidelog.protocol.messages.offset_fetch import OffsetFetchRequestGroup
from tidelog.protocol.records import encode_versioned
from tidelog.protocol.records.consumer_protocol import ConsumerProtocolSubscription

DAY_MS = 24 * 3_600_000


def subscription(*topics: str) -> bytes:
    return encode_versioned(ConsumerProtocolSubscription(topics=list(topics)), 1)


def stable_consumer(h: ShardHarness, *topics: str, protocol_type: str = "consumer") -> str:
    """A group with one member that subscribes to the topics."""
    joined = h.join(metadata=subscription(*topics), protocol_type=protocol_type)
    h.sync(joined.member_id, joined.generation_id, {joined.member_id: b""})
    return str(joined.member_id)


def test_a_generation_without_a_group_is_told_by_version() -> None:
    h = ShardHarness()
    assert h.commit(1, generation_id=3, member_id="m", version=8) == 22
    assert h.commit(1, generation_id=3, member_id="m", version=9) == 69
    assert h.commit(1) == 0


def test_offsets_of_a_consuming_group_go_with_the_subscription_only() -> None:
    h = ShardHarness()
    assert h.commit(1, topic="t") == h.commit(2, topic="old") == 0
    stable_consumer(h, "t")
    assert h.delete_offsets("t", "old") == [86, 0]
    assert (h.committed(topic="t"), h.committed(topic="old")) == (1, -1)
    assert h.delete_offsets("t", group="nobody") == 69


def test_a_group_that_is_no_consumer_keeps_its_offsets_while_it_has_members() -> None:
    h = ShardHarness()
    h.commit(1)
    member = stable_consumer(h, "x", protocol_type="connect")
    assert h.delete_offsets("t") == 68
    h.leave((member, None))
    assert h.delete_offsets("t") == [0]


def test_unreadable_metadata_counts_as_subscribed_to_everything() -> None:
    h = ShardHarness()
    h.commit(1)
    joined = h.join(metadata=b"\0")
    h.sync(joined.member_id, joined.generation_id, {})
    assert h.delete_offsets("t") == [86]


def test_an_empty_group_is_deleted_with_its_offsets_and_stays_away() -> None:
    h = ShardHarness()
    (member,), _ = h.stable("")
    h.commit(5, generation_id=1, member_id=member)
    assert h.delete_group() == 68
    h.leave((member, None))
    assert h.delete_group() == 0
    assert h.delete_group() == 69
    h.reload()
    assert (h.committed(), h.shard.groups) == (-1, {})


def test_many_offsets_are_deleted_in_several_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_operations, "TOMBSTONE_BYTES_PER_WRITE_MAX", 150)
    h = ShardHarness()
    for partition in range(8):
        h.commit(1, partition=partition)
    before = len(h.log)
    assert not h.run(lambda: h.shard.delete_group("g"))
    assert before < len(h.log) < before + 8
    assert h.delete_group() == 0
    assert len(h.log) == before + 8 + 1
    h.reload()
    assert h.shard.groups == {}


def test_offsets_of_an_empty_group_expire_and_the_group_with_them() -> None:
    h = ShardHarness()
    (member,), _ = h.stable("")
    h.commit(5, generation_id=1, member_id=member)
    for _ in range(400):
        h.advance(9_000)
        h.heartbeat(member, 1)
    h.leave((member, None))
    # Counts from when the group became empty, not from the commit.
    h.advance(7 * DAY_MS - 60_000)
    assert h.committed() == 5
    h.advance(3_600_000)
    assert h.committed() == -1
    assert h.shard.groups == {}
    h.reload()
    assert (h.committed(), h.shard.groups) == (-1, {})


def test_offsets_without_membership_expire_after_their_commit() -> None:
    h = ShardHarness()
    h.commit(5, partition=0)
    h.advance(4 * DAY_MS)
    h.commit(6, partition=1)
    h.advance(4 * DAY_MS)
    assert (h.committed(partition=0), h.committed(partition=1)) == (-1, 6)
    h.advance(4 * DAY_MS)
    assert h.shard.groups == {}


def test_a_running_group_loses_only_offsets_of_topics_that_it_left() -> None:
    h = ShardHarness(offsets_retention_ms=60_000, offsets_retention_check_interval_ms=10_000)
    h.commit(5, topic="old")
    h.commit(6, topic="t")
    member = stable_consumer(h, "t")
    for _ in range(20):
        h.advance(5_000)
        assert h.heartbeat(member, 1) == 0
    assert (h.committed(topic="old"), h.committed(topic="t")) == (-1, 6)


def test_a_retention_of_the_commits_own_goes_before_the_brokers() -> None:
    h = ShardHarness(offsets_retention_check_interval_ms=1_000)
    h.commit(5, retention_ms=30_000)
    h.reload()
    h.advance(29_000)
    assert h.committed() == 5
    h.advance(2_000)
    assert h.committed() == -1


def test_expiry_goes_on_at_once_while_more_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_operations, "TOMBSTONE_BYTES_PER_WRITE_MAX", 150)
    h = ShardHarness(offsets_retention_ms=60_000)
    for partition in range(8):
        h.commit(1, partition=partition)
    h.advance(600_000)
    assert h.shard.groups == {}


def test_a_failed_write_of_expiry_keeps_everything() -> None:
    h = ShardHarness(offsets_retention_ms=60_000)
    h.commit(1)
    h.fail_writes = 15
    h.advance(600_000, failing=True)
    assert h.committed() == 1
    h.fail_writes = 0
    h.advance(600_000)
    assert h.committed() == -1


def test_expiry_waits_for_its_interval_after_a_failed_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offset_operations, "TOMBSTONE_BYTES_PER_WRITE_MAX", 1)
    h = ShardHarness(offsets_retention_ms=60_000)
    h.commit(1, partition=0)
    h.commit(1, partition=1)
    h.fail_writes = 15
    h.advance(600_000, failing=True)
    (due_ms,) = [at for key, (at, _) in h.timers.due.items() if key == ("", "expire")]
    assert due_ms == h.now_ms + 600_000


def test_expiry_removes_groups_in_several_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_operations, "TOMBSTONE_BYTES_PER_WRITE_MAX", 1)
    h = ShardHarness(offsets_retention_ms=60_000)
    for group in ("a", "b"):
        h.commit(1, group=group)
    h.advance(600_000)
    assert h.shard.groups == {}


def test_metadata_is_measured_as_java_measures_it() -> None:
    h = ShardHarness()
    for unit, count in (("n", 4096), ("ä", 4096), ("\U0001f30a", 2048)):
        assert h.commit(1, metadata=unit * count) == 0
        assert h.commit(1, metadata=unit * count + "n") == 12


def test_what_a_member_says_between_generations_does_not_count_yet() -> None:
    h = ShardHarness()
    h.commit(1, topic="t")
    first = h.join(protocols=("range", "sticky"), metadata=subscription("t"))
    second = h.join(protocols=("range", "sticky"), metadata=subscription("t"))
    first = h.join(first.member_id, protocols=("range", "sticky"), metadata=subscription("t"))
    h.sync(first.member_id, 2, {})
    assert h.shard.groups["g"].protocol_name == "range"
    # The other one drops the protocol of the generation that still holds.
    h.join(second.value.member_id, protocols=("sticky",), metadata=subscription("other"))
    assert h.shard.groups["g"].state_name == "PreparingRebalance"
    assert h.delete_offsets("t", "other") == [86, 0]


def test_offsets_of_a_deleted_topic_are_removed_from_every_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offset_operations, "TOMBSTONE_BYTES_PER_WRITE_MAX", 1)
    h = ShardHarness()
    old, new = b"o" * 16, b"n" * 16
    for group in ("a", "b"):
        h.commit(1, group=group, topic="t", topic_id=old)
        h.commit(2, group=group, topic="other", topic_id=old)
    h.commit(3, group="b", topic="t", partition=1, topic_id=new)
    h.commit(4, group="c", topic="t")  # Written without an id.
    steps = 1
    while not h.run(lambda: h.shard.forget_topics([("t", old), ("never", new)])):
        steps += 1
    assert steps == 3
    for _ in range(2):
        assert [h.committed(group=group) for group in "abc"] == [-1, -1, -1]
        assert [h.committed(group=group, topic="other") for group in "ab"] == [2, 2]
        assert h.committed(group="b", partition=1) == 3
        h.reload()


def test_offsets_are_deleted_of_a_group_with_a_name() -> None:
    assert ShardHarness().delete_offsets("t", group="") == 24


def test_all_offsets_of_a_group() -> None:
    h = ShardHarness()
    h.commit(5, partition=1)
    h.commit(6, partition=0)
    (topic,) = h.shard.fetch(OffsetFetchRequestGroup(group_id="g", topics=None)).topics
    found = [(p.partition_index, p.committed_offset, p.metadata) for p in topic.partitions]
    assert (topic.name, found) == ("t", [(0, 6, "note"), (1, 5, "note")])
    assert h.shard.fetch(OffsetFetchRequestGroup(group_id="nobody", topics=None)).topics == []

"""A draft sees its own changes, and the group does not."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.coordinator.group.shard_harness import ShardHarness, topic_id
from tidelog.coordinator.group.consumer_draft import GroupDraft
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.group.consumer_member import ConsumerMember
from tidelog.coordinator.group.subscriptions import TopicMatcher

P = (topic_id("t"), 0)


def started() -> tuple[ShardHarness, ConsumerGroup]:
    h = ShardHarness()
    h.topics(t=1)
    h.beat("a", 0, "t")
    return h, h.shard.registry.consumer["g"]


def test_nothing_changes_before_the_records_are_replayed() -> None:
    h, group = started()
    before = dict(group.members)
    draft = GroupDraft(group, h.image, TopicMatcher())
    draft.remove("a")
    draft.bump_epoch(draft.hash_now())
    assert draft.members == {}
    assert (group.members, group.epoch) == (before, 2)
    assert draft.is_free(P)
    for record in draft.records:
        h.shard.replay(record)
    assert (group.members, group.owners, group.epoch) == ({}, {}, 3)


def test_a_member_that_says_nothing_new_writes_nothing() -> None:
    h, group = started()
    draft = GroupDraft(group, h.image, TopicMatcher())
    assert not draft.put(group.members["a"])
    assert draft.records == []
    # What assignors do not look at is written, and changes no epoch.
    assert not draft.put(replace(group.members["a"], rack_id="r"))
    assert len(draft.records) == 1
    assert draft.put(replace(group.members["a"], server_assignor="range"))


def test_the_first_epoch_is_2() -> None:
    h, _ = started()
    draft = GroupDraft(ConsumerGroup("new"), h.image, TopicMatcher())
    draft.put(ConsumerMember("m", topic_names=frozenset({"t"})))
    draft.bump_epoch(draft.hash_now())
    draft.compute_target(("uniform", "range"), 5)
    assert (draft.epoch, draft.target_epoch, draft.target) == (2, 2, {"m": frozenset({P})})


def test_a_replaced_member_hands_on_its_target() -> None:
    h, group = started()
    old = group.members["a"]
    draft = GroupDraft(group, h.image, TopicMatcher())
    draft.replace(old, replace(old, member_id="b", epoch=0))
    assert set(draft.members) == {"b"}
    assert draft.target == {"b": frozenset({P})}
    assert not draft.is_free(P)


def test_what_follows_a_write_follows_it_only_when_it_succeeded() -> None:
    h, group = started()
    draft = GroupDraft(group, h.image, TopicMatcher())
    done: list[int] = []
    draft.then.append(lambda: done.append(1))
    draft.written(15)
    assert done == []
    draft.written(0)
    assert done == [1]

"""ConsumerGroupHeartbeat through a shard."""

from __future__ import annotations

from tests.unit.coordinator.group.shard_harness import ShardHarness, given, owned, topic_id
from tidelog.coordinator.group.consumer_group import ConsumerGroup, ResolvedRegex

ALL = {("t", 0), ("t", 1)}


def started(**config: int) -> ShardHarness:
    h = ShardHarness(**config)
    h.topics(t=2)
    return h


def group_of(h: ShardHarness) -> ConsumerGroup:
    return h.shard.registry.consumer["g"]


def test_one_member_gets_everything_and_leaves() -> None:
    h = started()
    answer = h.beat("m", 0, "t")
    assert (answer.member_id, answer.member_epoch, given(answer)) == ("m", 2, ALL)
    assert answer.heartbeat_interval_ms == 5_000
    again = h.beat("m", 2, topic_partitions=owned(*ALL))
    assert (again.member_epoch, given(again)) == (2, None)
    before = len(h.log)
    assert given(h.beat("m", 2)) is None
    assert len(h.log) == before
    assert group_of(h).state_name == "Stable"
    assert h.beat("m", -1).member_epoch == -1
    assert group_of(h).state_name == "Empty"
    assert h.beat("m", 2) == 25


def test_partitions_move_when_they_were_given_up() -> None:
    h = started()
    h.beat("a", 0, "t")
    new = h.beat("b", 0, "t")
    assert (new.member_epoch, given(new)) == (3, set())
    assert group_of(h).state_name == "Reconciling"
    told = h.beat("a", 2)
    kept = given(told)
    assert told.member_epoch == 2
    assert kept is not None
    assert len(kept) == 1
    assert given(h.beat("b", 3)) is None
    assert h.beat("a", 2, topic_partitions=owned(*kept)).member_epoch == 3
    assert given(h.beat("b", 3)) == ALL - kept
    assert group_of(h).state_name == "Stable"


def test_who_does_not_give_up_in_time_is_out() -> None:
    h = started()
    h.beat("a", 0, "t")
    h.beat("b", 0, "t")
    h.beat("a", 2)
    epoch = 3
    for _ in range(7):
        assert set(group_of(h).members) == {"a", "b"}
        h.advance(9_000)
        if "a" in group_of(h).members:
            h.beat("a", 2)
        answer = h.beat("b", epoch)
        epoch = answer.member_epoch
    assert h.beat("a", 2) == 25
    assert (epoch, given(answer)) == (4, ALL)


def test_a_session_ends() -> None:
    h = started()
    h.beat("a", 0, "t")
    h.beat("b", 0, "t")
    h.advance(40_000)
    h.beat("b", 3)
    h.advance(10_000)
    assert set(group_of(h).members) == {"b"}
    assert given(h.beat("b", 3)) == ALL


def test_a_session_goes_on_when_its_end_cannot_be_written() -> None:
    h = started()
    h.beat("a", 0, "t")
    h.fail_writes = 15
    h.advance(46_000, failing=True)
    h.fail_writes = 0
    assert set(group_of(h).members) == {"a"}
    h.advance(46_000)
    assert group_of(h).members == {}


def test_a_static_member_comes_back_in_its_place() -> None:
    h = started()
    h.beat("m", 0, "t", instance_id="one")
    assert h.beat("n", 0, "t", instance_id="one") == 111
    assert h.beat("m", -2, instance_id="one").member_epoch == -2
    h.reload()
    answer = h.beat("n", 0, "t", instance_id="one")
    assert (answer.member_epoch, given(answer)) == (2, ALL)
    assert h.beat("m", 2, instance_id="one") == 82
    assert set(group_of(h).members) == {"n"}


def test_topics_that_come_later() -> None:
    h = started()
    assert given(h.beat("m", 0, "t", "u")) == ALL
    h.topics(t=2, u=1)
    answer = h.beat("m", 2)
    assert (answer.member_epoch, given(answer)) == (3, {*ALL, ("u", 0)})
    h.topics(u=1)
    told = h.beat("m", 3)
    assert given(told) == {("u", 0)}


def test_a_pattern_follows_the_topics() -> None:
    h = started()
    answer = h.beat("m", 0, subscribed_topic_names=None, subscribed_topic_regex="t.*")
    assert given(answer) == ALL
    h.topics(t=2, t2=1, other=1)
    assert given(h.beat("m", 2)) == {*ALL, ("t2", 0)}
    h.reload()
    assert given(h.beat("m", 3, subscribed_topic_regex="", subscribed_topic_names=["t"])) == ALL
    assert group_of(h).regexes == {}
    assert h.beat("n", 0, subscribed_topic_names=None, subscribed_topic_regex="([") == 128


def test_assignments_are_computed_once_in_their_interval() -> None:
    h = started(consumer_assignment_interval_ms=1_000)
    h.beat("a", 0, "t")
    assert h.beat("b", 0, "t").member_epoch == 2
    assert group_of(h).state_name == "Assigning"
    h.advance(1_000)
    assert h.beat("b", 2).member_epoch == 3


def test_a_full_group() -> None:
    h = started(consumer_max_size=1)
    h.beat("a", 0, "t")
    assert h.beat("b", 0, "t") == 81
    assert h.beat("a", 0, "t").member_epoch == 2


def test_a_failed_write_changes_nothing() -> None:
    h = started()
    h.fail_writes = 15
    assert h.beat("m", 0, "t") == 15
    assert h.shard.registry.consumer == {}
    h.fail_writes = 0
    assert h.beat("m", 0, "t").member_epoch == 2


def test_patterns_are_matched_again_after_a_while() -> None:
    """group.consumer.regex.refresh.interval.ms"""
    h = started(regex_refresh_interval_ms=20_000)
    h.beat("m", 0, subscribed_topic_names=None, subscribed_topic_regex="t.*")
    group = group_of(h)
    matched_ms = group.matched_ms
    assert matched_ms == h.now_ms
    h.advance(10_000)
    h.beat("m", 2)
    assert group.matched_ms == matched_ms
    # What was written of it is wrong, as it may be with a newer node's records.
    group.regexes["t.*"] = ResolvedRegex(frozenset())
    h.advance(10_000)
    assert h.beat("m", 2).error_code == 0
    assert group.matched_ms == h.now_ms
    assert group.regexes["t.*"].topics == {"t"}


def test_an_empty_classic_group_gives_its_name_and_keeps_its_offsets() -> None:
    h = started()
    h.commit(7)
    assert h.beat("m", 0, "t").member_epoch == 2
    assert h.shard.groups == {}
    assert h.committed() == 7
    h.reload()
    assert (h.committed(), set(group_of(h).members)) == (7, {"m"})


def test_groups_of_the_other_kind_are_left_alone() -> None:
    h = started()
    h.join()
    assert h.beat("m", 0, "t") == 69
    assert h.beat("m", 3) == 69


def test_a_classic_member_comes_when_the_consumers_are_gone() -> None:
    h = started()
    h.beat("m", 0, "t")
    h.commit(7, member_id="m", generation_id=2, version=9)
    assert h.join().error_code == 23
    h.beat("m", -1)
    assert h.join(makes_way=False).error_code == 15
    assert h.join(protocols=()).error_code == 23
    for _ in range(2):
        assert (h.shard.registry.consumer, set(h.shard.groups)) == ({}, {"g"})
        assert h.committed() == 7
        h.reload()
    assert h.join().error_code == 0


def test_members_are_described() -> None:
    h = started()
    h.beat("m", 0, "t", "none", rack_id="r")
    names = {topic_id("t"): "t"}
    found = h.shard.describe_consumer("g", names, "uniform")
    assert (found.group_state, found.group_epoch, found.assignor_name) == ("Stable", 2, "uniform")
    (member,) = found.members
    assert (member.member_id, member.rack_id, member.member_type) == ("m", "r", 1)
    (topic,) = member.assignment.topic_partitions
    assert (topic.topic_name, topic.partitions) == ("t", [0, 1])
    assert member.assignment == member.target_assignment
    assert (
        h.shard.describe_consumer("g", {}, "uniform").members[0].assignment.topic_partitions == []
    )
    assert h.shard.describe_consumer("none", names, "uniform").error_code == 69
    assert h.shard.describe_classic("g", 6).error_message == "Group g is not a classic group."
    (listed,) = h.shard.list_groups(["stable"], ["Consumer"])
    assert (listed.group_type, listed.protocol_type) == ("consumer", "consumer")


def test_the_group_configs_of_a_group() -> None:
    h = started()
    assert h.shard.consumer.times("g").session_timeout_ms == 45_000

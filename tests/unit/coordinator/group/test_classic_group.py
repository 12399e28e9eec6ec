"""A group's bookkeeping."""

from __future__ import annotations

from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.member import Member
from tidelog.coordinator.group.records import group_record
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.promise import Promise
from tidelog.protocol.records import decode_value, encode_versioned
from tidelog.protocol.records.consumer_protocol import ConsumerProtocolSubscription
from tidelog.protocol.records.group import RECORD_TYPES, GroupMetadataValue


def member(name: str, *protocols: str, instance: str | None = None) -> Member:
    return Member(
        name, instance, "client", "/host", 60_000, 10_000, "consumer",
        tuple((p, f"{name}:{p}".encode()) for p in protocols),
    )  # fmt: skip


def test_the_first_member_leads_and_another_takes_over() -> None:
    group = ClassicGroup("g", 0)
    group.add(member("a", "x"))
    group.add(member("b", "x"))
    assert group.leader_id == "a"
    group.remove("a")
    assert group.leader_id == "b"
    group.remove("b")
    assert group.leader_id is None
    assert group.remove("b") is None


def test_only_who_joined_may_lead_the_round() -> None:
    group = ClassicGroup("g", 0)
    group.add(member("a", "x"))
    group.add(member("b", "x"))
    assert not group.elect_joined_leader()
    group.members["b"].joining = Promise()
    assert group.elect_joined_leader()
    assert group.leader_id == "b"


def test_protocols_are_those_of_everybody_and_votes_decide() -> None:
    group = ClassicGroup("g", 0)
    assert group.supports("consumer", (("x", b""),))
    assert not group.supports("consumer", ())
    group.add(member("a", "x", "y"))
    group.add(member("b", "y", "x", "z"))
    group.add(member("c", "y", "x"))
    assert group.common_protocols() == {"x", "y"}
    assert group.choose_protocol() == "y"
    assert group.supports("consumer", (("x", b""),))
    assert not group.supports("consumer", (("z", b""),))
    assert not group.supports("connect", (("x", b""),))


def test_a_written_group_is_read_back() -> None:
    group = ClassicGroup("g", 77)
    group.add(member("a", "x", instance="i"))
    group.add(member("b", "x"))
    group.generation_id = 5
    group.protocol_name = "x"
    record = group_record("g", group.to_value({"a": b"A"}))
    assert record.value is not None
    value = decode_value(RECORD_TYPES, 2, record.value)
    assert isinstance(value, GroupMetadataValue)
    again = ClassicGroup.from_value("g", value)
    assert (again.state, again.generation_id, again.leader_id) == (GroupState.STABLE, 5, "a")
    assert [m.assignment for m in again.members.values()] == [b"A", b""]
    assert again.static_members == {"i": "a"}
    assert again.to_value({"a": b"A"}) == value


def test_subscribed_topics_are_those_of_the_generation() -> None:
    group = ClassicGroup("g", 0)
    assert not group.is_subscribed_to("t")
    for name, topics in (("a", ["t"]), ("b", ["t", "u"])):
        metadata = encode_versioned(ConsumerProtocolSubscription(topics=topics), 0)
        one = member(name, "x")
        one.protocols = (("x", metadata),)
        group.add(one)
    # Nobody knows yet: everything has to stay.
    assert group.is_subscribed_to("other")
    group.protocol_name = "x"
    group.keep_subscriptions()
    assert group.subscribed_topics == {"t", "u"}
    assert not group.is_subscribed_to("other")
    group.members["a"].protocols = (("y", b""),)
    assert group.is_subscribed_to("u")
    group.remove("a")
    group.remove("b")
    group.keep_subscriptions()
    assert group.subscribed_topics == frozenset()


def test_topics_of_other_kinds_of_groups_are_nobodys() -> None:
    group = ClassicGroup("g", 0)
    one = member("a", "x")
    one.protocol_type = "connect"
    group.add(one)
    group.protocol_name = "x"
    group.keep_subscriptions()
    assert not group.is_subscribed_to("t")

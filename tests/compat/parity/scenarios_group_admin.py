"""Groups as operators see them: listed, described, deleted, and their offsets deleted."""

from __future__ import annotations

from tests.compat.parity.scenarios_groups import Member, coordinate, joining
from tests.compat.parity.session import Session, observe, scenario, wait_until
from tidelog.protocol.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from tidelog.protocol.messages.describe_groups import (
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from tidelog.protocol.messages.join_group import JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchResponse,
)
from tidelog.protocol.records import encode_versioned
from tidelog.protocol.records.consumer_protocol import ConsumerProtocolSubscription


def commit(s: Session, group: str, topic: str, *partitions: int, note: str = "note") -> int:
    """Commits offset 5 without membership; the first error code."""
    coordinate(s, group)
    request = OffsetCommitRequest(
        group_id=group,
        topics=[
            OffsetCommitRequestTopic(
                name=topic,
                partitions=[
                    OffsetCommitRequestPartition(
                        partition_index=index, committed_offset=5, committed_metadata=note
                    )
                    for index in partitions
                ],
            )
        ],
    )
    answer = s.call(request, 8, OffsetCommitResponse)
    return answer.topics[0].partitions[0].error_code


class Subscriber(Member):
    """A member whose metadata is a consumer's subscription, or whatever `metadata` says."""

    def __init__(
        self,
        s: Session,
        group: str,
        *topics: str,
        protocol_type: str = "consumer",
        metadata: bytes | None = None,
    ) -> None:
        self.s, self.group = s, group
        coordinate(s, group)
        if metadata is None:
            metadata = encode_versioned(ConsumerProtocolSubscription(topics=list(topics)), 1)
        request = joining(group, protocol_type=protocol_type)
        request.protocols = [JoinGroupRequestProtocol(name="range", metadata=metadata)]
        request.member_id = s.call(request, 9, JoinGroupResponse).member_id
        self.joined = s.call(request, 9, JoinGroupResponse)
        self.id, self.generation = self.joined.member_id, self.joined.generation_id


def delete_groups(s: Session, label: str, *groups: str, version: int = 2) -> None:
    answer = s.call(DeleteGroupsRequest(groups_names=list(groups)), version, DeleteGroupsResponse)
    answer.results.sort(key=lambda result: result.group_id)
    s.note(label, observe(answer, version))


def list_groups(
    s: Session,
    label: str,
    version: int,
    *,
    states: tuple[str, ...] = (),
    types: tuple[str, ...] = (),
) -> None:
    """Observes the groups of the scenario `lg`."""
    request = ListGroupsRequest(states_filter=list(states), types_filter=list(types))
    answer = s.call(request, version, ListGroupsResponse)
    answer.groups = sorted(
        (group for group in answer.groups if group.group_id.startswith("lg-")),
        key=lambda group: group.group_id,
    )
    s.note(label, observe(answer, version))


@scenario
def groups_are_listed(s: Session) -> None:
    """Groups in several states, through every filter."""
    s.create("lg", 1)
    commit(s, "lg-simple", "lg", 0)
    stable = Member(s, "lg-stable")
    stable.sync("sync")
    Member(s, "lg-completing")
    left = Member(s, "lg-left")
    left.sync("sync of one that leaves")
    left.leave("leave", left.id, 5)
    other = Subscriber(s, "lg-connect", protocol_type="connect")
    assert other.generation == 1
    for version in range(6):
        list_groups(s, f"v{version}", version)
    for label, states in (
        ("stable", ("Stable",)),
        ("lower case", ("stable", "empty")),
        ("with blanks", (" Stable ",)),
        ("unknown", ("Sleeping",)),
        ("completing", ("CompletingRebalance",)),
        ("dead", ("Dead",)),
    ):
        list_groups(s, f"state {label} v4", 4, states=states)
        list_groups(s, f"state {label} v5", 5, states=states)
    for name in ("classic", "Classic", "consumer", "share", "unknown", "no-such"):
        list_groups(s, f"type {name}", 5, types=(name,))
    list_groups(s, "type and state", 5, types=("classic", "consumer"), states=("Empty",))


def describe(s: Session, label: str, *groups: str, version: int = 6, asked: bool = False) -> None:
    request = DescribeGroupsRequest(groups=list(groups))
    if version >= 3:
        request.include_authorized_operations = asked
    s.ask(label, request, version)


@scenario
def groups_are_described(s: Session) -> None:
    """Every state of a classic group, in every version."""
    s.create("dg", 1)
    commit(s, "dg-simple", "dg", 0)
    member = Subscriber(s, "dg", "dg")
    describe(s, "completing", "dg")
    member.sync("sync", protocol_name="range")
    for version in range(7):
        describe(s, f"stable v{version}", "dg", version=version)
        describe(s, f"unknown v{version}", "dg-nothing", version=version)
        if version >= 3:
            describe(s, f"operations v{version}", "dg", "dg-nothing", version=version, asked=True)
    describe(s, "offsets only", "dg-simple")
    describe(s, "empty name", "")
    describe(s, "empty name v5", "", version=5)
    describe(s, "none")
    describe(s, "the same twice", "dg-simple", "dg-simple")
    connect = Subscriber(s, "dg-connect", protocol_type="connect", metadata=b"x")
    connect.sync("sync of another kind", protocol_type="connect")
    describe(s, "another kind", "dg-connect")
    member.leave("leave", member.id, 5)
    describe(s, "empty after members", "dg")


@scenario
def a_rebalancing_group_is_described(s: Session) -> None:
    """While a second member is awaited, and a static one."""
    coordinate(s, "rg")
    first = s.call(joining("rg", instance="one"), 9, JoinGroupResponse)
    request = DescribeGroupsRequest(groups=["rg"])
    for version in (3, 4, 6):
        s.ask(f"static, completing v{version}", request, version)
    member = Member.__new__(Member)
    member.s, member.group, member.id, member.generation = s, "rg", first.member_id, 1
    member.sync("sync", group_instance_id="one")
    for version in (3, 4, 6):
        s.ask(f"static, stable v{version}", request, version)
    with_id = s.call(joining("rg"), 9, JoinGroupResponse).member_id
    s.ask("with a pending member", request, 6)
    other = s.connect()
    try:
        other.send(joining("rg", with_id), 9)
        answer = s.call(request, 6, DescribeGroupsResponse)
        while answer.groups[0].group_state != "PreparingRebalance":
            answer = s.call(request, 6, DescribeGroupsResponse)
        answer.groups[0].members.sort(key=lambda each: each.group_instance_id or "")
        s.note("preparing", observe(answer, 6))
        delete_groups(s, "delete", "rg")
        s.call(joining("rg", first.member_id, instance="one"), 9, JoinGroupResponse)
        answer = s.call(request, 6, DescribeGroupsResponse)
        answer.groups[0].members.sort(key=lambda each: each.group_instance_id or "")
        s.note("completing with two", observe(answer, 6))
    finally:
        other.close()


@scenario
def groups_are_deleted(s: Session) -> None:
    """Empty groups alone, with their offsets."""
    s.create("dlg", 2)
    for version in range(3):
        commit(s, f"dlg-{version}", "dlg", 0, 1)
        delete_groups(s, f"v{version}", f"dlg-{version}", version=version)
        delete_groups(s, f"again v{version}", f"dlg-{version}", version=version)
    member = Member(s, "dlg")
    delete_groups(s, "completing", "dlg")
    member.sync("sync")
    member.commit("commit", topic="dlg")
    commit(s, "dlg-simple", "dlg", 0)
    delete_groups(s, "stable and empty", "dlg", "dlg-simple", "dlg-nothing")
    describe(s, "empty one is gone", "dlg-simple")
    member.leave("leave", member.id, 5)
    describe(s, "before", "dlg")
    delete_groups(s, "after leaving", "dlg")
    describe(s, "after", "dlg")
    everything = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="dlg", topics=None)])
    s.ask("its offsets", everything, 8)
    delete_groups(s, "empty name", "")
    delete_groups(s, "none")
    commit(s, "dlg-twice", "dlg", 0)
    delete_groups(s, "twice in one request", "dlg-twice", "dlg-twice")
    pending = s.call(joining("dlg-pending"), 9, JoinGroupResponse)
    delete_groups(s, "with a pending member", "dlg-pending")
    s.ask("which joins then", joining("dlg-pending", pending.member_id), 9)


def delete_offsets(
    s: Session, label: str, group: str, *topics: tuple[str, tuple[int, ...]]
) -> None:
    request = OffsetDeleteRequest(
        group_id=group,
        topics=[
            OffsetDeleteRequestTopic(
                name=name,
                partitions=[OffsetDeleteRequestPartition(partition_index=index) for index in many],
            )
            for name, many in topics
        ],
    )
    answer = s.call(request, 0, OffsetDeleteResponse)
    answer.topics.sort(key=lambda topic: topic.name)
    for topic in answer.topics:
        topic.partitions.sort(key=lambda partition: partition.partition_index)
    s.note(label, observe(answer, 0))


@scenario
def offsets_are_deleted(s: Session) -> None:
    """Offsets of groups that consume, that are empty, and that are none."""
    for topic in ("od-a", "od-b"):
        s.create(topic, 2)
    commit(s, "od", "od-a", 0, 1)
    commit(s, "od", "od-b", 0, 1)
    delete_offsets(s, "one", "od", ("od-a", (0,)))
    delete_offsets(s, "again", "od", ("od-a", (0,)))
    delete_offsets(s, "unknown group", "od-nothing", ("od-a", (0,)))
    delete_offsets(s, "empty name", "", ("od-a", (0,)))
    delete_offsets(s, "unknown partition", "od", ("od-a", (1, 7)))
    delete_offsets(s, "unknown topic", "od", ("no-such", (0,)))
    delete_offsets(s, "unknown topic of an unknown group", "od-nothing", ("no-such", (0,)))
    delete_offsets(s, "nothing", "od")
    delete_offsets(s, "nothing of an unknown group", "od-nothing")
    delete_offsets(s, "topic without partitions", "od", ("od-b", ()))
    delete_offsets(s, "mixed", "od", ("od-a", (0, 9)), ("no-such", (1,)), ("od-b", (0,)))
    commit(s, "od-sub", "od-a", 0)
    commit(s, "od-sub", "od-b", 0)
    member = Subscriber(s, "od-sub", "od-a")
    delete_offsets(s, "while completing", "od-sub", ("od-a", (0,)), ("od-b", (0,)))
    member.sync("sync")
    delete_offsets(s, "while stable", "od-sub", ("od-a", (0, 1, 9)), ("od-b", (0,)))
    member.leave("leave", member.id, 5)
    delete_offsets(s, "after leaving", "od-sub", ("od-a", (0,)))
    commit(s, "od-odd", "od-a", 0)
    Subscriber(s, "od-odd", metadata=b"\0")
    delete_offsets(s, "unreadable subscription", "od-odd", ("od-a", (0,)))
    commit(s, "od-new", "od-a", 0)
    commit(s, "od-new", "od-b", 0)
    newer = b"\0\x09" + b"\0\0\0\1\0\4od-b" + b"\xff\xff\xff\xff" + b"beyond"
    Subscriber(s, "od-new", metadata=newer)
    delete_offsets(s, "a later version's", "od-new", ("od-a", (0,)), ("od-b", (0,)))
    commit(s, "od-connect", "od-a", 0)
    Subscriber(s, "od-connect", protocol_type="connect")
    delete_offsets(s, "another kind of group", "od-connect", ("od-a", (0,)))


@scenario
def offsets_of_a_deleted_topic(s: Session) -> None:
    """They go with the topic; the group stays."""
    for topic in ("odt-a", "odt-b"):
        s.create(topic, 1)
        commit(s, "odt", topic, 0)
    s.call(DeleteTopicsRequest(topic_names=["odt-a"], timeout_ms=5000), 5, DeleteTopicsResponse)
    request = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="odt", topics=None)])

    def gone() -> bool:
        (group,) = s.call(request, 8, OffsetFetchResponse).groups
        return len(group.topics) < 2

    wait_until(gone, "the offsets of a deleted topic stay")
    s.ask("what is left", request, 8)
    s.create("odt-a", 1)
    s.ask("when it is made again", request, 8)
    describe(s, "the group", "odt")


@scenario
def a_note_of_more_than_bytes(s: Session) -> None:
    """How the largest metadata string is measured."""
    s.create("nb", 1)
    for label, note in (
        ("4096 of two bytes", "ä" * 4096),
        ("4097 of two bytes", "ä" * 4097),
        ("2048 of two units", "\U0001f30a" * 2048),
        ("2049 of two units", "\U0001f30a" * 2049),
    ):
        s.note(label, commit(s, "nb", "nb", 0, note=note))

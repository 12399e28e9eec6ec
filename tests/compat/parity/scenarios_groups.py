"""Coordinators and classic groups: one member's life, and what is refused."""

from __future__ import annotations

from typing import Any

from tests.compat.parity.session import Session, observe, scenario, wait_until
from tidelog.protocol.messages.find_coordinator import (
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
)
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tidelog.protocol.schema import Request


def find(group: str, version: int, key_type: int = 0) -> FindCoordinatorRequest:
    request = FindCoordinatorRequest()
    if version >= 4:
        request.coordinator_keys = [group]
    else:
        request.key = group
    if version >= 1:
        request.key_type = key_type
    return request


def coordinate(s: Session, group: str) -> None:
    """Waits until the group has a coordinator that has loaded it."""

    def found() -> bool:
        answer = s.call(find(group, 3), 3, FindCoordinatorResponse)
        return answer.error_code == 0

    wait_until(found, f"no coordinator for {group}")

    def loaded() -> bool:
        answer = s.call(_fetch_all(group, 7), 7, OffsetFetchResponse)
        return answer.error_code == 0

    wait_until(loaded, f"{group} is not loaded")


def _fetch_all(group: str, version: int) -> OffsetFetchRequest:
    if version >= 8:
        return OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group, topics=None)])
    return OffsetFetchRequest(group_id=group, topics=None)


@scenario
def find_coordinator(s: Session) -> None:
    """The first question makes the offsets topic."""
    s.ask("first", find("fc-group", 4), 4)

    def made() -> bool:
        request = MetadataRequest(
            topics=[MetadataRequestTopic(name="__consumer_offsets")],
            allow_auto_topic_creation=False,
        )
        answer = s.call(request, 12, MetadataResponse)
        s.observed["offsets topic"] = [
            answer.topics[0].error_code,
            answer.topics[0].is_internal,
            len(answer.topics[0].partitions),
        ]
        return answer.topics[0].error_code == 0

    wait_until(made, "no offsets topic")
    coordinate(s, "fc-group")
    for version in range(7):
        s.ask(f"v{version}", find("fc-group", version), version)
        s.ask(f"empty group v{version}", find("", version), version)
    for key_type in (2, 3, -1):
        s.ask(f"key type {key_type} v3", find("x", 3, key_type), 3)
        s.ask(f"key type {key_type} v6", find("x", 6, key_type), 6)
    several = FindCoordinatorRequest(coordinator_keys=["a", "b"])
    s.ask("two keys", several, 4)
    s.ask("no keys", FindCoordinatorRequest(coordinator_keys=[]), 4)


def joining(
    group: str,
    member: str = "",
    *,
    session_timeout_ms: int = 30000,
    protocol_type: str = "consumer",
    protocols: tuple[str, ...] = ("range",),
    instance: str | None = None,
) -> JoinGroupRequest:
    request = JoinGroupRequest(
        group_id=group,
        session_timeout_ms=session_timeout_ms,
        rebalance_timeout_ms=30000,
        member_id=member,
        protocol_type=protocol_type,
        protocols=[JoinGroupRequestProtocol(name=p, metadata=b"m") for p in protocols],
    )
    if instance is not None:
        request.group_instance_id = instance
    return request


@scenario
def join_group(s: Session) -> None:
    """Joining in every version, and what is refused."""
    coordinate(s, "jg")
    for version in range(10):
        s.ask(f"v{version}", joining(f"jg-{version}"), version)
    for name, request in (
        ("empty group", joining("")),
        ("unknown member", joining("jg-x", "nobody")),
        ("timeout too short", joining("jg-x", session_timeout_ms=10)),
        ("timeout too long", joining("jg-x", session_timeout_ms=10**8)),
        ("no protocols", joining("jg-x", protocols=())),
        ("no protocol type", joining("jg-x", protocol_type="")),
        ("static", joining("jg-static", instance="one")),
        ("static with a bad name", joining("jg-x", instance="a b")),
    ):
        s.ask(name, request, 9)


class Member:
    """A member of a group that joins, and asks in its own name or with something changed."""

    def __init__(self, s: Session, group: str) -> None:
        self.s, self.group = s, group
        coordinate(s, group)
        self.refused = s.call(joining(group), 9, JoinGroupResponse)
        self.id = self.refused.member_id
        self.joined = s.call(joining(group, self.id), 9, JoinGroupResponse)
        self.generation = self.joined.generation_id

    def sync(self, label: str, version: int = 5, **changes: object) -> None:
        request = SyncGroupRequest(
            group_id=self.group,
            generation_id=self.generation,
            member_id=self.id,
            assignments=[SyncGroupRequestAssignment(member_id=self.id, assignment=b"mine")],
        )
        if version >= 5:
            request.protocol_type, request.protocol_name = "consumer", "range"
        self._ask(label, request, version, changes)

    def beat(self, label: str, version: int = 4, **changes: object) -> None:
        request = HeartbeatRequest(
            group_id=self.group, generation_id=self.generation, member_id=self.id
        )
        self._ask(label, request, version, changes)

    def commit(self, label: str, version: int = 8, topic: str = "om", **changes: object) -> None:
        partition = OffsetCommitRequestPartition(
            partition_index=0, committed_offset=5, committed_metadata="note"
        )
        request = OffsetCommitRequest(
            group_id=self.group,
            generation_id_or_member_epoch=self.generation,
            member_id=self.id,
            topics=[OffsetCommitRequestTopic(name=topic, partitions=[partition])],
        )
        self._ask(label, request, version, changes)

    def leave(self, label: str, who: str, version: int) -> None:
        request = LeaveGroupRequest(group_id=self.group)
        if version < 3:
            request.member_id = who
        else:
            request.members = [MemberIdentity(member_id=who)]
        self.s.ask(label, request, version)

    def _ask(self, label: str, request: Request, version: int, changes: dict[str, object]) -> None:
        for key, value in changes.items():
            setattr(request, key, value)
        self.s.ask(label, request, version)


@scenario
def one_member(s: Session) -> None:
    """A member joins, syncs, beats and leaves."""
    member = Member(s, "om")
    s.note("needs a member id", observe(member.refused, 9))
    s.note("joined", observe(member.joined, 9))
    member.beat("heartbeat before sync")
    member.sync("sync of an unknown group", group_id="om-nothing")
    member.sync("sync with a wrong generation", generation_id=99)
    member.sync("sync of an unknown member", member_id="nobody")
    member.sync("sync with another protocol", protocol_name="sticky")
    member.sync("sync with another type", protocol_type="connect")
    member.sync("sync")
    for version in range(5):
        member.sync(f"sync again v{version}", version)
        member.beat(f"heartbeat v{version}", version)
    member.beat("heartbeat of an unknown group", group_id="om-nothing")
    member.beat("heartbeat with an empty group", group_id="")
    member.beat("heartbeat with a wrong generation", generation_id=99)
    member.beat("heartbeat of an unknown member", member_id="nobody")
    s.ask("join again", joining("om", member.id), 9)
    member.leave("leave nobody v2", "nobody", 2)
    for version in (3, 4, 5):
        member.leave(f"leave nobody v{version}", "nobody", version)
    member.leave("leave", member.id, 5)
    member.leave("leave again", member.id, 5)
    member.beat("heartbeat after leaving")


@scenario
def commits_of_a_member(s: Session) -> None:
    """A member commits in its generation; others and strangers are refused."""
    s.create("om", 2)
    member = Member(s, "cm")
    member.sync("sync")
    for version in range(2, 10):
        member.commit(f"v{version}", version)
    member.commit("wrong generation", generation_id_or_member_epoch=99)
    member.commit("unknown member", member_id="nobody")
    member.commit("unknown topic", topic="no-such")
    member.commit("empty group", group_id="")
    alone: dict[str, Any] = {"generation_id_or_member_epoch": -1, "member_id": ""}
    member.commit("a group that is none", group_id="cm-simple", **alone)
    member.commit("a generation of an unknown group", group_id="cm-nothing")
    member.commit("no member, in a group with one", **alone)


def committing(
    group: str, offset: int, note: str | None = "note", partition: int = 0
) -> OffsetCommitRequest:
    one = OffsetCommitRequestPartition(
        partition_index=partition,
        committed_offset=offset,
        committed_leader_epoch=0,
        committed_metadata=note,
    )
    return OffsetCommitRequest(
        group_id=group, topics=[OffsetCommitRequestTopic(name="ocf", partitions=[one])]
    )


def fetching_offsets(
    version: int, group: str, topic: str, topic_id: bytes, partitions: list[int]
) -> OffsetFetchRequest:
    if version < 8:
        named = OffsetFetchRequestTopic(name=topic, partition_indexes=partitions)
        return OffsetFetchRequest(group_id=group, topics=[named])
    topics = OffsetFetchRequestTopics(name=topic, topic_id=topic_id, partition_indexes=partitions)
    return OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group, topics=[topics])])


@scenario
def offset_commit_and_fetch(s: Session) -> None:
    """Commits without a member, read back in every version."""
    group = "ocf-group"
    coordinate(s, group)
    topic_id = s.create("ocf", 2)
    for label, request in (
        ("commit", committing(group, 5)),
        ("null note", committing(group, 6, None)),
        ("largest note", committing(group, 7, "n" * 4096)),
        ("note too large", committing(group, 8, "n" * 4097)),
        ("negative offset", committing(group, -5)),
        ("unknown partition", committing(group, 1, partition=9)),
        ("back", committing(group, 5)),
        ("other partition", committing(group, 3, "", 1)),
    ):
        s.ask(label, request, 8)
    for version in range(1, 11):
        s.ask(f"v{version}", fetching_offsets(version, group, "ocf", topic_id, [0, 1, 7]), version)
        if version >= 2:
            answer = s.call(_fetch_all(group, version), version, OffsetFetchResponse)
            for topic in answer.topics:
                topic.partitions.sort(key=lambda p: p.partition_index)
            for one in answer.groups:
                for topics in one.topics:
                    topics.partitions.sort(key=lambda p: p.partition_index)
            s.note(f"all v{version}", observe(answer, version))
    for version in (7, 9):
        for label, topic_name, whose in (
            ("unknown topic", "no-such", group),
            ("unknown group", "ocf", "no-such-group"),
            ("empty group", "ocf", ""),
        ):
            asked = fetching_offsets(version, whose, topic_name, topic_id, [0])
            s.ask(f"{label} v{version}", asked, version)


@scenario
def offsets_by_topic_id(s: Session) -> None:
    """Version 10: topics by their ids, known and unknown."""
    group = "oti-group"
    coordinate(s, group)
    topic_id = s.create("oti", 1)
    by_id = OffsetCommitRequest(
        group_id=group,
        topics=[
            OffsetCommitRequestTopic(
                topic_id=each,
                partitions=[OffsetCommitRequestPartition(partition_index=0, committed_offset=9)],
            )
            for each in (topic_id, b"\3" * 16)
        ],
    )
    committed = s.call(by_id, 10, OffsetCommitResponse)
    committed.topics.sort(key=lambda t: t.topic_id == topic_id)
    s.note("commit", observe(committed, 10))
    s.ask("fetch", fetching_offsets(10, group, "", topic_id, [0]), 10)
    s.ask("fetch unknown", fetching_offsets(10, group, "", b"\3" * 16, [0]), 10)

"""Coordinators and classic groups: one member's life, and what is refused."""

from __future__ import annotations

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


@scenario
def one_member(s: Session) -> None:
    """A member joins, syncs, beats, commits and leaves."""
    group = "om"
    coordinate(s, group)
    s.create("om-topic", 2)
    refused = s.call(joining(group), 9, JoinGroupResponse)
    s.note("needs a member id", observe(refused, 9))
    member = refused.member_id
    joined = s.call(joining(group, member), 9, JoinGroupResponse)
    s.note("joined", observe(joined, 9))
    generation = joined.generation_id

    def sync(label: str, version: int = 5, **changes: object) -> None:
        request = SyncGroupRequest(
            group_id=group,
            generation_id=generation,
            member_id=member,
            assignments=[SyncGroupRequestAssignment(member_id=member, assignment=b"mine")],
        )
        if version >= 5:
            request.protocol_type, request.protocol_name = "consumer", "range"
        for key, value in changes.items():
            setattr(request, key, value)
        s.ask(label, request, version)

    def beat(label: str, version: int = 4, **changes: object) -> None:
        request = HeartbeatRequest(group_id=group, generation_id=generation, member_id=member)
        for key, value in changes.items():
            setattr(request, key, value)
        s.ask(label, request, version)

    beat("heartbeat before sync")
    sync("sync of an unknown group", group_id="om-nothing")
    sync("sync with a wrong generation", generation_id=99)
    sync("sync of an unknown member", member_id="nobody")
    sync("sync with another protocol", protocol_name="sticky")
    sync("sync with another type", protocol_type="connect")
    sync("sync")
    sync("sync again", 4)
    for version in range(5):
        beat(f"heartbeat v{version}", version)
    beat("heartbeat of an unknown group", group_id="om-nothing")
    beat("heartbeat with an empty group", group_id="")
    beat("heartbeat with a wrong generation", generation_id=99)
    beat("heartbeat of an unknown member", member_id="nobody")

    def commit(label: str, version: int = 8, topic: str = "om-topic", **changes: object) -> None:
        request = OffsetCommitRequest(
            group_id=group,
            generation_id_or_member_epoch=generation,
            member_id=member,
            topics=[
                OffsetCommitRequestTopic(
                    name=topic,
                    partitions=[
                        OffsetCommitRequestPartition(
                            partition_index=0, committed_offset=5, committed_metadata="note"
                        )
                    ],
                )
            ],
        )
        for key, value in changes.items():
            setattr(request, key, value)
        s.ask(label, request, version)

    for version in range(2, 10):
        commit(f"commit v{version}", version)
    commit("commit with a wrong generation", generation_id_or_member_epoch=99)
    commit("commit of an unknown member", member_id="nobody")
    commit("commit to an unknown topic", topic="no-such")
    commit("commit with an empty group", group_id="")
    commit(
        "commit of a group that is none",
        group_id="om-simple",
        generation_id_or_member_epoch=-1,
        member_id="",
    )
    commit(
        "commit of an unknown group with a generation",
        group_id="om-nothing",
        generation_id_or_member_epoch=3,
    )
    commit(
        "commit without a member to a group with one",
        generation_id_or_member_epoch=-1,
        member_id="",
    )
    s.ask("join again", joining(group, member), 9)
    for version, leaver in ((2, "nobody"), (5, "nobody"), (5, member), (5, member)):
        leaving = LeaveGroupRequest(group_id=group)
        if version < 3:
            leaving.member_id = leaver
        else:
            leaving.members = [MemberIdentity(member_id=leaver)]
        which = "me" if leaver == member else leaver
        label = f"leave {which} v{version}"
        s.ask(label if label not in s.observed else f"{label} again", leaving, version)
    beat("heartbeat after leaving")


@scenario
def offset_commit_and_fetch(s: Session) -> None:
    """Commits without a member, read back in every version."""
    group = "ocf"
    coordinate(s, group)
    topic_id = s.create("ocf-topic", 2)

    def commit(label: str, offset: int, note: str | None = "note", partition: int = 0) -> None:
        request = OffsetCommitRequest(
            group_id=group,
            topics=[
                OffsetCommitRequestTopic(
                    name="ocf-topic",
                    partitions=[
                        OffsetCommitRequestPartition(
                            partition_index=partition,
                            committed_offset=offset,
                            committed_leader_epoch=0,
                            committed_metadata=note,
                        )
                    ],
                )
            ],
        )
        s.ask(label, request, 8)

    commit("commit", 5)
    commit("null note", 6, None)
    commit("largest note", 7, "n" * 4096)
    commit("note too large", 8, "n" * 4097)
    commit("negative offset", -5)
    commit("unknown partition", 1, partition=9)
    commit("back", 5)
    commit("other partition", 3, "", 1)

    def fetch(version: int, topic: str, partitions: list[int], whose: str = group) -> object:
        if version >= 8:
            return OffsetFetchRequest(
                groups=[
                    OffsetFetchRequestGroup(
                        group_id=whose,
                        topics=[
                            OffsetFetchRequestTopics(
                                name=topic, topic_id=topic_id, partition_indexes=partitions
                            )
                        ],
                    )
                ]
            )
        return OffsetFetchRequest(
            group_id=whose,
            topics=[OffsetFetchRequestTopic(name=topic, partition_indexes=partitions)],
        )

    for version in range(1, 11):
        request = fetch(version, "ocf-topic", [0, 1, 7])
        assert isinstance(request, OffsetFetchRequest)
        s.ask(f"fetch v{version}", request, version)
        if version >= 2:
            everything = _fetch_all(group, version)
            s.connection.send(everything, version)
            answer = s.connection.answer(everything, version)
            assert isinstance(answer, OffsetFetchResponse)
            for topics in (answer.topics, *(g.topics for g in answer.groups)):
                for one in topics:
                    one.partitions.sort(key=lambda p: p.partition_index)
            s.note(f"fetch all v{version}", observe(answer, version))
    for version in (7, 9):
        for label, topic, whose in (
            ("unknown topic", "no-such", group),
            ("unknown group", "ocf-topic", "no-such-group"),
            ("empty group", "ocf-topic", ""),
        ):
            request = fetch(version, topic, [0], whose)
            assert isinstance(request, OffsetFetchRequest)
            s.ask(f"{label} v{version}", request, version)
    unknown = OffsetFetchRequest(
        groups=[
            OffsetFetchRequestGroup(
                group_id=group,
                topics=[OffsetFetchRequestTopics(topic_id=b"\3" * 16, partition_indexes=[0])],
            )
        ]
    )
    s.ask("unknown id", unknown, 10)
    by_id = OffsetCommitRequest(
        group_id=group,
        topics=[
            OffsetCommitRequestTopic(
                topic_id=topic_id,
                partitions=[OffsetCommitRequestPartition(partition_index=0, committed_offset=9)],
            ),
            OffsetCommitRequestTopic(
                topic_id=b"\3" * 16,
                partitions=[OffsetCommitRequestPartition(partition_index=0, committed_offset=9)],
            ),
        ],
    )
    committed = s.call(by_id, 10, OffsetCommitResponse)
    committed.topics.sort(key=lambda t: t.topic_id == topic_id)
    s.note("commit by id", observe(committed, 10))

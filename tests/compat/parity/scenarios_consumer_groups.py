"""Consumer groups of KIP-848: heartbeats of one and two members, refusals, descriptions."""

from __future__ import annotations

from typing import Any

from tests.compat.parity.scenarios_group_admin import (
    commit,
    delete_groups,
    delete_offsets,
    describe,
)
from tests.compat.parity.scenarios_groups import Member, coordinate, joining
from tests.compat.parity.session import Session, observe, scenario, wait_until
from tidelog.protocol.messages.consumer_group_describe import (
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
)
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from tidelog.protocol.messages.join_group import JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequestAssignment
from tidelog.protocol.records import encode_versioned
from tidelog.protocol.records.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from tidelog.protocol.records.consumer_protocol import TopicPartition as NamedPartitions


def joins(group: str, member: str, *topics: str, **changes: Any) -> ConsumerGroupHeartbeatRequest:
    """The first heartbeat of a member."""
    request = ConsumerGroupHeartbeatRequest(
        group_id=group,
        member_id=member,
        member_epoch=0,
        rebalance_timeout_ms=30_000,
        subscribed_topic_names=list(topics),
        topic_partitions=[],
    )
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def beats(group: str, member: str, epoch: int, **changes: Any) -> ConsumerGroupHeartbeatRequest:
    """A later one; what is not said has not changed."""
    request = ConsumerGroupHeartbeatRequest(group_id=group, member_id=member, member_epoch=epoch)
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def of_topic(topic_id: bytes, *indexes: int) -> TopicPartitions:
    return TopicPartitions(topic_id=topic_id, partitions=list(indexes))


def assign_at_once(s: Session, group: str) -> None:
    """Every change is followed by the next heartbeat, not by the one a second later."""
    change = AlterableConfig(name="consumer.assignment.interval.ms", value="0")
    resource = AlterConfigsResource(resource_type=32, resource_name=group, configs=[change])
    request = IncrementalAlterConfigsRequest(resources=[resource])
    answer = s.call(request, 1, IncrementalAlterConfigsResponse)
    assert answer.responses[0].error_code == 0, answer


def describe_consumer(s: Session, label: str, *groups: str, version: int = 1) -> None:
    request = ConsumerGroupDescribeRequest(group_ids=list(groups))
    answer = s.call(request, version, ConsumerGroupDescribeResponse)
    answer.groups.sort(key=lambda group: group.group_id)
    for group in answer.groups:
        group.members.sort(key=lambda member: member.member_id)
        for member in group.members:
            for each in (member.assignment, member.target_assignment):
                each.topic_partitions.sort(key=lambda topic: topic.topic_name)
    # Member ids were chosen here, so they are shown.
    found = observe(answer, version)
    for group, shown in zip(answer.groups, found["groups"], strict=True):
        for member, masked in zip(group.members, shown["members"], strict=True):
            masked["member_id"] = member.member_id
    s.note(label, found)


@scenario
def consumer_group_refusals(s: Session) -> None:
    """Heartbeats that are not taken."""
    assign_at_once(s, "cgr")
    s.create("cgr", 2)
    coordinate(s, "cgr")
    for label, request in (
        ("empty group", joins("", "m", "cgr")),
        ("empty member", joins("cgr", "", "cgr")),
        ("empty instance", joins("cgr", "m", "cgr", instance_id="")),
        ("empty rack", joins("cgr", "m", "cgr", rack_id="")),
        ("no rebalance timeout", joins("cgr", "m", "cgr", rebalance_timeout_ms=-1)),
        ("no partitions", joins("cgr", "m", "cgr", topic_partitions=None)),
        (
            "with partitions",
            joins("cgr", "m", topic_partitions=[of_topic(b"\1" * 16, 0)]),
        ),
        ("no subscription", joins("cgr", "m", subscribed_topic_names=None)),
        ("unknown assignor", joins("cgr", "m", "cgr", server_assignor="best")),
        (
            "bad pattern",
            joins("cgr", "m", subscribed_topic_names=None, subscribed_topic_regex="(["),
        ),
        ("unknown group", beats("cgr", "m", 1)),
        ("leaves an unknown group", beats("cgr", "m", -1)),
        ("static leave without an instance", beats("cgr", "m", -2)),
        ("epoch -3", beats("cgr", "m", -3)),
    ):
        s.ask(label, request, 1)
    s.ask("empty member v0", joins("cgr-0", "", "cgr"), 0)
    s.ask("joins", joins("cgr", "m", "cgr"), 1)
    s.ask("unknown member", beats("cgr", "other", 1), 1)
    s.ask("greater epoch", beats("cgr", "m", 9), 1)
    s.ask("smaller epoch", beats("cgr", "m", 0, topic_partitions=None), 1)
    s.ask("unknown member leaves", beats("cgr", "other", -1), 1)
    s.ask("classic member", joining("cgr", protocols=("range",)), 9)
    commit(s, "cgr-simple", "cgr", 0)
    s.ask("of an offsets-only group", joins("cgr-simple", "m", "cgr"), 1)


@scenario
def one_consumer(s: Session) -> None:
    """A member joins, says what it has, and leaves."""
    assign_at_once(s, "oc")
    topic_id = s.create("oc", 3)
    coordinate(s, "oc")
    s.ask("joins", joins("oc", "m", "oc"), 1)
    owned = [of_topic(topic_id, 0, 1, 2)]
    s.ask("has everything", beats("oc", "m", 2, topic_partitions=owned), 1)
    s.ask("nothing new", beats("oc", "m", 2), 1)
    for version in (0, 1):
        describe_consumer(s, f"stable v{version}", "oc", "oc-nothing", "", version=version)
    describe(s, "as a classic group", "oc")
    describe(s, "as a classic group v5", "oc", version=5)
    s.ask("joins again", joins("oc", "m", "oc"), 1)
    s.ask("another subscription", beats("oc", "m", 2, subscribed_topic_names=["oc", "oc-x"]), 1)
    s.ask("after that", beats("oc", "m", 3), 1)
    s.create("oc-x", 1)

    def seen() -> bool:
        answer = s.call(beats("oc", "m", 3), 1, ConsumerGroupHeartbeatResponse)
        return answer.member_epoch == 4

    wait_until(seen, "a new topic is not assigned")
    describe_consumer(s, "with the new topic", "oc")
    again = s.call(joins("oc", "m", "oc", "oc-x"), 1, ConsumerGroupHeartbeatResponse)
    assert again.assignment is not None
    again.assignment.topic_partitions.sort(key=lambda topic: len(topic.partitions))
    s.note("joins once more, epochs later", observe(again, 1))
    s.ask("goes on", beats("oc", "m", 4), 1)
    s.ask("two epochs back", beats("oc", "m", 2, topic_partitions=owned), 1)
    delete_groups(s, "delete while it has members", "oc")
    s.ask("leaves", beats("oc", "m", -1), 1)
    describe_consumer(s, "empty", "oc")
    delete_groups(s, "delete", "oc")
    describe_consumer(s, "deleted", "oc")


@scenario
def two_consumers(s: Session) -> None:
    """Partitions go from one to the other when they are given up."""
    assign_at_once(s, "tc")
    topic_id = s.create("tc", 4)
    coordinate(s, "tc")

    def has(*indexes: int) -> list[TopicPartitions]:
        return [of_topic(topic_id, *indexes)] if indexes else []

    ranged: dict[str, Any] = {"server_assignor": "range"}
    s.ask("a joins", joins("tc", "a", "tc", **ranged), 1)
    s.ask("a has all", beats("tc", "a", 2, topic_partitions=has(0, 1, 2, 3)), 1)
    s.ask("b joins", joins("tc", "b", "tc", **ranged), 1)
    describe_consumer(s, "reconciling", "tc")
    s.ask("b waits", beats("tc", "b", 3, topic_partitions=[]), 1)
    s.ask("a is told", beats("tc", "a", 2), 1)
    s.ask("a still has all", beats("tc", "a", 2, topic_partitions=has(0, 1, 2, 3)), 1)
    s.ask("a gave up", beats("tc", "a", 2, topic_partitions=has(0, 1)), 1)
    s.ask("b gets them", beats("tc", "b", 3), 1)
    s.ask("b has them", beats("tc", "b", 3, topic_partitions=has(2, 3)), 1)
    describe_consumer(s, "stable", "tc")
    s.ask("lost answer", beats("tc", "a", 2, topic_partitions=has(0, 1)), 1)
    s.ask("b leaves", beats("tc", "b", -1), 1)
    s.ask("a gets all", beats("tc", "a", 3), 1)


@scenario
def a_static_consumer(s: Session) -> None:
    """Leaves for a while and comes back under another id."""
    assign_at_once(s, "sc")
    topic_id = s.create("sc", 2)
    coordinate(s, "sc")
    static: dict[str, Any] = {"instance_id": "one"}
    s.ask("joins", joins("sc", "m", "sc", **static), 1)
    s.ask("another process", joins("sc", "n", "sc", **static), 1)
    s.ask("without its instance", beats("sc", "m", 2), 1)
    owned = [of_topic(topic_id, 0, 1)]
    s.ask("has all", beats("sc", "m", 2, topic_partitions=owned, **static), 1)
    s.ask("leaves for a while", beats("sc", "m", -2, **static), 1)
    describe_consumer(s, "away", "sc")
    s.ask("comes back", joins("sc", "n", "sc", **static), 1)
    describe_consumer(s, "back", "sc")
    s.ask("the old one", beats("sc", "m", 2, **static), 1)
    s.ask("leaves", beats("sc", "n", -1, **static), 1)
    describe_consumer(s, "left", "sc")


@scenario
def offsets_of_consumers(s: Session) -> None:
    """Commits and fetches with member epochs."""
    assign_at_once(s, "of")
    s.create("of", 2)
    coordinate(s, "of")
    s.call(joins("of", "m", "of"), 1, ConsumerGroupHeartbeatResponse)

    def ask_commit(label: str, member: str, epoch: int, version: int = 9) -> None:
        one = OffsetCommitRequestPartition(partition_index=0, committed_offset=3)
        request = OffsetCommitRequest(
            group_id="of",
            member_id=member,
            generation_id_or_member_epoch=epoch,
            topics=[OffsetCommitRequestTopic(name="of", partitions=[one])],
        )
        s.ask(label, request, version)

    ask_commit("commit", "m", 2)
    ask_commit("commit v8", "m", 2, 8)
    ask_commit("older epoch", "m", 1)
    ask_commit("newer epoch", "m", 3)
    ask_commit("unknown member", "n", 2)
    ask_commit("without membership", "", -1)

    def ask_fetch(label: str, member: str | None, epoch: int) -> None:
        topics = OffsetFetchRequestTopics(name="of", partition_indexes=[0])
        group = OffsetFetchRequestGroup(
            group_id="of", member_id=member, member_epoch=epoch, topics=[topics]
        )
        s.ask(label, OffsetFetchRequest(groups=[group]), 9)

    ask_fetch("fetch", "m", 2)
    ask_fetch("fetch with an older epoch", "m", 1)
    ask_fetch("fetch of an unknown member", "n", 2)
    ask_fetch("fetch without membership", None, -1)
    delete_offsets(s, "delete", "of", ("of", (0,)))
    request = ListGroupsRequest(types_filter=["consumer"], states_filter=["stable"])
    answer = s.call(request, 5, ListGroupsResponse)
    answer.groups = [group for group in answer.groups if group.group_id == "of"]
    s.note("listed", observe(answer, 5))
    s.ask("leaves", beats("of", "m", -1), 1)
    ask_commit("without membership, when empty", "", -1)
    delete_offsets(s, "delete when empty", "of", ("of", (0,)))
    s.ask("a classic member comes", joining("of"), 9)


@scenario
def consumers_by_pattern(s: Session) -> None:
    """A subscription by a regular expression, which is resolved in the background there."""
    assign_at_once(s, "pat-g")
    for name in ("pat-a", "pat-b", "pat"):
        s.create(name, 1)
    coordinate(s, "pat-g")
    request = joins("pat-g", "m", subscribed_topic_names=[], subscribed_topic_regex="pat-.")
    first = s.call(request, 1, ConsumerGroupHeartbeatResponse)
    assert first.error_code == 0
    epoch = first.member_epoch

    def assigned() -> bool:
        nonlocal epoch
        answer = s.call(
            ConsumerGroupDescribeRequest(group_ids=["pat-g"]), 1, ConsumerGroupDescribeResponse
        )
        (member,) = answer.groups[0].members
        if len(member.assignment.topic_partitions) == 2:
            s.note("topics", sorted(each.topic_name for each in member.assignment.topic_partitions))
            s.note("pattern", [member.subscribed_topic_names, member.subscribed_topic_regex])
            return True
        epoch = s.call(beats("pat-g", "m", epoch), 1, ConsumerGroupHeartbeatResponse).member_epoch
        return False

    wait_until(assigned, "the pattern is not resolved")


def table(s: Session, group: str) -> dict[str, list[str]]:
    """The target assignment: partitions (topic-index) by member."""
    request = ConsumerGroupDescribeRequest(group_ids=[group])
    (found,) = s.call(request, 1, ConsumerGroupDescribeResponse).groups
    return {
        member.member_id: sorted(
            f"{topic.topic_name}-{index}"
            for topic in member.target_assignment.topic_partitions
            for index in topic.partitions
        )
        for member in sorted(found.members, key=lambda member: member.member_id)
    }


@scenario
def assignments(s: Session) -> None:
    """Who gets what from the server-side assignors: members come one after the other."""
    counts = (1, 3, 4, 7)
    for count in counts:
        s.create(f"as-{count}", count)
    for assignor in ("range", "uniform"):
        for count in counts:
            group = f"as-{assignor}-{count}"
            assign_at_once(s, group)
            coordinate(s, group)
            for members in range(1, 5):
                request = joins(group, f"m{members}", f"as-{count}", server_assignor=assignor)
                assert s.call(request, 1, ConsumerGroupHeartbeatResponse).error_code == 0
                shown = table(s, group)
                # Which ones a member of `uniform` keeps is the assignor's own matter.
                if assignor == "uniform":
                    s.note(
                        f"uniform: {count} partitions, {members} members",
                        sorted(len(partitions) for partitions in shown.values()),
                    )
                else:
                    s.note(f"range: {count} partitions, {members} members", shown)
    group = "as-two"
    assign_at_once(s, group)
    coordinate(s, group)
    for members in range(1, 4):
        request = joins(group, f"m{members}", "as-3", "as-4", server_assignor="range")
        assert s.call(request, 1, ConsumerGroupHeartbeatResponse).error_code == 0
        s.note(f"range: two topics, {members} members", table(s, group))


def _subscription(topic: str, *indexes: int) -> bytes:
    """A classic member's metadata: a topic, and what it still has of it."""
    owned = [NamedPartitions(topic=topic, partitions=list(indexes))] if indexes else []
    return encode_versioned(ConsumerProtocolSubscription(topics=[topic], owned_partitions=owned), 1)


class Classic(Member):
    """A classic member that says what it subscribes to and has."""

    def __init__(self, s: Session, group: str, topic: str) -> None:
        self.s, self.group, self.topic = s, group, topic
        self.id, self.generation = "", -1

    def join(self, label: str, *indexes: int) -> None:
        request = joining(self.group, self.id)
        request.protocols = [
            JoinGroupRequestProtocol(name="range", metadata=_subscription(self.topic, *indexes))
        ]
        if not self.id:
            request.member_id = self.id = self.s.call(request, 9, JoinGroupResponse).member_id
        answer = self.s.call(request, 9, JoinGroupResponse)
        self.generation = answer.generation_id
        # A leader is told everything about everybody: ids that are left to chance.
        answer.members = []
        self.s.note(label, observe(answer, 9))


@scenario
def a_classic_member_among_consumers(s: Session) -> None:
    """It joins a group of the new kind, and reconciles by joining again."""
    # Its id comes after every random one.
    assign_at_once(s, "cac")
    topic_id = s.create("cac", 2)
    coordinate(s, "cac")
    s.ask("a consumer", joins("cac", "~m", "cac", server_assignor="range"), 1)
    member = Classic(s, "cac", "cac")
    member.join("joins")
    member.sync("syncs", assignments=[])
    member.beat("waits")
    s.ask("the consumer is told", beats("cac", "~m", 2), 1)
    s.ask("it gives up", beats("cac", "~m", 2, topic_partitions=[of_topic(topic_id, 1)]), 1)
    member.beat("has to join")
    member.join("joins again")
    member.sync("gets its part", assignments=[])
    member.beat("stays")
    member.beat("another generation", generation_id=9)
    member.sync("sync of another generation", generation_id=9)
    member.sync("sync of another protocol", protocol_name="sticky")
    member.beat("the consumer's id", member_id="~m", generation_id=3)
    s.create("cac-other", 1)
    member.commit("commits", topic="cac")
    member.leave("a stranger leaves", "nobody", 5)
    member.leave("leaves", member.id, 5)
    s.ask("the consumer gets everything", beats("cac", "~m", 3), 1)


@scenario
def a_consumer_among_classic_members(s: Session) -> None:
    """A running classic group becomes one of the new kind."""
    assign_at_once(s, "ccm")
    topic_id = s.create("ccm", 2)
    coordinate(s, "ccm")
    member = Classic(s, "ccm", "ccm")
    member.join("joins")
    everything = encode_versioned(
        ConsumerProtocolAssignment(
            assigned_partitions=[NamedPartitions(topic="ccm", partitions=[0, 1])]
        ),
        1,
    )
    given = [SyncGroupRequestAssignment(member_id=member.id, assignment=everything)]
    member.sync("syncs", assignments=given)
    member.commit("commits", topic="ccm")
    s.ask("a consumer joins", joins("ccm", "z", "ccm", server_assignor="range"), 1)
    member.beat("has to join")
    member.join("has everything still", 0, 1)
    member.sync("is told what to keep", assignments=[])
    member.beat("has to join once more")
    member.join("has given up", 0)
    member.sync("keeps the rest", assignments=[])
    member.beat("stays")
    s.ask("the consumer gets its part", beats("ccm", "z", 2), 1)
    s.ask("it has it", beats("ccm", "z", 2, topic_partitions=[of_topic(topic_id, 1)]), 1)
    member.leave("leaves", member.id, 5)
    s.ask("the consumer gets everything", beats("ccm", "z", 2), 1)

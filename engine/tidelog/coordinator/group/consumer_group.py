"""One consumer group (KIP-848): members, epochs, target assignment. Pure.

What records say is changed by the `replay_` methods alone. The rules stand in consumer_protocol.py
and reconciliation.py.

EMPTY
    No members; perhaps offsets.
    action: a heartbeat that joins is taken; OffsetCommit of clients without membership is taken
    transition: a member joins -> ASSIGNING; the last offset goes or it is deleted -> (removed)

ASSIGNING
    The group has a newer epoch than its target assignment.
    action: heartbeats are taken and reconcile to the older target
    transition: the target is computed, by the next heartbeat -> RECONCILING or STABLE

RECONCILING
    Members are on their way to the target.
    action: heartbeats reconcile; commits of every member's own epoch are taken
    transition: the last member arrives -> STABLE; a member, subscription or topic changes ->
    ASSIGNING; the last member leaves -> EMPTY

STABLE
    Every member has what the target says.
    action: as above
    transition: a member, subscription or topic changes -> ASSIGNING; the last one leaves -> EMPTY
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from tidelog.coordinator.group import consumer_records as records_of
from tidelog.coordinator.group.assignors import Partitions, TopicPartition
from tidelog.coordinator.group.consumer_member import ConsumerMember, MemberState
from tidelog.coordinator.group.consumer_records import (
    group_tombstone,
    had_by,
    said_by,
    target_epoch_tombstone,
)
from tidelog.coordinator.group.memory import names_bytes
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.errors import KafkaError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.offset_commit import OffsetCommitRequest
from tidelog.protocol.records import group as schema

#: From this version OffsetCommit belongs to the consumer protocol, too.
_MEMBER_EPOCH_FROM = 9


class ResolvedRegex(NamedTuple):
    """The topics that match a pattern, by the metadata of that version."""

    topics: frozenset[str]
    version: int = -1


class ConsumerGroup:
    """`owners`: who has a partition (or is giving it up); free ones are not in it."""

    type_name = "consumer"
    listed_protocol_type = "consumer"

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.epoch = 0
        self.metadata_hash = 0
        self.target_epoch = 0
        self.target_since_ms = -1
        self.members: dict[str, ConsumerMember] = {}
        self.static_members: dict[str, str] = {}
        self.target: dict[str, Partitions] = {}
        self.regexes: dict[str, ResolvedRegex] = {}
        self.owners: dict[TopicPartition, str] = {}
        #: Memory of what each member says and each pattern matches, and of all of it; bytes.
        self._held: dict[tuple[str, str], int] = {}
        self.held_bytes = 0
        #: The topics (of a metadata image) that the hash was last compared with. Soft state.
        self.checked_topics: object = None
        #: When the patterns were last matched with the topics. Soft state.
        self.matched_ms: int | None = None

    # -- state ----------------------------------------------------------------------------------

    @property
    def state_name(self) -> str:
        if not self.members:
            return "Empty"
        if self.epoch > self.target_epoch:
            return "Assigning"
        if all(self.is_reconciled(member) for member in self.members.values()):
            return "Stable"
        return "Reconciling"

    def is_reconciled(self, member: ConsumerMember) -> bool:
        """Whether the member has what the target says."""
        return member.state is MemberState.STABLE and member.epoch == self.target_epoch

    @property
    def is_empty(self) -> bool:
        return not self.members

    @property
    def is_disposable(self) -> bool:
        return not self.members

    def session_owner(self, instance_id: str) -> ConsumerMember | None:
        """The member that has this group.instance.id."""
        member_id = self.static_members.get(instance_id)
        return None if member_id is None else self.members.get(member_id)

    def is_waiting_for_others(self, member: ConsumerMember) -> bool:
        """Whether a partition of the member's target is still someone else's."""
        target = self.target.get(member.member_id, frozenset())
        return any(
            self.owners.get(partition, member.member_id) != member.member_id for partition in target
        )

    # -- offsets (registry.Group) ---------------------------------------------------------------

    def check_commit(
        self, request: OffsetCommitRequest, topic_ids: dict[str, bytes], version: int
    ) -> None:
        epoch = request.generation_id_or_member_epoch
        if epoch < 0 and not self.members:
            return
        member = self.members.get(request.member_id)
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if member.classic is not None:
            if epoch != member.epoch:
                raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
            return
        if version < _MEMBER_EPOCH_FROM:
            raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
        if epoch == member.epoch:
            return
        # KIP-1251: an older epoch will do for partitions that the member has had since then.
        for topic in request.topics:
            topic_id = topic_ids.get(topic.name, b"")
            for partition in topic.partitions:
                given = member.assigned.get((topic_id, partition.partition_index))
                if epoch > member.epoch or given is None or epoch < given:
                    raise KafkaError(ErrorCode.STALE_MEMBER_EPOCH)

    def check_transactional_commit(
        self, member_id: str, instance_id: str | None, generation_id: int
    ) -> None:
        if generation_id < 0 and not (self.members and (member_id or instance_id is not None)):
            return
        member = self.members.get(member_id)
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if generation_id != member.epoch:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)

    def check_fetch(self, member_id: str | None, member_epoch: int) -> None:
        if not member_id and member_epoch < 0:
            return
        member = self.members.get(member_id or "")
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if member_epoch != member.epoch:
            raise KafkaError(
                ErrorCode.ILLEGAL_GENERATION
                if member.classic is not None
                else ErrorCode.STALE_MEMBER_EPOCH
            )

    def check_offset_delete(self) -> None:
        return None

    def is_subscribed_to(self, topic: str) -> bool:
        return any(
            topic in member.topic_names
            or (
                member.topic_regex is not None
                and member.topic_regex in self.regexes
                and topic in self.regexes[member.topic_regex].topics
            )
            for member in self.members.values()
        )

    def expiry_base(self) -> Callable[[int], int] | None:
        return lambda committed_ms: committed_ms

    def tombstones(self) -> list[CoordinatorRecord]:
        """Of everything that there is of the group."""
        group_id = self.group_id
        return [
            *(records_of.current_tombstone(group_id, member_id) for member_id in self.members),
            *(records_of.target_tombstone(group_id, member_id) for member_id in self.members),
            target_epoch_tombstone(group_id),
            *(records_of.member_tombstone(group_id, member_id) for member_id in self.members),
            *(records_of.regex_tombstone(group_id, pattern) for pattern in self.regexes),
            group_tombstone(group_id),
        ]

    # -- replay ---------------------------------------------------------------------------------

    def replay(self, record_type: int, key: Any, value: Any) -> None:
        """Any record but the tombstone of the group itself."""
        match record_type:
            case records_of.GROUP_KEY:
                self.replay_group(value)
            case records_of.MEMBER_KEY:
                self.replay_member(key.member_id, value)
            case records_of.TARGET_KEY:
                self.replay_target_epoch(value)
            case records_of.TARGET_MEMBER_KEY:
                self.replay_target(key.member_id, value)
            case records_of.CURRENT_KEY:
                self.replay_current(key.member_id, value)
            case records_of.REGEX_KEY:
                self.replay_regex(key.regular_expression, value)

    def replay_group(self, value: schema.ConsumerGroupMetadataValue) -> None:
        self.epoch = value.epoch
        self.metadata_hash = value.metadata_hash

    def replay_member(
        self, member_id: str, value: schema.ConsumerGroupMemberMetadataValue | None
    ) -> None:
        if value is None:
            self._hold("member", member_id, 0)
            gone = self.members.pop(member_id, None)
            if gone is not None:
                self._release(gone)
                if self.static_members.get(gone.instance_id or "") == member_id:
                    del self.static_members[gone.instance_id or ""]
            return
        member = self.members.get(member_id) or ConsumerMember(member_id)
        fields: dict[str, Any] = said_by(member, value)
        member = self.members[member_id] = replace(member, **fields)
        self._hold("member", member_id, member.said_bytes())
        if value.instance_id is not None:
            self.static_members[value.instance_id] = member_id

    def replay_current(
        self, member_id: str, value: schema.ConsumerGroupCurrentMemberAssignmentValue | None
    ) -> None:
        member = self.members.get(member_id)
        if member is None:
            if value is None:
                return
            # Compaction may have left the member's own record behind this one.
            member = ConsumerMember(member_id)
        self._release(member)
        fields: dict[str, Any] = had_by(value)
        member = self.members[member_id] = replace(member, **fields)
        for partition in member.owned:
            self.owners[partition] = member_id

    def _release(self, member: ConsumerMember) -> None:
        for partition in member.owned:
            if self.owners.get(partition) == member.member_id:
                del self.owners[partition]

    def replay_target_epoch(
        self, value: schema.ConsumerGroupTargetAssignmentMetadataValue | None
    ) -> None:
        self.target_epoch = 0 if value is None else value.assignment_epoch
        self.target_since_ms = -1 if value is None else value.assignment_timestamp

    def replay_target(
        self, member_id: str, value: schema.ConsumerGroupTargetAssignmentMemberValue | None
    ) -> None:
        if value is None:
            self.target.pop(member_id, None)
        else:
            self.target[member_id] = frozenset(
                (topic.topic_id, index)
                for topic in value.topic_partitions
                for index in topic.partitions
            )

    def replay_regex(
        self, pattern: str, value: schema.ConsumerGroupRegularExpressionValue | None
    ) -> None:
        if value is None:
            self.regexes.pop(pattern, None)
            self._hold("pattern", pattern, 0)
        else:
            found = self.regexes[pattern] = ResolvedRegex(frozenset(value.topics), value.version)
            self._hold("pattern", pattern, names_bytes(found.topics))

    def _hold(self, kind: str, name: str, size: int) -> None:
        self.held_bytes += size - self._held.pop((kind, name), 0)
        if size:
            self._held[kind, name] = size

    def held_by(self, member_id: str) -> int:
        """Memory of what the member says; 0 when there is none."""
        return self._held.get(("member", member_id), 0)


def preferred_assignor(members: Iterable[ConsumerMember], default: str) -> str:
    """What most of those who have a wish want; the first by name of equals."""
    votes = Counter(m.server_assignor for m in members if m.server_assignor is not None)
    if not votes:
        return default
    most = max(votes.values())
    return min(name for name, count in votes.items() if count == most)


def topics_of(member: ConsumerMember, regexes: Mapping[str, ResolvedRegex]) -> frozenset[str]:
    """All topics that the member subscribes to, by name or pattern."""
    resolved = None if member.topic_regex is None else regexes.get(member.topic_regex)
    return member.topic_names if resolved is None else member.topic_names | resolved.topics

"""The records of `__consumer_offsets` that consumer groups (KIP-848) write: to bytes and back.

    key type   key              value
    3          group            group epoch, hash of what it subscribes to
    5          group, member    what the member said: subscription, client, classic protocols
    6          group            epoch and time of the target assignment
    7          group, member    the member's part of it
    8          group, member    what the member has: epochs, state, partitions
    16         group, pattern   the topics that match it

(Type 4 is written by older Kafkas only.) Pure. Versions and tags are Kafka's, so that its formatter
prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tidelog.coordinator.group.assignors import Partitions, TopicPartition
from tidelog.coordinator.group.consumer_member import (
    ClassicMembership,
    ConsumerMember,
    MemberState,
)
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.protocol.records import encode_key, encode_versioned
from tidelog.protocol.records import group as schema
from tidelog.protocol.records.consumer_protocol import TopicPartition as NamedPartitions
from tidelog.protocol.schema import Data

GROUP_KEY: Final = 3
MEMBER_KEY: Final = 5
TARGET_KEY: Final = 6
TARGET_MEMBER_KEY: Final = 7
CURRENT_KEY: Final = 8
REGEX_KEY: Final = 16


def _record(record_type: int, key: Data, value: Data | None) -> CoordinatorRecord:
    data = None if value is None else encode_versioned(value, 0)
    return CoordinatorRecord(encode_key(record_type, key), data)


def group_epoch_record(group_id: str, epoch: int, metadata_hash: int) -> CoordinatorRecord:
    """The group has a new epoch."""
    key = schema.ConsumerGroupMetadataKey(group_id=group_id)
    value = schema.ConsumerGroupMetadataValue(epoch=epoch, metadata_hash=metadata_hash)
    return _record(GROUP_KEY, key, value)


def group_tombstone(group_id: str) -> CoordinatorRecord:
    """The group is no more."""
    return _record(GROUP_KEY, schema.ConsumerGroupMetadataKey(group_id=group_id), None)


def member_record(group_id: str, member: ConsumerMember) -> CoordinatorRecord:
    """What a member said about itself."""
    classic = None
    if member.classic is not None:
        classic = schema.ClassicMemberMetadata(
            session_timeout_ms=member.classic.session_timeout_ms,
            supported_protocols=[
                schema.ClassicProtocol(name=name, metadata=metadata)
                for name, metadata in member.classic.protocols
            ],
        )
    value = schema.ConsumerGroupMemberMetadataValue(
        instance_id=member.instance_id,
        rack_id=member.rack_id,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=sorted(member.topic_names),
        subscribed_topic_regex=member.topic_regex or "",
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        server_assignor=member.server_assignor,
        classic_member_metadata=classic,
    )
    return _record(MEMBER_KEY, _member_key(group_id, member.member_id), value)


def member_tombstone(group_id: str, member_id: str) -> CoordinatorRecord:
    """The member is no more."""
    return _record(MEMBER_KEY, _member_key(group_id, member_id), None)


def _member_key(group_id: str, member_id: str) -> schema.ConsumerGroupMemberMetadataKey:
    return schema.ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member_id)


def target_epoch_record(group_id: str, epoch: int, timestamp_ms: int) -> CoordinatorRecord:
    """The target assignment is complete in this epoch."""
    key = schema.ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id)
    value = schema.ConsumerGroupTargetAssignmentMetadataValue(
        assignment_epoch=epoch, assignment_timestamp=timestamp_ms
    )
    return _record(TARGET_KEY, key, value)


def target_epoch_tombstone(group_id: str) -> CoordinatorRecord:
    """There is no target assignment any more."""
    key = schema.ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id)
    return _record(TARGET_KEY, key, None)


def target_record(group_id: str, member_id: str, target: Partitions) -> CoordinatorRecord:
    """A member's part of the target assignment."""
    value = schema.ConsumerGroupTargetAssignmentMemberValue(
        topic_partitions=[
            schema.TopicPartition(topic_id=topic_id, partitions=indexes)
            for topic_id, indexes in by_topic(target)
        ]
    )
    return _record(TARGET_MEMBER_KEY, _target_key(group_id, member_id), value)


def target_tombstone(group_id: str, member_id: str) -> CoordinatorRecord:
    """The target assignment has no part for the member any more."""
    return _record(TARGET_MEMBER_KEY, _target_key(group_id, member_id), None)


def _target_key(group_id: str, member_id: str) -> schema.ConsumerGroupTargetAssignmentMemberKey:
    return schema.ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id)


def current_record(group_id: str, member: ConsumerMember) -> CoordinatorRecord:
    """What a member has."""
    value = schema.ConsumerGroupCurrentMemberAssignmentValue(
        member_epoch=member.epoch,
        previous_member_epoch=member.previous_epoch,
        state=member.state,
        assigned_partitions=_with_epochs(member.assigned),
        partitions_pending_revocation=_with_epochs(member.revoking),
    )
    return _record(CURRENT_KEY, _current_key(group_id, member.member_id), value)


def current_tombstone(group_id: str, member_id: str) -> CoordinatorRecord:
    """The member has nothing any more."""
    return _record(CURRENT_KEY, _current_key(group_id, member_id), None)


def _current_key(group_id: str, member_id: str) -> schema.ConsumerGroupCurrentMemberAssignmentKey:
    return schema.ConsumerGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member_id)


def regex_record(
    group_id: str, pattern: str, topics: Iterable[str], version: int, timestamp_ms: int
) -> CoordinatorRecord:
    """The topics that match a pattern, by the metadata of that version."""
    value = schema.ConsumerGroupRegularExpressionValue(
        topics=sorted(topics), version=version, timestamp=timestamp_ms
    )
    return _record(REGEX_KEY, _regex_key(group_id, pattern), value)


def regex_tombstone(group_id: str, pattern: str) -> CoordinatorRecord:
    """Nobody subscribes by the pattern any more."""
    return _record(REGEX_KEY, _regex_key(group_id, pattern), None)


def _regex_key(group_id: str, pattern: str) -> schema.ConsumerGroupRegularExpressionKey:
    return schema.ConsumerGroupRegularExpressionKey(group_id=group_id, regular_expression=pattern)


# -- partitions ---------------------------------------------------------------------------------


def by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[bytes, list[int]]]:
    """Partitions as the wire and the records have them: by topic, in order."""
    found: dict[bytes, list[int]] = {}
    for topic_id, index in sorted(partitions):
        found.setdefault(topic_id, []).append(index)
    return list(found.items())


def named_partitions(
    partitions: Iterable[TopicPartition], topic_names: Mapping[bytes, str]
) -> list[NamedPartitions]:
    """Partitions as members of the classic protocol are told of them: by the names of topics, of
    those that exist.
    """
    return [
        NamedPartitions(topic=topic_names[topic_id], partitions=indexes)
        for topic_id, indexes in by_topic(partitions)
        if topic_id in topic_names
    ]


def _with_epochs(owned: Mapping[TopicPartition, int]) -> list[schema.TopicPartitions]:
    return [
        schema.TopicPartitions(
            topic_id=topic_id,
            partitions=indexes,
            assignment_epochs=[owned[topic_id, index] for index in indexes],
        )
        for topic_id, indexes in by_topic(owned)
    ]


def _from_epochs(
    topics: Iterable[schema.TopicPartitions], member_epoch: int
) -> dict[TopicPartition, int]:
    """Records of older Kafkas have no epochs: then it is the member's."""
    found: dict[TopicPartition, int] = {}
    for topic in topics:
        epochs = topic.assignment_epochs or [member_epoch] * len(topic.partitions)
        for index, epoch in zip(topic.partitions, epochs, strict=False):
            found[topic.topic_id, index] = epoch
    return found


# -- back ---------------------------------------------------------------------------------------


def said_by(
    member: ConsumerMember, value: schema.ConsumerGroupMemberMetadataValue
) -> dict[str, object]:
    """The fields of ConsumerMember that a member record sets."""
    classic = None
    if value.classic_member_metadata is not None:
        classic = ClassicMembership(
            value.classic_member_metadata.session_timeout_ms,
            tuple((p.name, p.metadata) for p in value.classic_member_metadata.supported_protocols),
        )
    return {
        "instance_id": value.instance_id,
        "rack_id": value.rack_id,
        "client_id": value.client_id,
        "client_host": value.client_host,
        "topic_names": frozenset(value.subscribed_topic_names),
        "topic_regex": value.subscribed_topic_regex or None,
        "rebalance_timeout_ms": value.rebalance_timeout_ms,
        "server_assignor": value.server_assignor,
        "classic": classic,
    }


def _state_of(number: int) -> MemberState:
    """A state that a newer node wrote is one from which every heartbeat reconciles."""
    try:
        return MemberState(number)
    except ValueError:
        return MemberState.UNRELEASED_PARTITIONS


def had_by(value: schema.ConsumerGroupCurrentMemberAssignmentValue | None) -> dict[str, object]:
    """The fields of ConsumerMember that a current assignment sets; its tombstone sets them back."""
    if value is None:
        return {
            "epoch": LEFT_EPOCH,
            "previous_epoch": LEFT_EPOCH,
            "state": MemberState.STABLE,
            "assigned": {},
            "revoking": {},
        }
    epoch = value.member_epoch
    return {
        "epoch": epoch,
        "previous_epoch": value.previous_member_epoch,
        "state": _state_of(value.state),
        "assigned": _from_epochs(value.assigned_partitions, epoch),
        "revoking": _from_epochs(value.partitions_pending_revocation, epoch),
    }


#: Epoch of a member whose current assignment was removed while the rest of it is still there.
LEFT_EPOCH: Final = -1

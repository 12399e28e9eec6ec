"""A classic group becomes a consumer group while it runs (KIP-848): its members, generation and
assignment as records of the new kind. Pure.

The members go on with the classic protocol (classic_in_consumer.py): they are told to join again,
and each may change its protocol when it restarts.
"""

from __future__ import annotations

from tidelog.coordinator.group import consumer_records as records_of
from tidelog.coordinator.group.assignors import TopicPartition
from tidelog.coordinator.group.classic_group import CONSUMER_PROTOCOL_TYPE, ClassicGroup
from tidelog.coordinator.group.consumer_member import ClassicMembership, ConsumerMember
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.errors import MalformedMessageError
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.records.consumer_protocol import decode_assignment, decode_subscription


def can_upgrade(group: ClassicGroup) -> bool:
    """Whether it is a group of consumers whose metadata can be read."""
    if group.protocol_type != CONSUMER_PROTOCOL_TYPE:
        return False
    try:
        for member in group.members.values():
            decode_subscription(member.protocols[0][1])
            if member.assignment:
                decode_assignment(member.assignment)
    except (MalformedMessageError, IndexError):
        return False
    return True


def upgrade_records(
    group: ClassicGroup, image: MetadataImage, now_ms: int
) -> list[CoordinatorRecord]:
    """What turns the group into a consumer group of the same epoch, target and assignment."""
    group_id, epoch = group.group_id, max(group.generation_id, 1)
    records = [*group.tombstones(), records_of.group_epoch_record(group_id, epoch, 0)]
    for member in group.members.values():
        subscription = decode_subscription(member.protocols[0][1])
        owned = _partitions(member.assignment, image)
        new = ConsumerMember(
            member_id=member.member_id,
            instance_id=member.group_instance_id,
            rack_id=subscription.rack_id,
            client_id=member.client_id,
            client_host=member.client_host,
            rebalance_timeout_ms=member.rebalance_timeout_ms,
            topic_names=frozenset(subscription.topics),
            classic=ClassicMembership(member.session_timeout_ms, member.protocols),
            epoch=epoch,
            previous_epoch=epoch,
            assigned=dict.fromkeys(owned, epoch),
        )
        records += [
            records_of.member_record(group_id, new),
            records_of.target_record(group_id, new.member_id, owned),
            records_of.current_record(group_id, new),
        ]
    records.append(records_of.target_epoch_record(group_id, epoch, now_ms))
    return records


def _partitions(assignment: bytes, image: MetadataImage) -> frozenset[TopicPartition]:
    if not assignment:
        return frozenset()
    return frozenset(
        (image.topics[topic.topic].topic_id, index)
        for topic in decode_assignment(assignment).assigned_partitions
        if topic.topic in image.topics
        for index in topic.partitions
    )

"""A classic group becomes a consumer group while it runs (KIP-848): its members, generation and
assignment as records of the new kind. Pure.

The members go on with the classic protocol (classic_in_consumer.py): they are told to join again,
and each may change its protocol when it restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidelog.coordinator.group import consumer_records as records_of
from tidelog.coordinator.group.assignors import TopicPartition
from tidelog.coordinator.group.classic_group import CONSUMER_PROTOCOL_TYPE, ClassicGroup
from tidelog.coordinator.group.consumer_member import ClassicMembership, ConsumerMember
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.errors import MalformedMessageError
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.records.consumer_protocol import TopicPartition as NamedPartitions
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
    owners = _owners(group, image)
    for member in group.members.values():
        subscription = decode_subscription(member.protocols[0][1])
        owned = frozenset(p for p, owner in owners.items() if owner == member.member_id)
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


def _owners(group: ClassicGroup, image: MetadataImage) -> dict[TopicPartition, str]:
    """Who has each partition: what this generation gave to members, and what they said that they
    still had when they joined. A cooperative member may not have heard yet that it lost something,
    and in a group of the new kind a partition without an owner is given away at once.
    """
    owners: dict[TopicPartition, str] = {}
    for member in group.members.values():
        if member.assignment:
            given = decode_assignment(member.assignment).assigned_partitions
            owners.update(dict.fromkeys(_partitions(given, image), member.member_id))
    for member in group.members.values():
        said = decode_subscription(member.protocols[0][1]).owned_partitions
        for partition in _partitions(said, image):
            owners.setdefault(partition, member.member_id)
    return owners


def _partitions(named: Iterable[NamedPartitions], image: MetadataImage) -> Iterator[TopicPartition]:
    for topic in named:
        known = image.topics.get(topic.topic)
        if known is not None:
            for index in topic.partitions:
                yield known.topic_id, index

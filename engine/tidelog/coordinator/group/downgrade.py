"""A consumer group becomes a classic group while it runs (KIP-848): when the last member that
speaks the consumer protocol goes, and those of the classic protocol stay. Pure.

The members keep their ids. They are told to join again, and one of them then leads, as in any
classic group. `group.consumer.migration.policy` decides whether it happens: `downgrade` or
`bidirectional`.
"""

from __future__ import annotations

from collections.abc import Collection

from tidelog.coordinator.group.classic_group import CONSUMER_PROTOCOL_TYPE, ClassicGroup
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.group.consumer_member import LEAVE_STATIC_EPOCH
from tidelog.coordinator.group.consumer_records import named_partitions
from tidelog.coordinator.group.member import Member
from tidelog.coordinator.group.records import group_record
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.messages.join_group import JoinGroupRequest
from tidelog.protocol.records.consumer_protocol import (
    ConsumerProtocolAssignment,
    encode_assignment,
    subscription_version,
)


def can_downgrade(group: ConsumerGroup, gone: Collection[str], joining: int, size_max: int) -> bool:
    """Whether only members of the classic protocol are left without `gone` (member ids) and with
    so many who join, and a classic group has room for them (group.max.size).
    """
    left = [member for member_id, member in group.members.items() if member_id not in gone]
    return 0 < len(left) + joining <= size_max and all(m.classic is not None for m in left)


def downgraded(
    group: ConsumerGroup, gone: Collection[str], image: MetadataImage, now_ms: int
) -> ClassicGroup:
    """The classic group of those who stay: the group's epoch as its generation, what each of them
    has as assignments. Stable, as it is written: whoever puts it to work starts a round.

    (Kafka takes their parts of the target. While a group reconciles these are other partitions, and
    a group that becomes a consumer group again before the round ends would give them away twice.)
    """
    classic = ClassicGroup(group.group_id, now_ms)
    classic.generation_id = group.epoch
    for member_id, member in group.members.items():
        if member_id in gone:
            continue
        assert member.classic is not None
        classic.add(
            Member(
                member_id=member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout_ms=member.rebalance_timeout_ms,
                session_timeout_ms=member.classic.session_timeout_ms,
                protocol_type=CONSUMER_PROTOCOL_TYPE,
                protocols=member.classic.protocols,
            )
        )
    classic.state = GroupState.STABLE
    if not classic.members:
        classic.state = GroupState.EMPTY
        return classic
    name = classic.protocol_name = classic.choose_protocol()
    for stays in classic.members.values():
        assignment = ConsumerProtocolAssignment(
            assigned_partitions=named_partitions(
                group.members[stays.member_id].owned, image.topic_names
            )
        )
        version = subscription_version(stays.metadata_for(name))
        stays.assignment = encode_assignment(assignment, version)
    classic.keep_subscriptions()
    return classic


def downgrade_records(group: ConsumerGroup, classic: ClassicGroup) -> list[CoordinatorRecord]:
    """What turns the one into the other, in one batch: every record of the consumer group ends,
    then the classic group begins.
    """
    if not classic.members:
        return group.tombstones()
    assignments = {member.member_id: member.assignment for member in classic.members.values()}
    return [*group.tombstones(), group_record(classic.group_id, classic.to_value(assignments))]


def replaced_by(group: ConsumerGroup, request: JoinGroupRequest) -> str | None:
    """The id of the static member, away for a while, whose place a JoinGroup takes; None when the
    request is another.
    """
    if request.group_instance_id is None or request.member_id:
        return None
    away = group.session_owner(request.group_instance_id)
    if away is None or away.epoch != LEAVE_STATIC_EPOCH:
        return None
    return away.member_id

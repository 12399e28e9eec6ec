"""Which ConsumerGroupHeartbeats are refused before and after the member is known (KIP-848). Pure.

The messages are part of the protocol's manners: clients show them.
"""

from __future__ import annotations

from collections.abc import Collection

from tidelog.coordinator.group.assignors import TopicPartition
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.group.consumer_member import (
    JOIN_EPOCH,
    LEAVE_EPOCH,
    LEAVE_STATIC_EPOCH,
    ConsumerMember,
)
from tidelog.errors import KafkaError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest

#: From this version a client makes its member id itself (KIP-1082).
MEMBER_ID_BY_CLIENT_FROM = 1


def check_request(
    request: ConsumerGroupHeartbeatRequest, version: int, assignors: Collection[str]
) -> None:
    """Raises KafkaError: INVALID_REQUEST, UNSUPPORTED_ASSIGNOR."""
    epoch = request.member_epoch
    _demand(not _is_blank(request.group_id), "GroupId can't be empty.")
    if version >= MEMBER_ID_BY_CLIENT_FROM or epoch != JOIN_EPOCH:
        _demand(not _is_blank(request.member_id), "MemberId can't be empty.")
    _demand(not _is_blank(request.instance_id), "InstanceId can't be empty.")
    _demand(not _is_blank(request.rack_id), "RackId can't be empty.")
    if epoch == JOIN_EPOCH:
        _demand(
            request.rebalance_timeout_ms != -1,
            "RebalanceTimeoutMs must be provided in first request.",
        )
        _demand(
            request.topic_partitions is not None and not request.topic_partitions,
            "TopicPartitions must be empty when (re-)joining.",
        )
        _demand(
            request.subscribed_topic_names is not None
            or request.subscribed_topic_regex is not None,
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when "
            "(re-)joining.",
        )
    elif epoch == LEAVE_STATIC_EPOCH:
        _demand(request.instance_id is not None, "InstanceId can't be null.")
    _demand(epoch >= LEAVE_STATIC_EPOCH, "MemberEpoch is invalid.")
    if request.server_assignor is not None and request.server_assignor not in assignors:
        raise KafkaError(
            ErrorCode.UNSUPPORTED_ASSIGNOR,
            f"ServerAssignor {request.server_assignor} is not supported. "
            f"Supported assignors: {', '.join(assignors)}.",
        )


def _is_blank(name: str | None) -> bool:
    """Whether there is a name without a character to see: as empty as none at all, as in Kafka,
    which counts the control characters as space here.
    """
    return name is not None and all(character <= " " for character in name)


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise KafkaError(ErrorCode.INVALID_REQUEST, message)


def check_epoch(
    member: ConsumerMember, epoch: int, owned: Collection[TopicPartition] | None
) -> None:
    """The epoch is the member's own, or the one before it when the answer that told the new one was
    lost. Raises KafkaError: FENCED_MEMBER_EPOCH.
    """
    if epoch > member.epoch:
        raise KafkaError(
            ErrorCode.FENCED_MEMBER_EPOCH,
            f"The consumer group member has a greater member epoch ({epoch}) than the one known "
            f"by the group coordinator ({member.epoch}). The member must abandon all its "
            "partitions and rejoin.",
        )
    if epoch == member.epoch:
        return
    lost_answer = (
        epoch == member.previous_epoch
        and owned is not None
        and member.assigned.keys() >= set(owned)
    )
    if not lost_answer:
        raise KafkaError(
            ErrorCode.FENCED_MEMBER_EPOCH,
            f"The consumer group member has a smaller member epoch ({epoch}) than the one known "
            f"by the group coordinator ({member.epoch}). The member must abandon all its "
            "partitions and rejoin.",
        )


def known_member(group: ConsumerGroup, member_id: str) -> ConsumerMember:
    """Raises KafkaError: UNKNOWN_MEMBER_ID."""
    member = group.members.get(member_id)
    if member is None:
        raise KafkaError(
            ErrorCode.UNKNOWN_MEMBER_ID,
            f"Member {member_id} is not a member of group {group.group_id}.",
        )
    return member


def known_static_member(group: ConsumerGroup, instance_id: str, member_id: str) -> ConsumerMember:
    """Raises KafkaError: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID."""
    member = group.session_owner(instance_id)
    if member is None:
        raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {instance_id} is unknown.")
    if member.member_id != member_id:
        raise KafkaError(
            ErrorCode.FENCED_INSTANCE_ID,
            f"Static member {member_id} with instance id {instance_id} was fenced by member "
            f"{member.member_id}.",
        )
    return member


def check_released(member: ConsumerMember, instance_id: str) -> None:
    """Raises KafkaError: UNRELEASED_INSTANCE_ID, while another process uses the instance id."""
    if member.epoch != LEAVE_STATIC_EPOCH:
        raise KafkaError(
            ErrorCode.UNRELEASED_INSTANCE_ID,
            f"Static member {member.member_id} with instance id {instance_id} is still active "
            "and cannot be replaced by another one.",
        )


def is_leaving(epoch: int) -> bool:
    """Whether the heartbeat says good-bye."""
    return epoch in (LEAVE_EPOCH, LEAVE_STATIC_EPOCH)

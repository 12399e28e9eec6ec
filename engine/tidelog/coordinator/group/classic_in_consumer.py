"""Members that speak the classic protocol in a consumer group (KIP-848): JoinGroup, SyncGroup,
Heartbeat, LeaveGroup.

Pure; owned by a GroupShard. A generation is the member's epoch, nobody leads, and the assignment is
the group's. A member that has to reconcile is told so by REBALANCE_IN_PROGRESS and reconciles with
its next JoinGroup; it has its rebalance timeout to come, and to sync.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tidelog.coordinator.group.assignors import TopicPartition
from tidelog.coordinator.group.classic import MemberIdRequiredError
from tidelog.coordinator.group.classic_group import CONSUMER_PROTOCOL_TYPE
from tidelog.coordinator.group.consumer_checks import check_released
from tidelog.coordinator.group.consumer_draft import GroupDraft
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.group.consumer_member import (
    JOIN_EPOCH,
    LEAVE_STATIC_EPOCH,
    ClassicMembership,
    ConsumerMember,
    MemberState,
    new_member_id,
)
from tidelog.coordinator.group.consumer_protocol import ConsumerProtocol
from tidelog.coordinator.group.consumer_records import named_partitions
from tidelog.coordinator.group.member import Caller
from tidelog.coordinator.shard import Random, Result
from tidelog.errors import KafkaError, MalformedMessageError
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from tidelog.protocol.messages.leave_group import MemberIdentity
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from tidelog.protocol.records.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    decode_subscription,
    encode_assignment,
    subscription_version,
)

#: Timers of a member that has to join, or to sync, in its rebalance timeout.
_JOIN: Final = "join"
_SYNC: Final = "sync"


class ClassicMembers:
    """The classic protocol over the consumer groups of one shard."""

    def __init__(self, consumer: ConsumerProtocol, rng: Random) -> None:
        self._consumer = consumer
        self._rng = rng

    # -- JoinGroup ------------------------------------------------------------------------------

    def join(
        self, group: ConsumerGroup, request: JoinGroupRequest, caller: Caller, now_ms: int
    ) -> Result[JoinGroupResponse]:
        """Take a member in, or bring it one step further. Answers at once."""
        if request.protocol_type != CONSUMER_PROTOCOL_TYPE or not request.protocols:
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        draft = self._consumer.draft(group)
        self._consumer.check_room(draft, request.member_id)
        member = self._find(draft, request, caller)
        subscription = _subscription_of(request)
        protocols = tuple((each.name, each.metadata) for each in request.protocols)
        told = replace(
            member,
            rack_id=subscription.rack_id,
            client_id=caller.client_id,
            client_host=caller.client_host,
            rebalance_timeout_ms=max(request.rebalance_timeout_ms, request.session_timeout_ms)
            if request.rebalance_timeout_ms < 0
            else request.rebalance_timeout_ms,
            topic_names=frozenset(subscription.topics),
            topic_regex=None,
            server_assignor=None,
            classic=ClassicMembership(request.session_timeout_ms, protocols),
        )
        _check_protocols(group, told)
        changed = draft.put(told)
        self._consumer.follow_subscriptions(draft, now_ms, changed=changed)
        self._consumer.admit(draft, told, now_ms)
        owned = _owned(subscription, draft.image)
        settled = self._consumer.settle(draft, told, owned)
        group_id, member_id = group.group_id, settled.member_id

        def written() -> None:
            self._consumer.cancel(group_id, member_id)
            self._consumer.keep_session(group_id, member_id)
            self._consumer.fence_after(group_id, member_id, _SYNC, settled.rebalance_timeout_ms)

        draft.then.append(written)
        answer = JoinGroupResponse(
            error_code=0,
            generation_id=settled.epoch,
            protocol_type=CONSUMER_PROTOCOL_TYPE,
            protocol_name=protocols[0][0],
            leader="",
            member_id=member_id,
            members=[],
        )
        return Result(answer, draft.records, draft.written)

    def _find(self, draft: GroupDraft, request: JoinGroupRequest, caller: Caller) -> ConsumerMember:
        """The member that joins; a new one unless it says who it is."""
        instance_id, member_id = request.group_instance_id, request.member_id
        if instance_id is None:
            if not member_id:
                member_id = new_member_id(self._rng)
                if caller.requires_known_member_id:
                    raise MemberIdRequiredError(member_id)
            return draft.members.get(member_id) or ConsumerMember(member_id)
        old = draft.group.session_owner(instance_id)
        if old is None:
            if member_id:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            return ConsumerMember(new_member_id(self._rng), instance_id=instance_id)
        if member_id:
            if old.member_id != member_id:
                raise KafkaError(ErrorCode.FENCED_INSTANCE_ID)
            return old
        if old.classic is None:
            check_released(old, instance_id)
        new = replace(
            old,
            member_id=new_member_id(self._rng),
            epoch=JOIN_EPOCH,
            previous_epoch=JOIN_EPOCH,
        )
        draft.replace(old, new)
        draft.then.append(lambda: self._consumer.cancel(draft.group_id, old.member_id))
        return new

    # -- SyncGroup, Heartbeat -------------------------------------------------------------------

    def sync(self, group: ConsumerGroup, request: SyncGroupRequest) -> Result[SyncGroupResponse]:
        """What the member was given with its JoinGroup."""
        member = self._known(group, request.member_id, request.group_instance_id)
        assert member.classic is not None
        if request.generation_id != member.epoch:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        name, metadata = member.classic.protocols[0]
        if request.protocol_type not in (None, CONSUMER_PROTOCOL_TYPE) or (
            request.protocol_name not in (None, name)
        ):
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        if group.epoch > member.epoch and member.state is not MemberState.UNREVOKED_PARTITIONS:
            self._must_join(group, member)
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
        self._consumer.end_wait(group.group_id, member.member_id, _SYNC)
        self._consumer.keep_session(group.group_id, member.member_id)
        assignment = ConsumerProtocolAssignment(
            assigned_partitions=named_partitions(
                member.assigned, self._consumer.image().topic_names
            )
        )
        return Result(
            SyncGroupResponse(
                error_code=0,
                protocol_type=CONSUMER_PROTOCOL_TYPE,
                protocol_name=name,
                assignment=encode_assignment(assignment, subscription_version(metadata)),
            )
        )

    def heartbeat(
        self, group: ConsumerGroup, member_id: str, instance_id: str | None, generation_id: int
    ) -> ErrorCode:
        """Keep the member's session, and tell it when it has to join again."""
        member = self._known(group, member_id, instance_id)
        if generation_id != member.epoch:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        self._consumer.keep_session(group.group_id, member_id)
        has_to_join = (
            member.epoch < group.epoch
            or member.state is MemberState.UNREVOKED_PARTITIONS
            or (
                member.state is MemberState.UNRELEASED_PARTITIONS
                and not group.is_waiting_for_others(member)
            )
        )
        if not has_to_join:
            return ErrorCode.NONE
        self._must_join(group, member)
        return ErrorCode.REBALANCE_IN_PROGRESS

    def _must_join(self, group: ConsumerGroup, member: ConsumerMember) -> None:
        """The time for it runs from the first time that the member is told."""
        self._consumer.fence_after(
            group.group_id, member.member_id, _JOIN, member.rebalance_timeout_ms, anew=False
        )

    @staticmethod
    def _known(group: ConsumerGroup, member_id: str, instance_id: str | None) -> ConsumerMember:
        if instance_id is not None:
            owner = group.session_owner(instance_id)
            if owner is None:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            if owner.member_id != member_id:
                raise KafkaError(ErrorCode.FENCED_INSTANCE_ID)
        member = group.members.get(member_id)
        if member is None or member.classic is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        return member

    # -- LeaveGroup -----------------------------------------------------------------------------

    def leave(
        self, group: ConsumerGroup, identities: list[MemberIdentity], now_ms: int
    ) -> tuple[list[ErrorCode], Result[None]]:
        """Take members out: (a code for each, what follows)."""
        codes: list[ErrorCode] = []
        leaving: dict[str, ConsumerMember] = {}
        for identity in identities:
            found = group.members.get(identity.member_id)
            code = ErrorCode.NONE
            if identity.group_instance_id is not None:
                found = group.session_owner(identity.group_instance_id)
                if found is not None and identity.member_id not in ("", found.member_id):
                    found, code = None, ErrorCode.FENCED_INSTANCE_ID
            if found is None or found.member_id in leaving or found.epoch == LEAVE_STATIC_EPOCH:
                codes.append(code or ErrorCode.UNKNOWN_MEMBER_ID)
            else:
                leaving[found.member_id] = found
                codes.append(ErrorCode.NONE)
        if not leaving:
            return codes, Result(None)
        fenced = self._consumer.fence(group, list(leaving.values()), now_ms)
        return codes, Result(None, fenced.records, fenced.on_written)


def _subscription_of(request: JoinGroupRequest) -> ConsumerProtocolSubscription:
    """What the member subscribes to: the same in all of its protocols. Raises KafkaError:
    INCONSISTENT_GROUP_PROTOCOL.
    """
    try:
        return decode_subscription(request.protocols[0].metadata)
    except MalformedMessageError as error:
        raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL) from error


def _check_protocols(group: ConsumerGroup, joining: ConsumerMember) -> None:
    """The classic members need a protocol in common, as among themselves."""
    common: set[str] | None = None
    for member in (*group.members.values(), joining):
        if member.classic is None or (
            member.member_id == joining.member_id and member is not joining
        ):
            continue
        names = {name for name, _ in member.classic.protocols}
        common = names if common is None else common & names
    if not common:
        raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)


def _owned(subscription: ConsumerProtocolSubscription, image: MetadataImage) -> set[TopicPartition]:
    """What the member still has: nothing, when it gave up everything before it joined."""
    return {
        (image.topics[topic.topic].topic_id, index)
        for topic in subscription.owned_partitions
        if topic.topic in image.topics
        for index in topic.partitions
    }

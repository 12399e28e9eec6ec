"""One classic group: members, generation, state. Pure bookkeeping; the rules of the protocol
stand in `classic.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from sys import getsizeof
from typing import Final

from tidelog.coordinator.group.member import Member, Protocols
from tidelog.coordinator.group.records import group_tombstone
from tidelog.coordinator.group.states import PREVIOUS_STATES, GroupState
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.errors import InvariantError, KafkaError, MalformedMessageError
from tidelog.limits import GROUP_MEMBER_OVERHEAD_BYTES
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.join_group import JoinGroupResponseMember
from tidelog.protocol.messages.offset_commit import OffsetCommitRequest
from tidelog.protocol.records.consumer_protocol import subscribed_topics
from tidelog.protocol.records.group import GroupMetadataValue, MemberMetadata

#: The protocol type of consumers; other kinds (Connect's workers) only use the same requests.
CONSUMER_PROTOCOL_TYPE: Final = "consumer"


class ClassicGroup:
    """`pending_members`: ids that were given out (KIP-394) and did not join with them yet."""

    def __init__(self, group_id: str, now_ms: int) -> None:
        self.group_id = group_id
        self.state = GroupState.EMPTY
        self.state_since_ms = now_ms
        self.generation_id = 0
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.leader_id: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}
        self.pending_members: set[str] = set()
        self.pending_syncs: set[str] = set()
        #: Someone joined during the initial delay (group.initial.rebalance.delay.ms).
        self.new_member_added = False
        #: The members' metadata in this generation; None: there is none yet.
        self._subscriptions: tuple[bytes, ...] | None = None
        self._subscribed_topics: frozenset[str] | None = None

    # -- state ----------------------------------------------------------------------------------

    def transition(self, state: GroupState, now_ms: int) -> None:
        """Enter a state from one that may precede it."""
        if self.state not in PREVIOUS_STATES[state]:
            raise InvariantError(f"group {self.group_id}: {self.state.value} -> {state.value}")
        self.state = state
        self.state_since_ms = now_ms

    def is_in(self, *states: GroupState) -> bool:
        """Whether the group is in one of the states."""
        return self.state in states

    # -- members --------------------------------------------------------------------------------

    def add(self, member: Member) -> None:
        """A new member; the first one leads."""
        if not self.members:
            self.protocol_type = member.protocol_type
        if self.leader_id is None:
            self.leader_id = member.member_id
        self.members[member.member_id] = member
        if member.group_instance_id is not None:
            self.static_members[member.group_instance_id] = member.member_id
        self.pending_members.discard(member.member_id)

    def remove(self, member_id: str) -> Member | None:
        """Forget a member. Another one leads if it led."""
        member = self.members.pop(member_id, None)
        if member is None:
            return None
        if member.group_instance_id is not None:
            self.static_members.pop(member.group_instance_id, None)
        self.pending_syncs.discard(member_id)
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), None)
        return member

    def replace_static(self, old_id: str, new_id: str) -> Member:
        """A static member returned under a new id: the same member, in its old place."""
        member = self.members.pop(old_id)
        member.member_id = new_id
        self.members[new_id] = member
        assert member.group_instance_id is not None
        self.static_members[member.group_instance_id] = new_id
        if self.leader_id == old_id:
            self.leader_id = new_id
        return member

    def elect_joined_leader(self) -> bool:
        """Make sure that the leader has joined this round. False when nobody has."""
        leader = self.members.get(self.leader_id or "")
        if leader is not None and leader.joining is not None:
            return True
        for member in self.members.values():
            if member.joining is not None:
                self.leader_id = member.member_id
                return True
        return False

    @property
    def has_all_joined(self) -> bool:
        """Everybody who is expected has joined."""
        return not self.pending_members and all(
            m.joining is not None for m in self.members.values()
        )

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest of the members'."""
        return max((m.rebalance_timeout_ms for m in self.members.values()), default=0)

    def member(self, member_id: str, instance_id: str | None) -> Member:
        """The member that says it is this one. Raises KafkaError: UNKNOWN_MEMBER_ID,
        FENCED_INSTANCE_ID.
        """
        if instance_id is not None:
            known = self.static_members.get(instance_id)
            if known is None:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            if known != member_id:
                raise KafkaError(ErrorCode.FENCED_INSTANCE_ID)
        member = self.members.get(member_id)
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        return member

    @property
    def held_bytes(self) -> int:
        """Memory of what its members said and were given (memory.py); 0 without any."""
        if not self.members and not self.pending_members:
            return 0
        size = getsizeof(self.group_id) + len(self.pending_members) * GROUP_MEMBER_OVERHEAD_BYTES
        return size + sum(m.said_bytes + len(m.assignment) for m in self.members.values())

    # -- offsets and descriptions (registry.Group) ----------------------------------------------

    type_name = "classic"

    @property
    def state_name(self) -> str:
        return self.state.value

    @property
    def listed_protocol_type(self) -> str:
        return self.protocol_type or ""

    @property
    def is_empty(self) -> bool:
        return self.is_in(GroupState.EMPTY)

    @property
    def is_disposable(self) -> bool:
        return self.is_empty and not self.pending_members

    def check_commit(
        self, request: OffsetCommitRequest, topic_ids: dict[str, bytes], version: int
    ) -> None:
        generation_id = request.generation_id_or_member_epoch
        if generation_id < 0 and self.is_empty:
            return
        if generation_id >= 0 or request.member_id or request.group_instance_id is not None:
            self.member(request.member_id, request.group_instance_id)
            if generation_id != self.generation_id:
                raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        elif not self.is_empty:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if self.is_in(GroupState.COMPLETING_REBALANCE):
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)

    def check_transactional_commit(
        self, member_id: str, instance_id: str | None, generation_id: int
    ) -> None:
        if generation_id < 0 and (self.is_empty or not (member_id or instance_id is not None)):
            return
        self.member(member_id, instance_id)
        if generation_id != self.generation_id:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)

    def check_fetch(self, member_id: str | None, member_epoch: int) -> None:
        return None

    def check_offset_delete(self) -> None:
        if not self.is_empty and self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP)

    def is_subscribed_to(self, topic: str) -> bool:
        if self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return False
        subscribed = self.subscribed_topics
        return subscribed is None or topic in subscribed

    @property
    def subscribed_topics(self) -> frozenset[str] | None:
        """What the members of a consumer group subscribe to in this generation; None when that
        cannot be told (no generation yet, or a member's metadata is no subscription).

        Read when it is asked for: loading sees every generation that there ever was.
        """
        if self._subscribed_topics is None and self._subscriptions is not None:
            self._subscribed_topics = _topics_of(self._subscriptions)
        return self._subscribed_topics

    def keep_subscriptions(self) -> None:
        """Once per generation, when its protocol is chosen: between generations the members'
        metadata changes one by one, and may not know the old protocol any more.
        """
        name = self.protocol_name
        self._subscribed_topics = self._subscriptions = None
        if not self.members:
            self._subscriptions = ()
        elif name is not None:
            self._subscriptions = tuple(m.metadata_for(name) for m in self.members.values())

    def expiry_base(self) -> Callable[[int], int] | None:
        """An empty group's offsets count from when it became empty, also those committed since;
        those of a group that was never more than offsets, and of topics that nobody subscribes to,
        from their commit. Kafka's rule.
        """
        if self.protocol_type is None:
            return lambda committed_ms: committed_ms
        if self.is_empty:
            since_ms = self.state_since_ms
            return lambda committed_ms: committed_ms if since_ms == -1 else since_ms
        if self.protocol_type == CONSUMER_PROTOCOL_TYPE and self.is_in(GroupState.STABLE):
            return lambda committed_ms: committed_ms
        return None

    def tombstones(self) -> list[CoordinatorRecord]:
        return [group_tombstone(self.group_id)]

    # -- protocols ------------------------------------------------------------------------------

    def supports(self, protocol_type: str, protocols: Protocols) -> bool:
        """Whether a member with these protocols can be in the group."""
        if not self.members:
            return bool(protocol_type) and bool(protocols)
        if protocol_type != self.protocol_type:
            return False
        return not self.common_protocols().isdisjoint(name for name, _ in protocols)

    def common_protocols(self) -> set[str]:
        """Names that every member supports."""
        supported = [{name for name, _ in m.protocols} for m in self.members.values()]
        return set.intersection(*supported) if supported else set()

    def choose_protocol(self) -> str:
        """The protocol with most votes among the common ones; the first of equals, in members'
        order.
        """
        candidates = self.common_protocols()
        if not candidates:
            raise InvariantError(f"group {self.group_id}: members without a common protocol")
        votes = Counter(m.vote(candidates) for m in self.members.values())
        return max(votes, key=lambda name: votes[name])

    def join_members(self) -> list[JoinGroupResponseMember]:
        """What the leader is told of the members."""
        assert self.protocol_name is not None
        return [
            JoinGroupResponseMember(
                member_id=m.member_id,
                group_instance_id=m.group_instance_id,
                metadata=m.metadata_for(self.protocol_name),
            )
            for m in self.members.values()
        ]

    # -- records --------------------------------------------------------------------------------

    def to_value(self, assignments: dict[str, bytes]) -> GroupMetadataValue:
        """The group as it is written; `assignments` by member id."""
        return GroupMetadataValue(
            protocol_type=self.protocol_type or "",
            generation=self.generation_id,
            protocol=self.protocol_name,
            leader=self.leader_id,
            current_state_timestamp=self.state_since_ms,
            members=[
                MemberMetadata(
                    member_id=m.member_id,
                    group_instance_id=m.group_instance_id,
                    client_id=m.client_id,
                    client_host=m.client_host,
                    rebalance_timeout=m.rebalance_timeout_ms,
                    session_timeout=m.session_timeout_ms,
                    subscription=(
                        m.metadata_for(self.protocol_name)
                        if self.protocol_name is not None
                        else b""
                    ),
                    assignment=assignments.get(m.member_id, b""),
                )
                for m in self.members.values()
            ],
        )

    @classmethod
    def from_value(cls, group_id: str, value: GroupMetadataValue) -> ClassicGroup:
        """The group as it was written."""
        group = cls(group_id, value.current_state_timestamp)
        group.generation_id = value.generation
        group.protocol_type = value.protocol_type or None
        group.protocol_name = value.protocol
        group.leader_id = value.leader
        for written in value.members:
            rebalance_timeout_ms = written.rebalance_timeout
            if rebalance_timeout_ms == -1:
                rebalance_timeout_ms = written.session_timeout
            member = Member(
                member_id=written.member_id,
                group_instance_id=written.group_instance_id,
                client_id=written.client_id,
                client_host=written.client_host,
                rebalance_timeout_ms=rebalance_timeout_ms,
                session_timeout_ms=written.session_timeout,
                protocol_type=value.protocol_type,
                protocols=((value.protocol or "", written.subscription),),
                assignment=written.assignment,
            )
            group.members[member.member_id] = member
            if member.group_instance_id is not None:
                group.static_members[member.group_instance_id] = member.member_id
        group.state = GroupState.STABLE if group.members else GroupState.EMPTY
        group.keep_subscriptions()
        return group


def _topics_of(subscriptions: Iterable[bytes]) -> frozenset[str] | None:
    try:
        return frozenset(topic for data in subscriptions for topic in subscribed_topics(data))
    except MalformedMessageError:
        return None

"""The consumer protocol of KIP-848: ConsumerGroupHeartbeat, sessions, rebalance timeouts.

Pure: `now_ms`, randomness, metadata and timers are given. Owned by a GroupShard. A heartbeat goes
through the steps of `heartbeat`: who it is, what it subscribes to, a new target when anything
changed, one step of reconciliation, the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from tidelog.config import ResourceType
from tidelog.coordinator.group import consumer_checks as checks
from tidelog.coordinator.group.assignors import TopicPartition
from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.config import ConsumerTimes, GroupConfig
from tidelog.coordinator.group.consumer_draft import GroupDraft
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.group.consumer_member import (
    JOIN_EPOCH,
    LEAVE_STATIC_EPOCH,
    ConsumerMember,
    MemberState,
    new_member_id,
)
from tidelog.coordinator.group.consumer_records import by_topic
from tidelog.coordinator.group.downgrade import can_downgrade, downgrade_records, downgraded
from tidelog.coordinator.group.member import Caller
from tidelog.coordinator.group.memory import GroupMemory, names_bytes, texts_bytes
from tidelog.coordinator.group.reconciliation import reconcile
from tidelog.coordinator.group.registry import GroupRegistry
from tidelog.coordinator.group.subscriptions import TopicMatcher
from tidelog.coordinator.group.upgrade import can_upgrade, upgrade_records
from tidelog.coordinator.shard import Random, Result, Timers
from tidelog.errors import KafkaError
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import (
    Assignment,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from tidelog.protocol.messages.join_group import JoinGroupRequest
from tidelog.protocol.records import decode_key, decode_value
from tidelog.protocol.records.group import RECORD_TYPES


class ConsumerProtocol:
    """The rules over the consumer groups of one shard."""

    def __init__(
        self,
        config: Callable[[], GroupConfig],
        image: Callable[[], MetadataImage],
        timers: Timers,
        rng: Random,
        registry: GroupRegistry,
        abandon: Callable[[ClassicGroup], None],
        adopt: Callable[[ClassicGroup, int], None],
        matcher: TopicMatcher,
        memory: GroupMemory,
    ) -> None:
        self._config = config
        self.image = image
        self._timers = timers
        self._rng = rng
        self._registry = registry
        self._abandon = abandon
        self._adopt = adopt
        self._matcher = matcher
        self._memory = memory
        #: Timers that run, of those that are not started anew.
        self._running: set[tuple[str, str, str]] = set()

    def times(self, group_id: str) -> ConsumerTimes:
        """The times of one group: its own configs before the broker's."""
        own = self.image().config(ResourceType.GROUP, group_id)
        return ConsumerTimes.of(self._config(), own)

    def draft(self, group: ConsumerGroup) -> GroupDraft:
        """The group to work on."""
        return GroupDraft(group, self.image(), self._matcher)

    # -- ConsumerGroupHeartbeat -----------------------------------------------------------------

    def heartbeat(
        self,
        request: ConsumerGroupHeartbeatRequest,
        caller: Caller,
        version: int,
        now_ms: int,
    ) -> Result[ConsumerGroupHeartbeatResponse]:
        """Join, stay, or leave. Raises KafkaError for every refusal."""
        assignors = self._config().consumer_assignors
        checks.check_request(request, version, assignors)
        if checks.is_leaving(request.member_epoch):
            return self._leave(request, now_ms)
        joins = request.member_epoch == JOIN_EPOCH
        draft = self._draft_for(request.group_id, now_ms, joins=joins)
        self.check_room(draft, request.member_id)
        owned = _owned(request)
        member = self._find(draft, request, owned, joins=joins)
        told = self._updated(member, request, caller)
        changed = draft.put(told) or draft.group.epoch == 0
        self.follow_subscriptions(draft, now_ms, changed=changed)
        if told is not member:
            self.admit(draft, told, now_ms)
        settled = self.settle(draft, told, owned)
        self._after_heartbeat(draft, settled)
        answer = ConsumerGroupHeartbeatResponse(
            member_id=settled.member_id,
            member_epoch=settled.epoch,
            heartbeat_interval_ms=self.times(request.group_id).heartbeat_interval_ms,
        )
        if joins or _is_full(request) or settled.assigned.keys() != member.assigned.keys():
            answer.assignment = Assignment(
                topic_partitions=[
                    TopicPartitions(topic_id=topic_id, partitions=indexes)
                    for topic_id, indexes in by_topic(settled.assigned)
                ]
            )
        return Result(answer, draft.records, draft.written)

    def _draft_for(self, group_id: str, now_ms: int, *, joins: bool) -> GroupDraft:
        """The group to work on. Whoever joins makes a new one, also of a classic group. Raises
        KafkaError: GROUP_ID_NOT_FOUND.
        """
        group = self._registry.consumer.get(group_id)
        if group is not None:
            return self.draft(group)
        classic = self._registry.classic.get(group_id)
        if classic is not None and not classic.is_empty:
            if joins and self._config().allows_upgrade and can_upgrade(classic):
                return self._upgraded(classic, now_ms)
            raise KafkaError(
                ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a consumer group."
            )
        if not joins:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} not found.")
        draft = self.draft(ConsumerGroup(group_id))
        if classic is not None:
            draft.records += classic.tombstones()
        return draft

    def _upgraded(self, classic: ClassicGroup, now_ms: int) -> GroupDraft:
        records = upgrade_records(classic, self.image(), now_ms)
        group = ConsumerGroup(classic.group_id)
        for record in records[len(classic.tombstones()) :]:
            record_type, key = decode_key(RECORD_TYPES, record.key)
            assert record.value is not None
            group.replay(record_type, key, decode_value(RECORD_TYPES, record_type, record.value))
        draft = self.draft(group)
        draft.records += records

        def written() -> None:
            self._abandon(classic)
            for member_id in group.members:
                self.keep_session(group.group_id, member_id)

        draft.then.append(written)
        return draft

    def check_room(self, draft: GroupDraft, member_id: str) -> None:
        """Raise KafkaError: GROUP_MAX_SIZE_REACHED."""
        size_max = self._config().consumer_max_size
        if member_id not in draft.members and len(draft.members) >= size_max:
            raise KafkaError(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The consumer group has reached its maximum capacity of {size_max} members.",
            )

    def admit(self, draft: GroupDraft, told: ConsumerMember, now_ms: int) -> None:
        """Raise MemoryLimitError when what the member says, or its pattern matches, is too much.
        Of the draft nothing was written yet.
        """
        group = draft.group
        held = group.held_by(told.member_id)
        if not held and told.instance_id is not None:
            replaced = group.session_owner(told.instance_id)
            held = 0 if replaced is None else group.held_by(replaced.member_id)
        size = told.said_bytes()
        pattern = told.topic_regex
        if pattern is not None and pattern not in group.regexes and pattern in draft.regexes:
            size += names_bytes(draft.regexes[pattern].topics)
        if not group.members:
            size += texts_bytes((group.group_id,))
        self._memory.admit(size, held, group.held_bytes, now_ms)

    def _find(
        self,
        draft: GroupDraft,
        request: ConsumerGroupHeartbeatRequest,
        owned: Collection[TopicPartition] | None,
        *,
        joins: bool,
    ) -> ConsumerMember:
        """The member that the request speaks for; a new one when it joins."""
        member_id = request.member_id
        if not member_id:
            member_id = new_member_id(self._rng)
        if request.instance_id is not None:
            return self._find_static(draft, request, member_id, owned, joins=joins)
        if joins and member_id not in draft.members:
            return ConsumerMember(member_id, topic_names=frozenset())
        member = draft.members.get(member_id)
        if member is None:
            raise KafkaError(
                ErrorCode.UNKNOWN_MEMBER_ID,
                f"Member {member_id} is not a member of group {request.group_id}.",
            )
        # Who joins again has given up everything, whatever the epoch was.
        if member.classic is None and not joins:
            checks.check_epoch(member, request.member_epoch, owned)
        return member

    def _find_static(
        self,
        draft: GroupDraft,
        request: ConsumerGroupHeartbeatRequest,
        member_id: str,
        owned: Collection[TopicPartition] | None,
        *,
        joins: bool,
    ) -> ConsumerMember:
        instance_id = request.instance_id
        assert instance_id is not None
        if not joins:
            member = checks.known_static_member(draft.group, instance_id, member_id)
            checks.check_epoch(member, request.member_epoch, owned)
            return member
        old = next((m for m in draft.members.values() if m.instance_id == instance_id), None)
        if old is None:
            return ConsumerMember(member_id, instance_id=instance_id)
        if old.classic is None:
            checks.check_released(old, instance_id)
        new = replace(old, member_id=member_id, epoch=JOIN_EPOCH, previous_epoch=JOIN_EPOCH)
        draft.replace(old, new)
        old_id = old.member_id
        if old_id != member_id:
            draft.then.append(lambda: self.cancel(request.group_id, old_id))
        return new

    def _updated(
        self, member: ConsumerMember, request: ConsumerGroupHeartbeatRequest, caller: Caller
    ) -> ConsumerMember:
        """The member as it describes itself now; what is null has not changed."""
        changes = {
            "rack_id": request.rack_id,
            "instance_id": request.instance_id,
            "server_assignor": request.server_assignor,
        }
        fields: dict[str, object] = {k: v for k, v in changes.items() if v is not None}
        if request.rebalance_timeout_ms != -1:
            fields["rebalance_timeout_ms"] = request.rebalance_timeout_ms
        if request.subscribed_topic_names is not None:
            fields["topic_names"] = frozenset(request.subscribed_topic_names)
        if request.subscribed_topic_regex is not None:
            pattern = request.subscribed_topic_regex or None
            if pattern is not None and pattern != member.topic_regex:
                self._matcher.check(pattern, self.image().topics)
            fields["topic_regex"] = pattern
        says_nothing_new = (
            not fields
            and member.classic is None
            and (member.client_id, member.client_host) == (caller.client_id, caller.client_host)
        )
        if says_nothing_new:
            return member  # What nearly every heartbeat is: no copy.
        return replace(
            member,
            client_id=caller.client_id,
            client_host=caller.client_host,
            classic=None,
            **fields,  # type: ignore[arg-type]
        )

    # -- steps ----------------------------------------------------------------------------------

    def follow_subscriptions(self, draft: GroupDraft, now_ms: int, *, changed: bool) -> None:
        """A new epoch when a subscription, or a topic that is subscribed to, has changed; and the
        target of the epoch, when the group has none yet.
        """
        group, topics = draft.group, draft.image.topics
        refresh_ms = self._config().regex_refresh_interval_ms
        stale = group.matched_ms is None or now_ms - group.matched_ms >= refresh_ms
        if changed or stale or group.checked_topics is not topics:
            draft.drop_unused_regexes()
            changed |= draft.resolve_regexes(now_ms)
            subscribed_hash = draft.hash_now()
            if changed or subscribed_hash != group.metadata_hash:
                draft.bump_epoch(subscribed_hash)
            draft.then.append(lambda: self._checked(draft.group_id, topics, now_ms))
        if draft.epoch > draft.target_epoch:
            interval_ms = self.times(draft.group_id).assignment_interval_ms
            is_first = draft.target_epoch == 0
            if is_first or now_ms - draft.target_since_ms >= interval_ms:
                draft.compute_target(self._config().consumer_assignors, now_ms)

    def _checked(self, group_id: str, topics: object, now_ms: int) -> None:
        group = self._registry.consumer.get(group_id)
        if group is not None:
            group.checked_topics, group.matched_ms = topics, now_ms

    def settle(
        self,
        draft: GroupDraft,
        member: ConsumerMember,
        owned: Collection[TopicPartition] | None,
    ) -> ConsumerMember:
        """One step of the member towards its target."""
        target = draft.target.get(member.member_id, frozenset())
        settled = reconcile(member, draft.target_epoch, target, draft.is_free, owned)
        if settled != member:
            draft.put_current(settled)
        return settled

    def _after_heartbeat(self, draft: GroupDraft, member: ConsumerMember) -> None:
        group_id, member_id = draft.group_id, member.member_id
        draft.then.append(lambda: self.keep_session(group_id, member_id))
        key = (group_id, member_id, "rebalance")
        if member.state is not MemberState.UNREVOKED_PARTITIONS:
            draft.then.append(lambda: self._timers.cancel(key))
        elif draft.group.members.get(member_id) != member:
            draft.then.append(lambda: self._await_revocation(group_id, member))

    # -- leaving --------------------------------------------------------------------------------

    def _leave(
        self, request: ConsumerGroupHeartbeatRequest, now_ms: int
    ) -> Result[ConsumerGroupHeartbeatResponse]:
        group = self._registry.consumer.get(request.group_id)
        if group is None:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {request.group_id} not found.")
        if request.instance_id is None:
            member = checks.known_member(group, request.member_id)
        else:
            member = checks.known_static_member(group, request.instance_id, request.member_id)
        answer = ConsumerGroupHeartbeatResponse(
            member_id=request.member_id, member_epoch=request.member_epoch
        )
        if request.member_epoch != LEAVE_STATIC_EPOCH:
            return self.fence(group, [member], now_ms, answer)
        # Away for a while: it keeps what it has until its session ends.
        draft = self.draft(group)
        draft.put_current(replace(member.in_epoch(LEAVE_STATIC_EPOCH), revoking={}))
        draft.then.append(
            lambda: self._timers.cancel((group.group_id, member.member_id, "rebalance"))
        )
        return Result(answer, draft.records, draft.written)

    def fence(
        self,
        group: ConsumerGroup,
        members: Collection[ConsumerMember],
        now_ms: int,
        answer: ConsumerGroupHeartbeatResponse | None = None,
    ) -> Result[ConsumerGroupHeartbeatResponse]:
        """Take members out; the others get what they had with their next heartbeats. The group
        becomes a classic one when only members of that protocol are left.
        """
        left = {member.member_id for member in members}
        if self.may_downgrade(group, left):
            classic = downgraded(group, left, self.image(), now_ms)
            made = self._hand_over(group, classic, now_ms)
            return Result(answer or ConsumerGroupHeartbeatResponse(), made.records, made.on_written)
        draft = self.draft(group)
        for member in members:
            draft.remove(member.member_id)
        draft.bump_epoch(draft.hash_now())
        gone = [member.member_id for member in members]

        def written() -> None:
            for member_id in gone:
                self.cancel(group.group_id, member_id)

        draft.then.append(written)
        return Result(answer or ConsumerGroupHeartbeatResponse(), draft.records, draft.written)

    def may_downgrade(
        self, group: ConsumerGroup, gone: Collection[str], *, joining: int = 0
    ) -> bool:
        """Whether the group becomes a classic one when these members are gone, and so many of the
        classic protocol come.
        """
        config = self._config()
        return config.allows_downgrade and can_downgrade(group, gone, joining, config.max_size)

    def give_way(
        self, group: ConsumerGroup, replaced: str, request: JoinGroupRequest, now_ms: int
    ) -> Result[None]:
        """Make the group a classic one for a JoinGroup that takes the place of its last member of
        the consumer protocol. Raises KafkaError: INCONSISTENT_GROUP_PROTOCOL.
        """
        classic = downgraded(group, {replaced}, self.image(), now_ms)
        protocols = tuple((each.name, each.metadata) for each in request.protocols)
        if not classic.supports(request.protocol_type, protocols):
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        return self._hand_over(group, classic, now_ms)

    def _hand_over(self, group: ConsumerGroup, classic: ClassicGroup, now_ms: int) -> Result[None]:
        """Put a classic group in the place of the consumer group; its members join a round."""
        members = list(group.members)

        def written(error_code: int) -> None:
            if error_code:
                return
            for member_id in members:
                self.cancel(group.group_id, member_id)
            if classic.members:
                self._adopt(classic, now_ms)

        return Result(None, downgrade_records(group, classic), written)

    # -- timers ---------------------------------------------------------------------------------

    def keep_session(self, group_id: str, member_id: str) -> None:
        """The member is alive: its session starts anew."""
        timeout_ms = self.times(group_id).session_timeout_ms
        group = self._registry.consumer.get(group_id)
        member = None if group is None else group.members.get(member_id)
        if member is not None and member.classic is not None:
            timeout_ms = member.classic.session_timeout_ms
        self.fence_after(group_id, member_id, "session", timeout_ms)

    def fence_after(
        self, group_id: str, member_id: str, reason: str, delay_ms: int, *, anew: bool = True
    ) -> None:
        """Take the member out unless the timer is cancelled or started anew. anew False: a timer
        that runs goes on.
        """
        key = (group_id, member_id, reason)
        if not anew and key in self._running:
            return
        if not anew:
            self._running.add(key)
        self._timers.schedule(
            key, delay_ms, lambda now: self._overdue(group_id, member_id, reason, now)
        )

    def end_wait(self, group_id: str, member_id: str, reason: str) -> None:
        """What the member was waited for has come."""
        self._running.discard((group_id, member_id, reason))
        self._timers.cancel((group_id, member_id, reason))

    def _overdue(
        self, group_id: str, member_id: str, reason: str, now_ms: int
    ) -> Result[ConsumerGroupHeartbeatResponse]:
        self._running.discard((group_id, member_id, reason))
        group = self._registry.consumer.get(group_id)
        member = None if group is None else group.members.get(member_id)
        if group is None or member is None:
            return Result(ConsumerGroupHeartbeatResponse())
        result = self.fence(group, [member], now_ms)
        done = result.on_written

        def written(error_code: int) -> None:
            done(error_code)
            if error_code:
                # Still there: it is tried again after another session.
                self.fence_after(
                    group_id, member_id, reason, self.times(group_id).session_timeout_ms
                )

        return Result(result.answer, result.records, written)

    def _await_revocation(self, group_id: str, member: ConsumerMember) -> None:
        """The member has its rebalance timeout to give up partitions."""
        epoch = member.epoch

        def due(now_ms: int) -> Result[ConsumerGroupHeartbeatResponse]:
            group = self._registry.consumer.get(group_id)
            found = None if group is None else group.members.get(member.member_id)
            if (
                found is None
                or found.epoch != epoch
                or found.state is not MemberState.UNREVOKED_PARTITIONS
            ):
                return Result(ConsumerGroupHeartbeatResponse())
            return self._overdue(group_id, member.member_id, "rebalance", now_ms)

        self._timers.schedule(
            (group_id, member.member_id, "rebalance"), member.rebalance_timeout_ms, due
        )

    def cancel(self, group_id: str, member_id: str) -> None:
        """The member's timers end."""
        for reason in ("session", "rebalance", "join", "sync"):
            self.end_wait(group_id, member_id, reason)

    def start_timers(self, group: ConsumerGroup) -> None:
        """After loading: everybody has a whole session to show up."""
        for member in group.members.values():
            self.keep_session(group.group_id, member.member_id)
            if member.state is MemberState.UNREVOKED_PARTITIONS:
                self._await_revocation(group.group_id, member)


def _owned(request: ConsumerGroupHeartbeatRequest) -> set[TopicPartition] | None:
    """What the member says that it has; None when that has not changed."""
    if request.topic_partitions is None:
        return None
    return {
        (topic.topic_id, index) for topic in request.topic_partitions for index in topic.partitions
    }


def _is_full(request: ConsumerGroupHeartbeatRequest) -> bool:
    """Whether everything is said, as after an error on the client's side: then everything is
    answered.
    """
    return (
        request.rebalance_timeout_ms != -1
        and request.topic_partitions is not None
        and (
            request.subscribed_topic_names is not None or request.subscribed_topic_regex is not None
        )
    )

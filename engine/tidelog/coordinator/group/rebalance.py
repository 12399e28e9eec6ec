"""How a classic group gets from one generation to the next: rounds, and the sessions of members.

Pure; owned by a GroupShard. The requests that start rounds are in classic.py, the states in
states.py.
"""

from __future__ import annotations

from collections.abc import Callable

from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.config import GroupConfig
from tidelog.coordinator.group.member import Member
from tidelog.coordinator.group.records import group_record
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.promise import Promise
from tidelog.coordinator.shard import Result, Timers
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.join_group import JoinGroupResponse
from tidelog.protocol.messages.sync_group import SyncGroupResponse


class Rebalance:
    """Rounds and sessions of the groups of one shard."""

    def __init__(self, config: Callable[[], GroupConfig], timers: Timers) -> None:
        self._config = config
        self._timers = timers
        #: Groups in their initial delay: joins do not complete them before it is over.
        self._initial_delays: set[str] = set()

    def _start_join(
        self, group: ClassicGroup, member: Member, now_ms: int
    ) -> Result[JoinGroupResponse]:
        if member.joining is not None:
            # A repeated JoinGroup: the older request is answered so that its connection goes on.
            member.joining.fulfil(join_error(ErrorCode.REBALANCE_IN_PROGRESS, member.member_id))
        answer: Promise[JoinGroupResponse] = Promise()
        member.joining = answer
        # While its JoinGroup waits a member is alive; the session starts with the answer.
        self._keep_session(group, member)
        if not group.is_in(GroupState.PREPARING_REBALANCE):
            done = self._prepare(group, now_ms)
        else:
            done = self._complete_if_joined(group, now_ms)
        return Result(answer, done.records, done.on_written)

    def _prepare(self, group: ClassicGroup, now_ms: int) -> Result[None]:
        """Ask everybody to join again."""
        if group.is_in(GroupState.COMPLETING_REBALANCE):
            self._fail_syncs(group, ErrorCode.REBALANCE_IN_PROGRESS)
        self._timers.cancel((group.group_id, "sync"))
        was_empty = group.is_in(GroupState.EMPTY)
        group.transition(GroupState.PREPARING_REBALANCE, now_ms)
        group.pending_syncs.clear()
        delay_ms = self._config().initial_rebalance_delay_ms
        if was_empty and delay_ms > 0:
            group.new_member_added = False
            left_ms = group.rebalance_timeout_ms
            self._schedule_initial(group, min(delay_ms, left_ms), left_ms)
            return Result(None)
        self._timers.schedule(
            (group.group_id, "join"),
            group.rebalance_timeout_ms,
            lambda now: self._complete(group, now),
        )
        return self._complete_if_joined(group, now_ms)

    def _schedule_initial(self, group: ClassicGroup, delay_ms: int, left_ms: int) -> None:
        """An empty group waits a little for its first members, and longer while they keep coming
        (group.initial.rebalance.delay.ms).
        """

        def due(now_ms: int) -> Result[None]:
            rest_ms = left_ms - delay_ms
            if group.new_member_added and rest_ms > 0:
                group.new_member_added = False
                again_ms = min(self._config().initial_rebalance_delay_ms, rest_ms)
                self._schedule_initial(group, again_ms, rest_ms)
                return Result(None)
            return self._complete(group, now_ms)

        self._timers.schedule((group.group_id, "join"), delay_ms, due)
        self._initial_delays.add(group.group_id)

    def _complete_if_joined(self, group: ClassicGroup, now_ms: int) -> Result[None]:
        if group.group_id in self._initial_delays or not group.has_all_joined:
            return Result(None)
        return self._complete(group, now_ms)

    def _complete(self, group: ClassicGroup, now_ms: int) -> Result[None]:
        """The round is over: who did not join is out (static members stay until their session
        ends).
        """
        self._initial_delays.discard(group.group_id)
        self._timers.cancel((group.group_id, "join"))
        if not group.is_in(GroupState.PREPARING_REBALANCE):
            return Result(None)
        for member in list(group.members.values()):
            if member.joining is None and not member.is_static:
                group.remove(member.member_id)
                self._timers.cancel((group.group_id, member.member_id, "session"))
        if group.members and not group.elect_joined_leader():
            # Only static members that are away: wait another round for them.
            self._timers.schedule(
                (group.group_id, "join"),
                group.rebalance_timeout_ms,
                lambda now: self._complete(group, now),
            )
            return Result(None)
        group.generation_id += 1
        if not group.members:
            group.protocol_name = None
            group.leader_id = None
            group.transition(GroupState.EMPTY, now_ms)
            group.keep_subscriptions()
            return Result(None, (group_record(group.group_id, group.to_value({})),))
        group.protocol_name = group.choose_protocol()
        group.keep_subscriptions()
        group.transition(GroupState.COMPLETING_REBALANCE, now_ms)
        group.pending_syncs = set(group.members)
        for member in group.members.values():
            if member.joining is not None:
                joining, member.joining = member.joining, None
                self._keep_session(group, member)
                joining.fulfil(self._join_answer(group, member))
        self._timers.schedule(
            (group.group_id, "sync"),
            group.rebalance_timeout_ms,
            lambda now: self._expire_syncs(group, now),
        )
        return Result(None)

    @staticmethod
    def _join_answer(group: ClassicGroup, member: Member) -> JoinGroupResponse:
        leads = group.leader_id == member.member_id
        return JoinGroupResponse(
            error_code=0,
            generation_id=group.generation_id,
            protocol_type=group.protocol_type,
            protocol_name=group.protocol_name,
            leader=group.leader_id or "",
            member_id=member.member_id,
            members=group.join_members() if leads else [],
        )

    def _expire_syncs(self, group: ClassicGroup, now_ms: int) -> Result[None]:
        """Members that joined but never synced are out."""
        if not group.is_in(GroupState.COMPLETING_REBALANCE, GroupState.STABLE):
            return Result(None)
        late = [m for m in group.pending_syncs if m in group.members]
        if not late:
            return Result(None)
        for member_id in late:
            group.remove(member_id)
            self._timers.cancel((group.group_id, member_id, "session"))
        return self._prepare(group, now_ms)

    def _fail_syncs(self, group: ClassicGroup, code: ErrorCode) -> None:
        for member in group.members.values():
            member.assignment = b""
            if member.syncing is not None:
                syncing, member.syncing = member.syncing, None
                self._keep_session(group, member)
                syncing.fulfil(SyncGroupResponse(error_code=code))

    def _keep_session(self, group: ClassicGroup, member: Member) -> None:
        self._timers.schedule(
            (group.group_id, member.member_id, "session"),
            member.session_timeout_ms,
            lambda now: self._expire_session(group, member, now),
        )

    def _expire_session(self, group: ClassicGroup, member: Member, now_ms: int) -> Result[None]:
        if group.members.get(member.member_id) is not member:
            return Result(None)
        if member.joining is not None or member.syncing is not None:
            # It waits for us, not we for it.
            self._keep_session(group, member)
            return Result(None)
        return self._remove_and_rebalance(group, member, now_ms)

    def _expire_pending(self, group: ClassicGroup, member_id: str, now_ms: int) -> Result[None]:
        if member_id not in group.pending_members:
            return Result(None)
        group.pending_members.discard(member_id)
        if group.is_in(GroupState.PREPARING_REBALANCE):
            return self._complete_if_joined(group, now_ms)
        return Result(None)

    def _remove_and_rebalance(
        self, group: ClassicGroup, member: Member, now_ms: int
    ) -> Result[None]:
        group.remove(member.member_id)
        self._timers.cancel((group.group_id, member.member_id, "session"))
        if member.joining is not None:
            member.joining.fulfil(join_error(ErrorCode.UNKNOWN_MEMBER_ID, member.member_id))
        if member.syncing is not None:
            member.syncing.fulfil(SyncGroupResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID))
        match group.state:
            case GroupState.STABLE | GroupState.COMPLETING_REBALANCE:
                return self._prepare(group, now_ms)
            case GroupState.PREPARING_REBALANCE:
                return self._complete_if_joined(group, now_ms)
            case _:
                return Result(None)

    def abandon(self, group: ClassicGroup) -> None:
        """The group goes on under the other protocol: its members have to join again."""
        self._initial_delays.discard(group.group_id)
        for key in ("join", "sync"):
            self._timers.cancel((group.group_id, key))
        for member_id in group.pending_members:
            self._timers.cancel((group.group_id, member_id, "session"))
        self.fail_all(group, ErrorCode.REBALANCE_IN_PROGRESS)

    def adopt(self, group: ClassicGroup, now_ms: int) -> None:
        """A group that was one of the other protocol: its members have to join again."""
        for member in group.members.values():
            self._keep_session(group, member)
        # Nobody has joined yet, so nothing is decided here that would have to be written.
        self._prepare(group, now_ms)

    @staticmethod
    def fail_all(group: ClassicGroup, code: ErrorCode) -> None:
        """Answer everybody who waits."""
        for member in group.members.values():
            if member.joining is not None:
                member.joining.fulfil(join_error(code, member.member_id))
                member.joining = None
            if member.syncing is not None:
                member.syncing.fulfil(SyncGroupResponse(error_code=code))
                member.syncing = None


def join_error(code: ErrorCode, member_id: str) -> JoinGroupResponse:
    return JoinGroupResponse(error_code=code, protocol_name=None, member_id=member_id)

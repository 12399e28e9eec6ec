"""The classic group protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup (KIP-62, 345, 394, 559,
800, 814).

Pure: `now_ms`, randomness and timers are given. Owned by a GroupShard; members' answers that have
to wait are promises.
The states and what each request gets in them: states.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.config import GroupConfig
from tidelog.coordinator.group.member import Caller, Member, Protocols
from tidelog.coordinator.group.memory import GroupMemory, classic_member_bytes, texts_bytes
from tidelog.coordinator.group.rebalance import Rebalance, join_error
from tidelog.coordinator.group.records import group_record
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.promise import Promise
from tidelog.coordinator.shard import Random, Result, Timers
from tidelog.errors import KafkaError
from tidelog.limits import TEXT_BYTES_MAX
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from tidelog.protocol.messages.leave_group import MemberIdentity
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse

JoinAnswer = JoinGroupResponse | Promise[JoinGroupResponse]
SyncAnswer = SyncGroupResponse | Promise[SyncGroupResponse]


class ClassicProtocol(Rebalance):
    """The rules over groups that the shard holds. `find(group_id)`: the group or None."""

    def __init__(
        self,
        config: Callable[[], GroupConfig],
        timers: Timers,
        rng: Random,
        find: Callable[[str], ClassicGroup | None],
        create: Callable[[str, int], ClassicGroup],
        forget_unused: Callable[[ClassicGroup], None],
        memory: GroupMemory,
    ) -> None:
        super().__init__(config, timers)
        self._forget_unused = forget_unused
        self._memory = memory
        self._rng = rng
        self._find = find
        self._create = create

    # -- JoinGroup ------------------------------------------------------------------------------

    def join(
        self, request: JoinGroupRequest, caller: Caller, now_ms: int
    ) -> Result[JoinGroupResponse]:
        """Take a member in, or say why not. The answer waits until everybody has joined."""
        self.check_request(request)
        group = self._find(request.group_id)
        if group is None:
            if request.member_id:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            if not request.protocol_type or not request.protocols:
                raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
            self._admit(None, request, caller, now_ms)
            group = self._create(request.group_id, now_ms)
        else:
            self._check_group(group, request)
            self._admit(group, request, caller, now_ms)
        protocols = tuple((p.name, p.metadata) for p in request.protocols)
        if request.member_id:
            return self._join_known(group, request, protocols, caller, now_ms)
        return self._join_new(group, request, protocols, caller, now_ms)

    def check_request(self, request: JoinGroupRequest) -> None:
        """Raise KafkaError: INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT."""
        config = self._config()
        if not request.group_id:
            raise KafkaError(ErrorCode.INVALID_GROUP_ID)
        if (
            not config.min_session_timeout_ms
            <= request.session_timeout_ms
            <= (config.max_session_timeout_ms)
        ):
            raise KafkaError(ErrorCode.INVALID_SESSION_TIMEOUT)

    def _check_group(self, group: ClassicGroup, request: JoinGroupRequest) -> None:
        """Raise KafkaError when the group cannot take the member."""
        if group.is_in(GroupState.DEAD):
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if not self._has_room(group, request.member_id):
            raise KafkaError(ErrorCode.GROUP_MAX_SIZE_REACHED)
        protocols = tuple((p.name, p.metadata) for p in request.protocols)
        if not group.supports(request.protocol_type, protocols):
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)

    def _admit(
        self, group: ClassicGroup | None, request: JoinGroupRequest, caller: Caller, now_ms: int
    ) -> None:
        """Raise MemoryLimitError when what the member says is too much."""
        texts = (
            request.member_id,
            request.group_instance_id,
            caller.client_id,
            caller.client_host,
            request.protocol_type,
        )
        protocols = ((each.name, each.metadata) for each in request.protocols)
        size = classic_member_bytes(texts, protocols)
        before, held = 0, 0
        if group is not None:
            held = group.held_bytes
            instance_id = request.group_instance_id
            known_id = request.member_id or group.static_members.get(instance_id or "", "")
            member = group.members.get(known_id)
            before = 0 if member is None else member.said_bytes
        if not held:
            size += texts_bytes((request.group_id,))
        self._memory.admit(size, before, held, now_ms)

    def _has_room(self, group: ClassicGroup, member_id: str) -> bool:
        """group.max.size counts those who are part of the present round."""
        size_max = self._config().max_size
        if group.is_in(GroupState.EMPTY):
            return True
        if group.is_in(GroupState.PREPARING_REBALANCE):
            joined = sum(m.joining is not None for m in group.members.values())
            member = group.members.get(member_id)
            return (member is not None and member.joining is not None) or joined < size_max
        return member_id in group.members or len(group.members) < size_max

    def _join_new(
        self,
        group: ClassicGroup,
        request: JoinGroupRequest,
        protocols: Protocols,
        caller: Caller,
        now_ms: int,
    ) -> Result[JoinGroupResponse]:
        prefix = request.group_instance_id or caller.client_id
        member_id = f"{prefix}-{uuid.UUID(int=self._rng.getrandbits(128), version=4)}"
        if len(member_id.encode()) > TEXT_BYTES_MAX:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        if request.group_instance_id is not None:
            old_id = group.static_members.get(request.group_instance_id)
            if old_id is not None:
                return self._rejoin_static(
                    group, old_id, member_id, request, protocols, caller, now_ms
                )
        elif caller.requires_known_member_id:
            # KIP-394: first say the id, so that a client that times out cannot leave ghosts behind.
            group.pending_members.add(member_id)
            self._timers.schedule(
                (group.group_id, member_id, "session"),
                request.session_timeout_ms,
                lambda now: self._expire_pending(group, member_id, now),
            )
            raise MemberIdRequiredError(member_id)
        return self._add_and_rebalance(group, member_id, request, protocols, caller, now_ms)

    def _join_known(
        self,
        group: ClassicGroup,
        request: JoinGroupRequest,
        protocols: Protocols,
        caller: Caller,
        now_ms: int,
    ) -> Result[JoinGroupResponse]:
        member_id = request.member_id
        if member_id in group.pending_members:
            if request.group_instance_id is not None:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            return self._add_and_rebalance(group, member_id, request, protocols, caller, now_ms)
        member = group.member(member_id, request.group_instance_id)
        unchanged = member.protocols == protocols
        match group.state:
            case GroupState.PREPARING_REBALANCE:
                return self._update_and_rebalance(group, member, request, protocols, now_ms)
            case GroupState.COMPLETING_REBALANCE if unchanged:
                # Its answer was lost: the same again.
                return Result(self._join_answer(group, member))
            case GroupState.STABLE if unchanged and group.leader_id != member_id:
                return Result(self._join_answer(group, member))
            case GroupState.STABLE | GroupState.COMPLETING_REBALANCE:
                return self._update_and_rebalance(group, member, request, protocols, now_ms)
            case _:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)

    def _rejoin_static(
        self,
        group: ClassicGroup,
        old_id: str,
        new_id: str,
        request: JoinGroupRequest,
        protocols: Protocols,
        caller: Caller,
        now_ms: int,
    ) -> Result[JoinGroupResponse]:
        """A static member restarted: it takes its old place; whoever used the old id is fenced."""
        self._timers.cancel((group.group_id, old_id, "session"))
        member = group.replace_static(old_id, new_id)
        unchanged = member.protocols == protocols
        before = (member.joining, member.syncing)
        member.joining = member.syncing = None
        member.client_id, member.client_host = caller.client_id, caller.client_host
        if before[0] is not None:
            before[0].fulfil(join_error(ErrorCode.FENCED_INSTANCE_ID, old_id))
        if before[1] is not None:
            before[1].fulfil(SyncGroupResponse(error_code=ErrorCode.FENCED_INSTANCE_ID))
        self._update(member, request, protocols)
        if group.is_in(GroupState.STABLE) and unchanged:
            self._keep_session(group, member)
            return self._answer_static(group, member, old_id, caller)
        return self._start_join(group, member, now_ms)

    def _answer_static(
        self, group: ClassicGroup, member: Member, old_id: str, caller: Caller
    ) -> Result[JoinGroupResponse]:
        """Nothing changed but the id: no rebalance. The new id is written before it is told
        (KIP-345).
        """
        answer: Promise[JoinGroupResponse] = Promise()
        assignments = {m.member_id: m.assignment for m in group.members.values()}

        def written(error_code: int) -> None:
            if error_code:
                self._replace_back(group, member, old_id)
                answer.fulfil(join_error(ErrorCode(error_code), ""))
                return
            leads = member.member_id == group.leader_id
            # A leader that restarts is told that nothing is to be assigned (KIP-814); older
            # clients get the old leader's id
            # and so do not assign.
            leader = group.leader_id or ""
            if leads and not caller.supports_skip_assignment:
                leader = old_id
            answer.fulfil(
                JoinGroupResponse(
                    error_code=0,
                    generation_id=group.generation_id,
                    protocol_type=group.protocol_type,
                    protocol_name=group.protocol_name,
                    leader=leader,
                    skip_assignment=leads and caller.supports_skip_assignment,
                    member_id=member.member_id,
                    members=(
                        group.join_members() if leads and caller.supports_skip_assignment else []
                    ),
                )
            )

        record = group_record(group.group_id, group.to_value(assignments))
        return Result(answer, (record,), written)

    def _replace_back(self, group: ClassicGroup, member: Member, old_id: str) -> None:
        """The new id could not be written: the member goes on under its old one."""
        if group.members.get(member.member_id) is not member:
            return
        self._timers.cancel((group.group_id, member.member_id, "session"))
        group.replace_static(member.member_id, old_id)
        self._keep_session(group, member)

    def _add_and_rebalance(
        self,
        group: ClassicGroup,
        member_id: str,
        request: JoinGroupRequest,
        protocols: Protocols,
        caller: Caller,
        now_ms: int,
    ) -> Result[JoinGroupResponse]:
        member = Member(
            member_id=member_id,
            group_instance_id=request.group_instance_id,
            client_id=caller.client_id,
            client_host=caller.client_host,
            rebalance_timeout_ms=_rebalance_timeout_ms(request),
            session_timeout_ms=request.session_timeout_ms,
            protocol_type=request.protocol_type,
            protocols=protocols,
        )
        group.add(member)
        group.new_member_added = True
        return self._start_join(group, member, now_ms)

    def _update_and_rebalance(
        self,
        group: ClassicGroup,
        member: Member,
        request: JoinGroupRequest,
        protocols: Protocols,
        now_ms: int,
    ) -> Result[JoinGroupResponse]:
        self._update(member, request, protocols)
        return self._start_join(group, member, now_ms)

    @staticmethod
    def _update(member: Member, request: JoinGroupRequest, protocols: Protocols) -> None:
        member.say(protocols)
        member.rebalance_timeout_ms = _rebalance_timeout_ms(request)
        member.session_timeout_ms = request.session_timeout_ms

    # -- SyncGroup ------------------------------------------------------------------------------

    def sync(self, request: SyncGroupRequest, now_ms: int) -> Result[SyncGroupResponse]:
        """The leader brings the assignment; everybody gets their part."""
        group = self._known_group(request.group_id)
        member = group.member(request.member_id, request.group_instance_id)
        if request.generation_id != group.generation_id:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        if (request.protocol_type is not None and request.protocol_type != group.protocol_type) or (
            request.protocol_name is not None and request.protocol_name != group.protocol_name
        ):
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        match group.state:
            case GroupState.PREPARING_REBALANCE:
                raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
            case GroupState.STABLE:
                group.pending_syncs.discard(member.member_id)
                self._keep_session(group, member)
                return Result(_sync_answer(group, member))
            case GroupState.COMPLETING_REBALANCE:
                return self._sync_completing(group, member, request, now_ms)
            case _:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)

    def _sync_completing(
        self, group: ClassicGroup, member: Member, request: SyncGroupRequest, now_ms: int
    ) -> Result[SyncGroupResponse]:
        if member.syncing is not None:
            member.syncing.fulfil(SyncGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS))
        answer: Promise[SyncGroupResponse] = Promise()
        member.syncing = answer
        group.pending_syncs.discard(member.member_id)
        if member.member_id != group.leader_id:
            # Its connection keeps the request while it waits, and nobody wants these.
            request.assignments = []
            return Result(answer)
        given = {a.member_id: a.assignment for a in request.assignments}
        assignments = {m: given.get(m, b"") for m in group.members}
        generation_id = group.generation_id

        def committed(error_code: int) -> None:
            # Not before: of what is lost with this coordinator nobody may have been told, since
            # the next one gives the same generation to others. The round may have started over.
            if (
                not group.is_in(GroupState.COMPLETING_REBALANCE)
                or group.generation_id != generation_id
            ):
                return
            if error_code:
                self._fail_syncs(group, ErrorCode(error_code))
                self._prepare(group, now_ms)
                return
            self._assign(group, assignments, now_ms)

        record = group_record(group.group_id, group.to_value(assignments))
        return Result(answer, (record,), on_committed=committed)

    def _assign(self, group: ClassicGroup, assignments: dict[str, bytes], now_ms: int) -> None:
        group.transition(GroupState.STABLE, now_ms)
        for member in group.members.values():
            member.assignment = assignments.get(member.member_id, b"")
            if member.syncing is not None:
                syncing, member.syncing = member.syncing, None
                self._keep_session(group, member)
                syncing.fulfil(_sync_answer(group, member))

    # -- Heartbeat, sessions --------------------------------------------------------------------

    def heartbeat(
        self, group_id: str, member_id: str, instance_id: str | None, generation_id: int
    ) -> ErrorCode:
        """Keep the member's session."""
        group = self._known_group(group_id)
        if group.is_in(GroupState.EMPTY):
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        member = group.member(member_id, instance_id)
        if generation_id != group.generation_id:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        self._keep_session(group, member)
        if group.is_in(GroupState.PREPARING_REBALANCE):
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE

    def keep_session_of(self, group: ClassicGroup, member_id: str) -> None:
        """A commit is a sign of life too."""
        member = group.members.get(member_id)
        if member is not None:
            self._keep_session(group, member)

    def start_sessions(self, group: ClassicGroup) -> None:
        """After loading: everybody has a whole session to show up."""
        for member in group.members.values():
            self._keep_session(group, member)

    # -- LeaveGroup -----------------------------------------------------------------------------

    def leave(
        self, group_id: str, identity: MemberIdentity, now_ms: int
    ) -> tuple[ErrorCode, Result[None]]:
        """Take one member out: (its error code, what follows)."""
        group = self._find(group_id)
        if group is None or group.is_in(GroupState.DEAD):
            return ErrorCode.UNKNOWN_MEMBER_ID, Result(None)
        member_id = identity.member_id
        if identity.group_instance_id is not None:
            known = group.static_members.get(identity.group_instance_id)
            if known is None:
                return ErrorCode.UNKNOWN_MEMBER_ID, Result(None)
            if member_id and member_id != known:
                return ErrorCode.FENCED_INSTANCE_ID, Result(None)
            member_id = known
        if member_id in group.pending_members:
            self._timers.cancel((group.group_id, member_id, "session"))
            return ErrorCode.NONE, self._expire_pending(group, member_id, now_ms)
        member = group.members.get(member_id)
        if member is None:
            return ErrorCode.UNKNOWN_MEMBER_ID, Result(None)
        return ErrorCode.NONE, self._remove_and_rebalance(group, member, now_ms)

    def _expire_pending(self, group: ClassicGroup, member_id: str, now_ms: int) -> Result[None]:
        result = super()._expire_pending(group, member_id, now_ms)
        if group.protocol_type is None and group.is_disposable:
            self._forget_unused(group)
        return result

    # -- checks ---------------------------------------------------------------------------------

    def _known_group(self, group_id: str) -> ClassicGroup:
        if not group_id:
            raise KafkaError(ErrorCode.INVALID_GROUP_ID)
        group = self._find(group_id)
        if group is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if group.is_in(GroupState.DEAD):
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        return group


class MemberIdRequiredError(KafkaError):
    """MEMBER_ID_REQUIRED with the id to come back with."""

    def __init__(self, member_id: str) -> None:
        super().__init__(ErrorCode.MEMBER_ID_REQUIRED)
        self.member_id = member_id


def member_id_of(error: KafkaError, default: str) -> str:
    """The member id that a JoinGroup's error answer names."""
    return error.member_id if isinstance(error, MemberIdRequiredError) else default


def _rebalance_timeout_ms(request: JoinGroupRequest) -> int:
    """Before version 1 the session timeout serves for both."""
    if request.rebalance_timeout_ms < 0:
        return request.session_timeout_ms
    return request.rebalance_timeout_ms


def _sync_answer(group: ClassicGroup, member: Member) -> SyncGroupResponse:
    return SyncGroupResponse(
        error_code=0,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol_name,
        assignment=member.assignment,
    )

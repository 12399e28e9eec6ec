"""This host has the controller's seat: the controller's runtime, and the links of the other hosts.

Lives on the supervisor's loop. It ends by itself (`ended`) when a commit shows that the seat is
lost, or that nobody can know; whoever owns it then makes a new one, or follows another host.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

from tidelog.clock import Clock
from tidelog.controller.machine import Controller
from tidelog.controller.requests import (
    ControllerAnswer,
    ControllerRequest,
    NodeDown,
    RequestFailed,
    UnfenceNode,
)
from tidelog.controller.runtime import ControllerRuntime
from tidelog.limits import (
    HOST_CUT_OFF_MS,
    HOST_GREETING_TIMEOUT_MS,
    HOST_HISTORY_BYTES_MAX,
    HOST_LINKS_UNKNOWN_MAX,
    HOST_LOST_RETRY_MS,
)
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord
from tidelog.metastore.ensemble import Seat, SharedMetastore
from tidelog.process.channel import ChannelError, encode_frame
from tidelog.process.hosts.history import History
from tidelog.process.hosts.liveness import Liveness, what_reports_say
from tidelog.process.hosts.member import Member, drop_unless_known
from tidelog.process.hosts.messages import Alive, HostAsks, NodeVersion
from tidelog.process.messages import Delta
from tidelog.process.node_report import NodeReport
from tidelog.protocol.error_codes import ErrorCode

log: Final = logging.getLogger(__name__)

_NONCE_BYTES: Final = 32


class Leading:
    """See the module. `published` gets each delta of this host's own; `over` is called when it has
    ended by itself.
    """

    def __init__(
        self,
        seat: Seat,
        store: SharedMetastore,
        image: MetadataImage,
        static: dict[str, str],
        secret: bytes,
        session_timeout_ms: int,
        clock: Clock,
        published: Callable[[int, list[ChangeRecord]], None],
        over: Callable[[], None],
    ) -> None:
        self.seat = seat
        self._secret = secret
        self._clock = clock
        self._published = published
        self._over = over
        self._history = History(image.version, HOST_HISTORY_BYTES_MAX)
        self._runtime = ControllerRuntime(
            Controller(static), store, image, self._publish, clock, random.SystemRandom()
        )
        self._liveness = Liveness(seat.host_id, session_timeout_ms, clock.monotonic_ms())
        self._members: dict[str, Member] = {}
        self._unknown: set[Member] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deciding: set[ControllerRequest] = set()
        self._lost_asked_ms = -HOST_LOST_RETRY_MS
        self._lost_told: NodeDown | None = None
        self._cut_off_ms: int | None = None  # since when
        self._running = asyncio.get_running_loop().create_task(self._runtime.run())
        self._running.add_done_callback(self._runtime_ended)

    @property
    def image(self) -> MetadataImage:
        return self._runtime.image

    @property
    def history(self) -> History:
        return self._history

    @property
    def ended(self) -> bool:
        """Whether the seat was lost."""
        return self._running.done()

    @property
    def is_cut_off(self) -> bool:
        """Whether another host has to be the controller, since this one does not reach the most."""
        since_ms = self._cut_off_ms
        return since_ms is not None and self._clock.monotonic_ms() - since_ms > HOST_CUT_OFF_MS

    def submit(
        self, request: ControllerRequest, *, when_committed: bool
    ) -> asyncio.Future[ControllerAnswer]:
        """See `Control`; NOT_CONTROLLER: the seat is lost, and nobody knows what became of it."""
        return self._runtime.submit(request, when_committed=when_committed)

    def node_version(self, node_id: int, version: int) -> None:
        """See `Control`."""
        self._runtime.node_version(node_id, version)

    def there(self, host_ids: Iterable[str]) -> None:
        """The hosts that have a session now."""
        self._liveness.there(host_ids, self._clock.monotonic_ms())
        self.look()

    def look(self, stood_still_ms: int = 0) -> None:
        """Whether a host is lost; called at an interval. stood_still_ms: how much later it is
        called than it should have been.
        """
        if stood_still_ms:
            self._liveness.stood_still(stood_still_ms)
        now_ms = self._clock.monotonic_ms()
        if self._liveness.is_cut_off(now_ms):
            # Nobody is lost for that: hosts that are gone will not have a session much longer, and
            # the others need a controller that hears them.
            if self._cut_off_ms is None:
                self._cut_off_ms = now_ms
            elif self.is_cut_off:
                self._over()
            return
        self._cut_off_ms = None
        lost = self._liveness.lost_nodes(self.image, now_ms)
        if lost is None:
            self._lost_told = None
            return
        if now_ms - self._lost_asked_ms < HOST_LOST_RETRY_MS:
            return
        self._lost_asked_ms = now_ms
        nodes = [node_id for node_id, _ in lost.nodes]
        if lost != self._lost_told:
            self._lost_told = lost
            log.warning("host lost nodes=%s", ",".join(map(str, nodes)))
        for node_id in nodes:
            self._runtime.node_gone(node_id)
        self._runtime.submit(lost, when_committed=True)

    def take_reports(self, reports: tuple[NodeReport, ...]) -> None:
        """What the nodes of a host are at, this one's or another's."""
        for request in what_reports_say(self.image, reports):
            if request not in self._deciding:
                self._deciding.add(request)
                self._runtime.submit(request, when_committed=True).add_done_callback(
                    lambda _, request=request: self._deciding.discard(request)  # type: ignore[misc]
                )
                if isinstance(request, NodeDown):
                    for node_id, _ in request.nodes:
                        self._runtime.node_gone(node_id)
                else:
                    assert isinstance(request, UnfenceNode)
                    log.info("node is back node=%d", request.node_id)

    async def accept(self, sock: socket.socket) -> None:
        """A connection has come."""
        if len(self._unknown) >= HOST_LINKS_UNKNOWN_MAX:
            sock.close()
            return
        nonce = secrets.token_bytes(_NONCE_BYTES)
        member = Member(self, self.seat.epoch, self._secret, nonce)
        self._unknown.add(member)
        self._spawn(drop_unless_known(member, HOST_GREETING_TIMEOUT_MS))
        await member.open(sock)

    async def close(self) -> None:
        """Stops to be the controller; the links end without an answer to what they have asked."""
        members = [*self._members.values(), *self._unknown]
        self._members.clear()
        self._unknown.clear()
        for member in members:
            member.close()
        for task in self._tasks:
            task.cancel()
        self._running.cancel()
        await asyncio.gather(self._running, *self._tasks, return_exceptions=True)
        await self._runtime.close()

    # --- what links tell (MemberOwner) ---

    def member_joined(self, member: Member) -> None:
        self._unknown.discard(member)
        earlier = self._members.pop(member.host_id, None)
        self._members[member.host_id] = member
        if earlier is not None:
            earlier.close()
        self._liveness.heard(member.host_id, self._clock.monotonic_ms())
        log.info("host joined host=%s", member.host_id)

    def member_says(self, member: Member, message: Alive | NodeVersion | HostAsks) -> None:
        if self._members.get(member.host_id) is not member:
            return
        self._liveness.heard(member.host_id, self._clock.monotonic_ms())
        match message:
            case Alive(nodes):
                for report in nodes:
                    self._node_of(member, report.node_id, report.applied)
                self.take_reports(nodes)
            case NodeVersion(node_id, version):
                self._node_of(member, node_id, version)
            case HostAsks(request_id, request, when_committed):
                self._ask(member, request_id, request, when_committed)

    def member_gone(self, member: Member, error: Exception | None) -> None:
        self._unknown.discard(member)
        if member.refused is not None:
            log.warning("host refused host=%s reason=%s", member.host_id, member.refused)
        if self._members.get(member.host_id) is member:
            del self._members[member.host_id]
            log.warning("link to host ended host=%s error=%s", member.host_id, error)
            # Nobody waits for nodes that hear nothing: they start with what they miss.
            for node_id in member.nodes:
                self._runtime.node_gone(node_id)

    def _node_of(self, member: Member, node_id: int, version: int) -> None:
        if version < 0:
            member.nodes.discard(node_id)
        else:
            member.nodes.add(node_id)
        self.node_version(node_id, version)

    def _ask(
        self, member: Member, request_id: int, request: ControllerRequest, when_committed: bool
    ) -> None:
        def answered(future: asyncio.Future[ControllerAnswer]) -> None:
            if future.cancelled() or self._members.get(member.host_id) is not member:
                return
            answer = future.result()
            if is_seat_lost(answer):
                member.close()
            else:
                member.answer(request_id, answer)

        if isinstance(request, NodeDown):
            for node_id, _ in request.nodes:
                self._node_of(member, node_id, -1)
        future = self._runtime.submit(request, when_committed=when_committed)
        future.add_done_callback(answered)

    # --- the runtime ---

    def _publish(self, version: int, records: list[ChangeRecord]) -> None:
        try:
            frame = encode_frame(Delta(version, tuple(records)))
        except ChannelError:
            # Longer than a frame may be: everybody gets the whole image in parts.
            for member in self._members.values():
                member.fall_behind()
        else:
            self._history.add(version, frame)
            for member in self._members.values():
                member.send_delta(frame)
        self._published(version, records)

    def _runtime_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.warning(
                "controller's seat lost epoch=%d error=%s", self.seat.epoch, task.exception()
            )
            self._over()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def is_seat_lost(answer: ControllerAnswer) -> bool:
    """Whether the answer says that the controller was not one any more."""
    return isinstance(answer, RequestFailed) and answer.error_code == ErrorCode.NOT_CONTROLLER

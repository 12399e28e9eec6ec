"""The worker's network side: accepts on its listening sockets, owns the connections, closes the
idle ones.

Runs on the worker's loop. The sockets are made by the supervisor and handed in; they stay open
when a worker restarts. Everything
per request happens in the native connection and the lanes; here is only what happens per
connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from tidelog._native.connection import Connection
from tidelog._native.fetch_lane import FetchLane
from tidelog._native.fetch_session import FetchSessionCache
from tidelog._native.partition import PartitionTable
from tidelog._native.produce_lane import ProduceLane
from tidelog._native.request import Gates
from tidelog._native.transport import Reactor
from tidelog.bounded_log import BoundedLog
from tidelog.clock import Clock
from tidelog.config import BrokerConfig
from tidelog.handlers.context import ConnectionInfo
from tidelog.handlers.dispatch import Dispatcher
from tidelog.limits import (
    ACCEPT_RETRY_MS,
    ACCEPTS_PER_TURN,
    CONNECTION_LOG_LINES_PER_SECOND,
    FETCH_SESSION_EVICTION_MS,
    IDLE_CHECK_MS_MAX,
    IDLE_MEMORY_MS,
    OTHER_REQUEST_BYTES_MAX,
    PRESSURE_CHECK_MS,
    STOP_CHECK_MS,
)
from tidelog.metadata.quotas import Quotas
from tidelog.net.admission import Admission
from tidelog.net.held_connections import HeldConnections
from tidelog.net.memory_pressure import gone, parked, stalled
from tidelog.net.read_ahead import ReadAhead
from tidelog.net.tasks import Tasks
from tidelog.quotas.node import NodeQuotas
from tidelog.record.reasons import REASONS
from tidelog.replication.slow_append import SlowAppend

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BoundListener:
    """A listening socket with the name of its listener (`listeners`: PLAINTEXT, ...)."""

    socket: socket.socket
    name: str


class Server:
    """Serves Kafka clients. `dispatcher` answers everything but Produce and Fetch, which the
    native lanes do on `table`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dispatcher: Dispatcher,
        table: PartitionTable,
        config: BrokerConfig,
        clock: Clock,
        listeners: Sequence[BoundListener],
        executor: Executor,
        open_executor: Executor | None = None,
        gates: Gates | None = None,
        rng: random.Random | None = None,
        quotas: NodeQuotas | None = None,
    ) -> None:
        self._loop = loop
        self._config = config
        self._clock = clock
        self._listeners = tuple(listeners)
        self._connections: set[Connection] = set()
        self._by_id: dict[int, Connection] = {}
        self._held = HeldConnections(loop)
        self._next_connection_id = 0
        self.accepted = self.refused = 0  # connections, for the metrics
        self._idle_timer: asyncio.TimerHandle | None = None
        self._pressure_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._drained: asyncio.Future[None] | None = None
        self._notes = BoundedLog(log, clock, CONNECTION_LOG_LINES_PER_SECOND)
        self.gates = gates if gates is not None else Gates()
        self._quotas = quotas or NodeQuotas(config, clock)
        self._quotas.pause = self._pause
        self.admission = Admission(0, 0, {})
        self.follow_config(config)
        self.sessions = FetchSessionCache(
            config.max_incremental_fetch_session_cache_slots,
            FETCH_SESSION_EVICTION_MS,
            rng if rng is not None else random.Random(),
        )
        tasks = Tasks(loop)
        slow = SlowAppend(loop, open_executor or executor, clock)
        self.reactor = Reactor(
            loop,
            self._produce_lane(table, tasks, slow),
            FetchLane(
                table,
                self.gates,
                self.sessions,
                max_bytes=config.fetch_max_bytes,
                call_later=loop.call_later,
            ),
            dispatch=dispatcher.dispatch,
            read_ahead=ReadAhead(loop, executor).warm,
            on_close=self._closed,
            request_size_max=config.socket_request_max_bytes,
            other_request_size_max=min(OTHER_REQUEST_BYTES_MAX, config.socket_request_max_bytes),
            waiting_max=config.tidelog_connection_max_inflight_requests,
            queued_bytes_max=config.tidelog_connection_max_queued_bytes,
            unsent_bytes_max=config.tidelog_connection_max_unsent_bytes,
            on_pressure=self._look_for_memory,
            total_bytes_max=_memory_bytes_max(config),
            send_slice=config.tidelog_sendfile_slice_bytes,
            create_task=tasks.start,
        )

    def _produce_lane(self, table: PartitionTable, tasks: Tasks, slow: SlowAppend) -> ProduceLane:
        return ProduceLane(
            table,
            self.gates,
            call_later=self._loop.call_later,
            create_task=tasks.start,
            slow_append=slow.append,
            explain=slow.explain,
            reasons=REASONS,
        )

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def start(self) -> None:
        """Begin to accept."""
        for listener in self._listeners:
            listener.socket.setblocking(False)
            self._loop.add_reader(listener.socket.fileno(), self._accept, listener)
        self._schedule_idle_check()

    async def stop(self, grace_ms: int) -> None:
        """Accept and take no more; give requests in work `grace_ms` to be answered; close each
        connection when it owes nothing.
        """
        self._stopping = True
        for listener in self._listeners:
            self._loop.remove_reader(listener.socket.fileno())
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._held.close()
        for connection in list(self._connections):
            # A consumer asks again as soon as it is answered: it would never be idle.
            connection.mute(True)
        self._close_answered()
        if self._connections and grace_ms > 0:
            self._drained = self._loop.create_future()
            timer = self._loop.call_later(grace_ms / 1000, self._stop_waiting)
            while not self._drained.done():
                await asyncio.wait({self._drained}, timeout=STOP_CHECK_MS / 1000)
                self._close_answered()
            timer.cancel()
        for connection in list(self._connections):
            connection.close()

    def _close_answered(self) -> None:
        for connection in list(self._connections):
            if connection.idle:
                connection.close()

    def _stop_waiting(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- configs that change ----------------------------------------------------------------------

    def follow_config(self, config: BrokerConfig) -> None:
        """Go by these broker configs from now on, as far as they may change while a node runs."""
        self.admission.follow(
            config.max_connections,
            config.max_connections_per_ip,
            config.connections_per_ip_overrides,
        )
        self._quotas.creation.limit = config.max_connection_creation_rate

    # -- quotas ---------------------------------------------------------------------------------

    def follow_quotas(self, quotas: Quotas) -> None:
        """Go by these client quotas from now on."""
        self._quotas.follow(quotas)
        self.gates.quotas = self._quotas if self._quotas.in_use else None

    def _pause(self, connection_id: int, throttle_ms: int) -> None:
        connection = self._by_id.get(connection_id)
        if connection is not None:
            connection.pause(throttle_ms)

    # -- connections ----------------------------------------------------------------------------

    def _accept(self, listener: BoundListener) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, address = listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # EMFILE, ENFILE, ENOMEM: the backlog keeps the client; do not spin on it.
                log.error("accept failed listener=%s error=%s", listener.name, error)
                self._loop.remove_reader(listener.socket.fileno())
                self._loop.call_later(ACCEPT_RETRY_MS / 1000, self._listen_again, listener)
                return
            self._admit(accepted, _plain(address[0]), listener)
            rest_ms = self._quotas.creation.accepted(self._clock.monotonic_ms())
            if rest_ms:
                self._rest(rest_ms)
                return

    def _rest(self, time_ms: int) -> None:
        """Accept nothing for a while: the backlog keeps the clients."""
        for listener in self._listeners:
            self._loop.remove_reader(listener.socket.fileno())
            self._loop.call_later(time_ms / 1000, self._listen_again, listener)

    def _listen_again(self, listener: BoundListener) -> None:
        if not self._stopping and listener.socket.fileno() >= 0:
            self._loop.add_reader(listener.socket.fileno(), self._accept, listener)

    def _admit(self, accepted: socket.socket, client_host: str, listener: BoundListener) -> None:
        throttle_ms = self._quotas.connections.admit(client_host, self._clock.monotonic_ms())
        if throttle_ms:
            self._held.hold(accepted, throttle_ms)
            return
        refusal = self.admission.admit(client_host)
        if refusal is not None:
            self.refused += 1
            self._notes.warning("connection refused client=%s reason=%s", client_host, refusal)
            accepted.close()
            return
        try:
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._set_buffers(accepted)
            local = accepted.getsockname()
        except OSError:  # it is gone already
            self.admission.release(client_host)
            accepted.close()
            return
        self._next_connection_id += 1
        self.accepted += 1
        info = ConnectionInfo(
            connection_id=self._next_connection_id,
            client_host=client_host,
            listener=listener.name,
            local_host=_plain(local[0]),
            local_port=int(local[1]),
        )
        connection = Connection(self.reactor, accepted, info)
        self._connections.add(connection)
        self._by_id[info.connection_id] = connection

    def _set_buffers(self, accepted: socket.socket) -> None:
        """Kafka's configs; -1 = the kernel's own sizing. Why these defaults: ADR 0011."""
        for option, size in (
            (socket.SO_SNDBUF, self._config.socket_send_buffer_bytes),
            (socket.SO_RCVBUF, self._config.socket_receive_buffer_bytes),
        ):
            if size > 0:
                accepted.setsockopt(socket.SOL_SOCKET, option, size)

    def _closed(self, connection: Connection, reason: str | None) -> None:
        info: ConnectionInfo = connection.info
        self._connections.discard(connection)
        self._by_id.pop(info.connection_id, None)
        self.admission.release(info.client_host)
        if reason is not None:
            self._notes.warning(
                "connection closed client=%s connection=%d reason=%s",
                info.client_host,
                info.connection_id,
                reason,
            )
        if not self._connections:
            self._stop_waiting()

    # -- idle connections -----------------------------------------------------------------------

    def _schedule_idle_check(self) -> None:
        check_ms = IDLE_CHECK_MS_MAX
        if self._config.connections_max_idle_ms >= 0:
            check_ms = min(check_ms, self._config.connections_max_idle_ms // 4 + 1)
        self._idle_timer = self._loop.call_later(check_ms / 1000, self._check_idle)

    def _check_idle(self) -> None:
        limit_ms = self._config.connections_max_idle_ms
        now_ms = self._clock.monotonic_ms()
        for connection in gone(self._connections):
            connection.close()
        for connection in list(self._connections):
            quiet_ms = now_ms - connection.last_active_ms
            if not connection.waits_for_peer:
                continue
            if 0 <= limit_ms < quiet_ms:
                connection.close()
            elif quiet_ms > IDLE_MEMORY_MS:
                connection.release_memory()
        self._schedule_idle_check()

    # -- memory that others wait for --------------------------------------------------------------

    def _look_for_memory(self) -> None:
        """The reactor holds as much as it may."""
        if self._pressure_timer is None and not self._stopping:
            self._pressure_timer = self._loop.call_later(PRESSURE_CHECK_MS / 1000, self._relieve)

    def _relieve(self) -> None:
        """Get memory back from those that do not need it, until there is room again.

        Without this a few peers that stop in the middle of a large request would stop everybody.
        """
        self._pressure_timer = None
        reactor = self.reactor
        if self._stopping or not reactor.still_pressed():
            return
        now_ms = self._clock.monotonic_ms()
        for connection in gone(self._connections):
            connection.close()
        for connection in self._connections:
            connection.release_memory()
        for connection in parked(self._connections, now_ms):
            connection.hurry()
        for connection in stalled(self._connections, now_ms):
            if not reactor.still_pressed():
                return
            connection.close(
                f"held {connection.queued_bytes} bytes without progress while memory was short"
                f" (tidelog.process.max.queued.bytes={reactor.total_bytes_max})"
            )
        self._look_for_memory()


def _memory_bytes_max(config: BrokerConfig) -> int:
    """Kafka's config, where it is set, is a limit of the same memory."""
    limits = [config.tidelog_process_max_queued_bytes]
    if config.queued_max_request_bytes > 0:
        limits.append(config.queued_max_request_bytes)
    return min(limits)


def _plain(host: object) -> str:
    """The address as a client writes it: a socket of both families shows an IPv4 one as mapped,
    which many clients cannot connect to.
    """
    return str(host).removeprefix("::ffff:")

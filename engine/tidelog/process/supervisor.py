"""The supervisor: owns the listening sockets and the metadata, keeps the workers alive, touches no
data.

The process that the user started. One asyncio loop; its only other thread is the metastore's. A
worker's death is seen by its pidfd and answered with a restart (`backoff`); a hung worker is
silent on its channel and is killed. If the supervisor dies, however it does, the control sockets
end and the workers stop by themselves.

Signal handlers only ask to stop: SIGTERM, SIGINT and SIGHUP once for a clean stop, a second one
for an immediate one.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from tidelog.clock import Clock, SystemClock
from tidelog.controller.requests import (
    AlterIsr,
    ControllerAnswer,
    ControllerRequest,
    Done,
    ElectUnclean,
    FenceNode,
    NodeDown,
    RebalanceLeaders,
    RebalanceLeadersAnswer,
    RegisterNode,
    RegisterNodeAnswer,
    ReportOffline,
    ShutDownNode,
    ShutDownNodeAnswer,
    StartCluster,
    UnfenceNode,
    WorkerRequest,
)
from tidelog.errors import StorageError, TidelogError
from tidelog.limits import (
    CLOSED_CHANNEL_KILL_MS,
    EXIT_STATUS_WAIT_MS,
    RESTART_FENCED_MS,
    START_ATTEMPTS_MAX,
    STOP_GRACE_MS,
    STOP_TIMEOUT_MS,
    TAKE_LEAVE_TIMEOUT_MS,
    WORKER_HELLO_TIMEOUT_MS,
)
from tidelog.metadata.features import FEATURES_OF_NEW_CLUSTERS
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord
from tidelog.process.channel import ChannelError, encode_frame
from tidelog.process.control import Control, ControlOwner
from tidelog.process.data_directory import DataDirectory
from tidelog.process.listening import ListenError, host_and_port, reachable_host
from tidelog.process.messages import Configure, Delta
from tidelog.process.node_moves import MoveError, NodeMoves
from tidelog.process.node_report import NodeReport
from tidelog.process.spawner import Spawner, SpawnError
from tidelog.process.worker_link import WorkerLink
from tidelog.process.worker_slot import WorkerSlot
from tidelog.process.zygote import ZygoteHandle
from tidelog.storage.last_end import may_lack_records

if TYPE_CHECKING:
    from tidelog.process.metrics.endpoint import MetricsEndpoint

log: Final = logging.getLogger(__name__)


class StartError(TidelogError):
    """The broker cannot start. The message is one line for the user."""


class SupervisorSettings(msgspec.Struct, frozen=True):
    """What the supervisor is started with. static: broker configs by name; surplus: recorded nodes
    that are not to run any more; host_id: of this host among several, "" when it is alone.
    """

    static: dict[str, str]
    rack: str | None
    surplus: tuple[int, ...]
    listen_backlog: int
    heartbeat_interval_ms: int
    session_timeout_ms: int
    leader_check_interval_ms: int
    unclean_check_interval_ms: int
    log_level: str
    parent_fd: int | None = None
    host_id: str = ""


class Supervisor(ControlOwner):
    """See the module. Made and run on a running loop; the slots have their sockets open already."""

    def __init__(
        self,
        settings: SupervisorSettings,
        directory: DataDirectory,
        slots: list[WorkerSlot],
        zygote: ZygoteHandle,
        on_ready: Callable[[], None],
        open_control: Callable[[ControlOwner, Clock], Control],
        clock: Clock | None = None,
        metrics_socket: socket.socket | None = None,
    ) -> None:
        self._settings = settings
        self._metrics_socket = metrics_socket
        self._directory = directory
        self._slots = {slot.node_id: slot for slot in slots}
        self._on_ready = on_ready
        self._clock = clock or SystemClock()
        self._open_control = open_control
        self._spawner = Spawner(zygote, self)
        self._stop_asked = asyncio.Event()
        self._stopping = False
        self._forced = False
        self._failure: str | None = None
        loop = asyncio.get_running_loop()
        self._stop_wait: asyncio.Future[None] = loop.create_future()
        self._all_serve: asyncio.Future[None] = loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starts: set[asyncio.Task[None]] = set()
        self._control: Control

    async def run(self) -> int:
        """Starts everything, calls `on_ready` once it serves, and stays until it is told to stop.

        Returns the exit status. Raises StartError, StorageError; by then everything that was
        started is stopped.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # A signal that whoever started us had ignored (nohup) stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._ask_to_stop)
        if self._settings.parent_fd is not None:
            loop.add_reader(self._settings.parent_fd, self._parent_ended)
        self._spawner.start()
        try:
            self._control = self._open_control(self, self._clock)
        except BaseException:
            self._spawner.close()
            raise
        watch = [
            loop.create_task(self._watch()),
            loop.create_task(
                self._decide_every(self._settings.leader_check_interval_ms, RebalanceLeaders())
            ),
            loop.create_task(
                self._decide_every(self._settings.unclean_check_interval_ms, ElectUnclean())
            ),
        ]
        endpoint: MetricsEndpoint | None = None
        try:
            endpoint = await self._open_endpoint()
            if await self._unless_stopped(self._control.start()):
                await self._start_cluster()
                for slot in self._slots.values():
                    self._start_life(slot)
                if await self._unless_stopped(self._all_serve):
                    self._on_ready()
            await self._stop_asked.wait()
        finally:
            for task in watch:
                task.cancel()
            if endpoint is not None:
                await endpoint.close()
            await self._stop_workers()
            await self._control.close()
            self._spawner.close()
        if self._failure is not None:
            log.error("broker stopped reason=%s", self._failure)
        return 1 if self._failure is not None or self._forced else 0

    # --- start ---

    async def _open_endpoint(self) -> MetricsEndpoint | None:
        """Before the workers: it shall say that they are not ready."""
        if self._metrics_socket is None:
            return None
        # Only now: its libraries cost a start that needs no metrics 50 ms.
        from tidelog.process.metrics.endpoint import MetricsEndpoint

        endpoint = MetricsEndpoint(self._metrics_socket, self._slots, lambda: self.image)
        await endpoint.start()
        return endpoint

    async def _start_cluster(self) -> None:
        """Records what the store has to know before any node registers."""
        if self._settings.host_id and not self._directory.is_shared:
            self._directory.share()
        answer = await self._control.submit(
            StartCluster(self._directory.cluster_id, FEATURES_OF_NEW_CLUSTERS)
        )
        if not isinstance(answer, Done) or answer.error_code:
            raise StartError(f"the metadata store cannot be used: {answer}")
        moves = NodeMoves(self._control, self._directory, self._clock)
        try:
            if self._settings.host_id:
                await moves.forget(self._settings.surplus)
            else:
                await moves.finish()
                await moves.leave(self._settings.surplus, tuple(self._slots))
        except MoveError as error:
            raise StartError(str(error)) from error

    async def _unless_stopped(self, awaited: Awaitable[None]) -> bool:
        """Whether it came to its end before the broker was told to stop."""
        task = asyncio.ensure_future(awaited)
        stop = asyncio.ensure_future(self._stop_asked.wait())
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            return False
        task.result()
        return True

    # --- lives of workers ---

    def _start_life(self, slot: WorkerSlot, wait_ms: int = 0) -> None:
        task = self._spawn_task(self._begin_life(slot, wait_ms))
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)

    async def _begin_life(self, slot: WorkerSlot, wait_ms: int) -> None:
        """Starts a worker, after a wait that ends early when the broker stops."""
        if wait_ms:
            await asyncio.wait({self._stop_wait}, timeout=wait_ms / 1000)
        if self._stopping or self._stop_asked.is_set():
            return
        link = WorkerLink(slot.node_id, self)
        ours, its = socket.socketpair()
        try:
            with its:
                slot.listen(self._settings.listen_backlog)
                await link.open(ours)
                # Registration (a transaction) and fork take their time side by side.
                registered = asyncio.ensure_future(self._register(slot))
                try:
                    pid, pidfd = await self._spawner.spawn(
                        f"tidelog worker node={slot.node_id}", its, slot.sockets
                    )
                finally:
                    await asyncio.wait({registered})
            slot.born(link, pid, pidfd)
            asyncio.get_running_loop().add_reader(pidfd, self._process_ended, slot)
            slot.node_epoch = registered.result()
            link.configure(self._configuration(slot, slot.node_epoch))
        except (SpawnError, ListenError, StorageError) as error:
            log.error("worker cannot be started node=%d error=%s", slot.node_id, error)
            link.close()
            if slot.pid is None:
                self._next_life(slot, -1)
            else:
                slot.kill()

    async def _register(self, slot: WorkerSlot) -> int:
        """Gives the node its next epoch. Raises StorageError."""
        unclean = await asyncio.get_running_loop().run_in_executor(
            None, may_lack_records, [str(path) for path in self._directory.node_paths(slot.node_id)]
        )
        if unclean:
            log.warning("node may lack records that it had acknowledged node=%d", slot.node_id)
        host_id = self._settings.host_id
        internode_host, internode_port = slot.internode(other_hosts=bool(host_id))
        answer = await self._control.submit(
            RegisterNode(
                slot.node_id,
                self._settings.rack,
                slot.endpoints(other_hosts=bool(host_id)),
                internode_host,
                internode_port,
                self._directory.nodes[slot.node_id],
                unclean,
                host_id,
            ),
            when_committed=True,
        )
        if isinstance(answer, RegisterNodeAnswer):
            return answer.node_epoch
        reason = getattr(answer, "error_message", None) or answer
        raise StorageError(f"node {slot.node_id} cannot be registered: {reason}")

    def _configuration(self, slot: WorkerSlot, node_epoch: int) -> Configure:
        return Configure(
            slot.node_id,
            node_epoch,
            self._directory.cluster_id,
            tuple(str(path) for path in self._directory.node_paths(slot.node_id)),
            self._settings.static,
            tuple(address.name for address in slot.addresses),
            self._settings.heartbeat_interval_ms,
            self._settings.log_level,
            self._metrics_socket is not None,
        )

    def _process_ended(self, slot: WorkerSlot) -> None:
        assert slot.pidfd is not None and slot.link is not None
        asyncio.get_running_loop().remove_reader(slot.pidfd)
        slot.exited = True
        if not self._stopping and slot.link.node_epoch >= 0:
            # At once: until others lead what it led, clients wait.
            self._control.node_version(slot.node_id, -1)
            down = NodeDown(((slot.node_id, slot.link.node_epoch),))
            self._control.submit(down, when_committed=True)
        self._spawn_task(self._bury(slot))

    async def _bury(self, slot: WorkerSlot) -> None:
        """A worker has ended: nobody waits for it any more, and the next one is started."""
        link, pid = slot.link, slot.pid
        assert link is not None and slot.exit_status is not None
        await asyncio.wait({slot.exit_status}, timeout=EXIT_STATUS_WAIT_MS / 1000)
        status = slot.exit_status.result() if slot.exit_status.done() else None
        link.close()
        self._control.node_version(slot.node_id, -1)
        slot.buried()
        if self._stopping:
            if status:
                log.warning("worker did not stop cleanly node=%d status=%s", slot.node_id, status)
            return
        slot.deaths += 1
        log.warning("worker died node=%d pid=%d status=%s", slot.node_id, pid, status)
        self._next_life(slot, link.node_epoch)

    def _next_life(self, slot: WorkerSlot, node_epoch: int) -> None:
        """Plans the worker's next start, or gives the whole start up."""
        wait_ms = slot.policy.died(self.now_ms())
        deaths = slot.policy.deaths_in_a_row
        hopeless = slot.failure or deaths >= START_ATTEMPTS_MAX
        if hopeless and not slot.served and not self._all_serve.done():
            reason = slot.failure or f"it died {deaths} times"
            self._all_serve.set_exception(StartError(f"node {slot.node_id} cannot start: {reason}"))
            return
        if wait_ms > RESTART_FENCED_MS:
            log.error("worker is fenced node=%d restart_ms=%d", slot.node_id, wait_ms)
            slot.stop_listening()
            self._control.submit(FenceNode(slot.node_id, node_epoch), when_committed=True)
        self._start_life(slot, wait_ms)

    async def _watch(self) -> None:
        """Kills workers that are silent for too long: a hung one must not come back and answer."""
        interval_ms = max(10, self._settings.heartbeat_interval_ms // 2)
        while True:
            before_ms = self.now_ms()
            await asyncio.sleep(interval_ms / 1000)
            now_ms = self.now_ms()
            # When the supervisor itself stood still (stopped, or the machine slept), nobody could
            # be heard.
            stood_still = now_ms - before_ms > 2 * interval_ms + 1000
            for slot in self._slots.values():
                link = slot.link
                if link is None or slot.pid is None:
                    continue
                if stood_still:
                    link.heard_ms = now_ms
                limit_ms = self._settings.session_timeout_ms
                if not link.said_hello:
                    limit_ms = max(limit_ms, WORKER_HELLO_TIMEOUT_MS)
                if now_ms - link.heard_ms > limit_ms:
                    log.error(
                        "worker hangs node=%d silent_ms=%d", slot.node_id, now_ms - link.heard_ms
                    )
                    slot.kill()

    async def _decide_every(self, interval_ms: int, request: ControllerRequest) -> None:
        """Asks the controller from time to time; at once again when there was more to do."""
        while True:
            await asyncio.sleep(interval_ms / 1000)
            more = self._control.leads
            while more:
                answer = await self._control.submit(request)
                more = isinstance(answer, RebalanceLeadersAnswer) and answer.more

    # --- stop ---

    def _ask_to_stop(self) -> None:
        log.info("broker stops")
        if self._stop_asked.is_set():
            self._forced = True
            for slot in self._slots.values():
                slot.kill()
        self._stop()

    def _parent_ended(self) -> None:
        assert self._settings.parent_fd is not None
        asyncio.get_running_loop().remove_reader(self._settings.parent_fd)
        log.info("parent asks to stop or ended")
        self._stop()

    def _stop(self, failure: str | None = None) -> None:
        """Begins a clean stop; with a failure, of a broker that cannot go on."""
        if failure is not None and not self._stopping and self._failure is None:
            self._failure = failure
        self._stop_asked.set()
        if not self._stop_wait.done():
            self._stop_wait.set_result(None)

    async def _stop_workers(self) -> None:
        self._stopping = True
        self._stop()
        # Starts on their way are brought to their end first, so that no process is left behind.
        if self._starts:
            await asyncio.wait(self._starts)
        for slot in self._slots.values():
            if slot.link is not None:
                slot.link.stop(STOP_GRACE_MS)
            if self._forced:
                slot.kill()
        gone = [asyncio.ensure_future(slot.gone.wait()) for slot in self._slots.values()]
        _, late = await asyncio.wait(gone, timeout=STOP_TIMEOUT_MS / 1000)
        if late:
            self._forced = True
            for slot in self._slots.values():
                if slot.pid is not None:
                    log.error("worker does not stop node=%d", slot.node_id)
                    slot.kill()
            await asyncio.wait(gone)
        for slot in self._slots.values():
            slot.stop_listening()
        if self._settings.host_id:
            await self._take_leave()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _take_leave(self) -> None:
        """Tells the cluster that the nodes are gone, so that it need not find that out."""
        ended = [
            (slot.node_id, slot.node_epoch) for slot in self._slots.values() if slot.node_epoch >= 0
        ]
        if not ended:
            return
        answered = self._control.submit(NodeDown(tuple(ended), fence=True), when_committed=True)
        await asyncio.wait({answered}, timeout=TAKE_LEAVE_TIMEOUT_MS / 1000)

    # --- what links and the zygote tell (LinkOwner, SpawnerOwner) ---

    @property
    def image(self) -> MetadataImage:
        return self._control.image

    def now_ms(self) -> int:
        return self._clock.monotonic_ms()

    def link_ready(self, link: WorkerLink, version: int) -> None:
        if self._is_current(link):
            self._control.node_version(link.node_id, version)

    def link_applied(self, link: WorkerLink, version: int) -> None:
        if self._is_current(link):
            self._control.node_version(link.node_id, version)

    def link_serving(self, link: WorkerLink) -> None:
        if self._is_current(link):
            slot = self._slots[link.node_id]
            slot.failure = None
            slot.policy.serving(self.now_ms())
            self._spawn_task(self._serves(slot, link))

    async def _serves(self, slot: WorkerSlot, link: WorkerLink) -> None:
        await self._control.submit(UnfenceNode(link.node_id, link.node_epoch))
        slot.served = True
        log.info("worker serves node=%d pid=%d", slot.node_id, slot.pid or -1)
        if all(other.served for other in self._slots.values()) and not self._all_serve.done():
            self._all_serve.set_result(None)

    def link_asks(self, link: WorkerLink, request_id: int, request: WorkerRequest) -> None:
        def answered(future: asyncio.Future[ControllerAnswer]) -> None:
            if not future.cancelled():
                link.answer(request_id, future.result())

        if isinstance(request, ShutDownNode) and self._stopping and not self._settings.host_id:
            # All nodes of this host go: none is left to take over.
            link.answer(request_id, ShutDownNodeAnswer(0))
            return
        # A leader waits for its ISR, a start for what it said; nobody else has to know it first.
        when_committed = isinstance(request, AlterIsr | ReportOffline)
        self._control.submit(request, when_committed=when_committed).add_done_callback(answered)

    def link_failed(self, link: WorkerLink, reason: str) -> None:
        if self._is_current(link):
            log.error("worker failed node=%d reason=%s", link.node_id, reason)
            self._slots[link.node_id].failure = reason

    def link_closed(self, link: WorkerLink, error: Exception | None) -> None:
        if self._is_current(link) and not self._stopping:
            if error is not None:
                log.error("control channel failed node=%d error=%s", link.node_id, error)
            # A worker without a channel stops by itself; one that hangs does not.
            loop = asyncio.get_running_loop()
            loop.call_later(CLOSED_CHANNEL_KILL_MS / 1000, self._kill_life, link)

    def _kill_life(self, link: WorkerLink) -> None:
        if self._is_current(link):
            log.error("worker does not stop node=%d", link.node_id)
            self._slots[link.node_id].kill()

    def process_exited(self, pid: int, status: int) -> None:
        for slot in self._slots.values():
            if slot.pid == pid and slot.exit_status is not None and not slot.exit_status.done():
                slot.exit_status.set_result(status)

    def zygote_lost(self) -> None:
        # Another zygote cannot be forked from a process with a loop and threads: a clean stop is
        # what is left.
        self._stop("the zygote died")

    def _is_current(self, link: WorkerLink) -> bool:
        return self._slots[link.node_id].link is link

    # --- what the controller's side tells (ControlOwner) ---

    def delta(self, version: int, records: list[ChangeRecord]) -> None:
        try:
            frame = encode_frame(Delta(version, tuple(records)))
        except ChannelError:
            # Longer than a frame may be: everybody gets the whole image in parts.
            self.replaced()
            return
        for slot in self._slots.values():
            if slot.link is not None:
                slot.link.send_delta(version, frame)

    def replaced(self) -> None:
        for slot in self._slots.values():
            if slot.link is not None:
                slot.link.fall_behind()
                slot.link.catch_up()

    def reports(self) -> tuple[NodeReport, ...]:
        return tuple(slot.report() for slot in self._slots.values())

    def control_failed(self, reason: str) -> None:
        self._stop(reason)

    def _spawn_task(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("supervisor failed", exc_info=error)
            self._stop(f"{type(error).__name__}: {error}")


def bootstrap_servers(slots: Iterable[WorkerSlot]) -> str:
    """The first listener of each node as a client on this machine reaches it."""
    return ",".join(
        host_and_port(reachable_host(slot.addresses[0].host), slot.addresses[0].port)
        for slot in slots
    )

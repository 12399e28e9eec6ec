"""One host of several: finds the controller of the cluster, or is it, and keeps the metadata.

Lives on the supervisor's loop; the coordination service is asked on threads of its own. One task
looks who has the seat, whenever that may have changed: it follows that host, or stands for the seat
when nobody has it. While the service cannot be reached, everything stays as it is: leaders go on,
and a controller keeps its seat until a commit says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from tidelog.clock import Clock
from tidelog.controller.requests import ControllerAnswer, ControllerRequest
from tidelog.errors import InvariantError
from tidelog.limits import (
    HOST_ALIVE_INTERVAL_MS,
    HOST_LOOK_INTERVAL_MS,
    HOST_RECONNECT_MS,
    HOST_SESSION_CHECK_MS,
)
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord
from tidelog.metastore.contract import DamagedStoreError, MetastoreError
from tidelog.metastore.ensemble import (
    Agreed,
    Ensemble,
    EnsembleError,
    HostEntry,
    Seat,
    SharedMetastore,
    View,
)
from tidelog.process.control import Control, ControlOwner
from tidelog.process.hosts.following import Following
from tidelog.process.hosts.leading import Leading
from tidelog.process.hosts.requests import Requests
from tidelog.process.messages import Delta, Snapshot
from tidelog.process.snapshots import SnapshotTaker

log: Final = logging.getLogger(__name__)

Result = TypeVar("Result")


class Place(NamedTuple):
    """Where a host has joined. sock: listening for the other hosts; imported: version and records
    of the metadata that the cluster begins with, if this host has brought it.
    """

    ensemble: Ensemble
    agreed: Agreed
    host: HostEntry
    sock: socket.socket
    imported: tuple[int, list[ChangeRecord]] | None = None


class HostCluster(Control):
    """See the module."""

    def __init__(
        self,
        place: Place,
        static: dict[str, str],
        session_timeout_ms: int,
        owner: ControlOwner,
        clock: Clock,
    ) -> None:
        self._place = place
        self._static = static
        self._session_timeout_ms = session_timeout_ms
        self._owner = owner
        self._clock = clock
        self._image = MetadataImage()
        self._has_image = asyncio.Event()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="ensemble")
        self._requests = Requests()
        self._leading: Leading | None = None
        self._following: Following | None = None
        self._taker = SnapshotTaker()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._unreachable = False
        self._end_told = ""
        self._reconnect_ms = HOST_RECONNECT_MS
        self._stands_from_ms = clock.monotonic_ms()

    # --- Control ---

    @property
    def image(self) -> MetadataImage:
        return self._image

    @property
    def leads(self) -> bool:
        return self._leading is not None and not self._leading.ended

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._place.ensemble.watch(lambda: _call_soon(loop, self._changed.set))
        for coroutine in (self._accept(), self._tick(), self._find_controller()):
            task = loop.create_task(coroutine)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)
        await self._has_image.wait()

    def submit(
        self, request: ControllerRequest, *, when_committed: bool = False
    ) -> asyncio.Future[ControllerAnswer]:
        return self._requests.submit(request, when_committed, self._clock.monotonic_ms())

    def node_version(self, node_id: int, version: int) -> None:
        if self._leading is not None:
            self._leading.node_version(node_id, version)
        elif self._following is not None:
            self._following.node_version(node_id, version)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._following is not None:
            self._following.give_up("this host stops")
        resigns = self._leading is not None
        await self._stop_leading()
        self._requests.close()
        self._place.sock.close()
        await self._in_thread(self._leave, resigns)
        self._threads.shutdown(wait=False)

    def _leave(self, resigns: bool) -> None:
        try:
            if resigns:
                self._place.ensemble.resign()
        except EnsembleError as error:
            log.warning("controller's seat not given up error=%s", error)
        finally:
            self._place.ensemble.close()

    # --- who has the seat ---

    async def _find_controller(self) -> None:
        while True:
            self._changed.clear()
            view = await self._view()
            if view is not None:
                wait_ms = await self._take_view(view)
            else:
                wait_ms = HOST_LOOK_INTERVAL_MS
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _view(self) -> View | None:
        try:
            view = await self._in_thread(self._place.ensemble.look)
        except EnsembleError as error:
            if not self._unreachable:
                self._unreachable = True
                log.warning("coordination service cannot be reached error=%s", error)
            return None
        if self._unreachable:
            self._unreachable = False
            log.warning("coordination service is reached again")
        return view

    async def _take_view(self, view: View) -> int:
        """Does what the view asks for; returns in how many ms to look again at the latest."""
        seat = view.seat
        if self._leading is not None:
            if not self._leading.ended and seat == self._leading.seat:
                if self._leading.is_cut_off:
                    return await self._give_seat_up()
                self._leading.there(view.hosts)
                return HOST_LOOK_INTERVAL_MS
            if not self._leading.ended:
                log.warning("controller's seat lost epoch=%d", self._leading.seat.epoch)
            await self._stop_leading()
        if seat is None or seat.host_id == self._place.host.host_id:
            if self._clock.monotonic_ms() < self._stands_from_ms:
                return HOST_RECONNECT_MS
            return await self._stand(view)
        if self._following is None:
            self._follow(seat)
            return HOST_LOOK_INTERVAL_MS
        if self._following.seat != seat:
            self._following.give_up("another host is the controller")
        return HOST_LOOK_INTERVAL_MS

    async def _stand(self, view: View) -> int:
        if self._following is not None:
            self._following.give_up("the controller has left")
        try:
            seat, store, image = await self._in_thread(self._take_seat)
        except (EnsembleError, MetastoreError) as error:
            log.warning("controller's seat not taken error=%s", error)
            if isinstance(error, DamagedStoreError):
                self._owner.control_failed(str(error))
            return HOST_RECONNECT_MS
        if store is None:
            self._changed.set()
            return HOST_LOOK_INTERVAL_MS if seat is not None else HOST_RECONNECT_MS
        assert seat is not None
        log.warning("host is the controller epoch=%d", seat.epoch)
        self._leading = Leading(
            seat,
            store,
            image,
            self._static,
            self._place.agreed.secret,
            self._session_timeout_ms,
            self._clock,
            self._published,
            self._changed.set,
        )
        self._take_image(image)
        for report in self._owner.reports():
            self._leading.node_version(report.node_id, report.applied)
        self._requests.route(self)
        self._leading.there(view.hosts)
        return HOST_LOOK_INTERVAL_MS

    async def _give_seat_up(self) -> int:
        """To a host that reaches the others; this one stands again when none has taken it."""
        assert self._leading is not None
        log.warning("controller does not reach the other hosts epoch=%d", self._leading.seat.epoch)
        await self._stop_leading()
        self._stands_from_ms = self._clock.monotonic_ms() + self._session_timeout_ms
        try:
            await self._in_thread(self._place.ensemble.resign)
        except EnsembleError as error:
            log.warning("controller's seat not given up error=%s", error)
        return HOST_RECONNECT_MS

    def _take_seat(self) -> tuple[Seat | None, SharedMetastore | None, MetadataImage]:
        """On a thread. Without a store: another host has the seat, or (seat None) has to be the
        first to have it, since it brings the metadata.
        """
        place = self._place
        seat = place.ensemble.stand()
        if seat.host_id != place.host.host_id:
            return seat, None, MetadataImage()
        store = place.ensemble.store(seat)
        version, records = store.load()
        if version == 0 and place.agreed.importer not in (None, place.host.host_id):
            place.ensemble.resign()
            return None, None, MetadataImage()
        if version == 0 and place.imported is not None:
            version, records = place.imported
            store.adopt(records, version)
            log.warning("metadata imported version=%d records=%d", version, len(records))
        try:
            image = MetadataImage.from_records(records, version)
        except InvariantError as error:
            raise DamagedStoreError(f"the cluster's metadata is damaged: {error}") from error
        return seat, store, image

    async def _stop_leading(self) -> None:
        leading, self._leading = self._leading, None
        if leading is not None:
            self._requests.route_lost(self._clock.monotonic_ms())
            await leading.close()

    # --- this host leads ---

    def ask(self, request_id: int, request: ControllerRequest, when_committed: bool) -> None:
        """The way to the controller in this process (`Route`)."""

        def answered(future: asyncio.Future[ControllerAnswer]) -> None:
            if not future.cancelled():
                self._requests.answer(request_id, future.result(), self._clock.monotonic_ms())

        assert self._leading is not None
        future = self._leading.submit(request, when_committed=when_committed)
        future.add_done_callback(answered)

    def _published(self, version: int, records: list[ChangeRecord]) -> None:
        if self._leading is not None:  # (else it is about to end, and the next one knows)
            self._image = self._leading.image
            self._owner.delta(version, records)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._place.sock)
            except OSError as error:
                log.warning("connection of a host not accepted error=%s", error)
                await asyncio.sleep(HOST_RECONNECT_MS / 1000)
                continue
            if self._leading is None:
                sock.close()  # it looks once more, and finds who it is
            else:
                await self._leading.accept(sock)

    # --- another host leads (FollowingOwner) ---

    @property
    def version(self) -> int:
        return self._image.version if self._has_image.is_set() else -1

    def _follow(self, seat: Seat) -> None:
        self._taker = SnapshotTaker()
        self._following = Following(
            seat, self._place.host.host_id, self._place.agreed.secret, self, self._clock
        )
        task = asyncio.get_running_loop().create_task(self._following.open())
        task.add_done_callback(self._task_ended)
        self._tasks = [one for one in self._tasks if not one.done()]
        self._tasks.append(task)

    def welcomed(self, link: Following) -> None:
        if link is self._following:
            log.info("host follows the controller epoch=%d", link.seat.epoch)
            self._end_told = ""
            self._reconnect_ms = HOST_RECONNECT_MS
            link.report(self._owner.reports())
            self._requests.route(link)

    def controller_sends(self, link: Following, message: Snapshot | Delta) -> None:
        if link is not self._following:
            return
        try:
            if isinstance(message, Snapshot):
                image = self._taker.take(message)
                if image is not None and image.version >= self.version:
                    self._take_image(image)
            elif message.version == self.version + 1:
                self._image = self._image.apply(message.records, message.version)
                self._owner.delta(message.version, list(message.records))
            elif message.version > self.version:
                link.give_up(f"version {message.version} comes after {self.version}")
        except InvariantError as error:
            self._owner.control_failed(f"metadata that contradicts itself: {error}")

    def controller_answers(
        self, link: Following, request_id: int, answer: ControllerAnswer
    ) -> None:
        if link is self._following:
            self._requests.answer(request_id, answer, self._clock.monotonic_ms())

    def link_ended(self, link: Following, reason: str) -> None:
        if link is self._following:
            self._following = None
            if reason != self._end_told:
                self._end_told = reason
                log.warning(
                    "link to the controller ended epoch=%d reason=%s", link.seat.epoch, reason
                )
            self._requests.route_lost(self._clock.monotonic_ms())
            loop = asyncio.get_running_loop()
            loop.call_later(self._reconnect_ms / 1000, self._changed.set)
            self._reconnect_ms = min(2 * self._reconnect_ms, HOST_LOOK_INTERVAL_MS)

    # --- both ---

    def _take_image(self, image: MetadataImage) -> None:
        """Another image than the next one."""
        if not self._has_image.is_set() or image.version != self._image.version:
            self._image = image
            self._has_image.set()
            self._owner.replaced()

    async def _tick(self) -> None:
        """Says that this host is alive, and looks whether others are."""
        reported_ms = 0
        while True:
            before_ms = self._clock.monotonic_ms()
            await asyncio.sleep(HOST_SESSION_CHECK_MS / 1000)
            now_ms = self._clock.monotonic_ms()
            late_ms = now_ms - before_ms - HOST_SESSION_CHECK_MS
            stood_still_ms = late_ms if late_ms > 2 * HOST_ALIVE_INTERVAL_MS else 0
            self._requests.give_up_old(now_ms)
            reports_now = now_ms - reported_ms >= HOST_ALIVE_INTERVAL_MS
            if reports_now:
                reported_ms = now_ms
            if self._leading is not None and not self._leading.ended:
                self._leading.look(stood_still_ms)
                if reports_now:
                    self._leading.take_reports(self._owner.reports())
            elif (link := self._following) is not None:
                if stood_still_ms:
                    link.heard_ms = now_ms
                if now_ms - link.heard_ms > self._session_timeout_ms:
                    link.give_up("the controller is silent")
                elif reports_now:
                    link.report(self._owner.reports())

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("cluster failed", exc_info=error)
            self._owner.control_failed(f"{type(error).__name__}: {error}")


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """From any thread; without effect when the loop has ended."""
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        return

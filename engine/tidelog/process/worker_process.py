"""A worker's life as a process: control channel, metadata, heartbeats, start and stop. What it
serves is the node's.

Runs in a process forked by the zygote, on one uvloop loop. Deltas are applied in order by one
task; those that wait together are applied together. The image that the rest of the worker sees
moves on only after the node has applied it: a client never hears of a topic before its leader here
serves.

It stops when it is told to, on SIGTERM, and when its control channel ends (the supervisor is
gone). A worker whose node fails by a bug (InvariantError, or anything unforeseen) dies at once
with a status that is not 0: recovery is safer than carrying on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import uvloop

from tidelog.clock import Clock, SystemClock
from tidelog.errors import InvariantError, StorageError
from tidelog.limits import STOP_GRACE_MS
from tidelog.metadata.image import MetadataImage
from tidelog.process.channel import ControlChannel
from tidelog.process.controller_channel import ControllerChannel
from tidelog.process.log_lines import set_up_logging
from tidelog.process.messages import (
    Answer,
    Applied,
    Configure,
    Delta,
    Failed,
    FromWorker,
    Heartbeat,
    Hello,
    Poll,
    Polled,
    Ready,
    Serve,
    Serving,
    Snapshot,
    SnapshotWanted,
    Stop,
    ToWorker,
)
from tidelog.process.metrics.samples import NodeState, Samples
from tidelog.process.snapshots import SnapshotTaker
from tidelog.process.zygote import EXIT_INTERNAL_ERROR

log: Final = logging.getLogger(__name__)

EXIT_CLEAN: Final = 0
#: Something outside the worker kept it from starting or going on (its disk, its directory).
EXIT_FAILED: Final = 3


class Node(Protocol):
    """What a worker serves. All on the worker's loop."""

    async def start(self, image: MetadataImage) -> None:
        """Loads the logs and applies the image. Raises StorageError when the node's disk does not
        allow it.
        """
        ...

    async def apply(self, old: MetadataImage, new: MetadataImage) -> None:
        """Follows the metadata; returns when what the node leads by `new` serves."""
        ...

    def serve(self) -> None:
        """Accepts connections from now on."""
        ...

    async def hand_over(self) -> None:
        """Has others lead what it leads, as far as they can, before it stops."""
        ...

    async def stop(self, grace_ms: int) -> None:
        """Stops cleanly: answers what is in work for at most that long, then closes the logs with
        checkpoints.
        """
        ...

    def logs_not_served(self) -> tuple[int, int]:
        """How many logs are being opened, and how many failed."""
        ...

    async def samples(self) -> Samples:
        """Its values for the metrics."""
        ...


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """What a node is built from. `listeners`: names of the sockets, in their order."""

    node_id: int
    node_epoch: int
    cluster_id: str
    directories: tuple[Path, ...]
    static: dict[str, str]
    listeners: tuple[tuple[str, socket.socket], ...]
    metadata: MetadataHolder
    controller: ControllerChannel
    clock: Clock
    metrics: bool = False


class MetadataHolder:
    """The image that the worker works with at the moment."""

    def __init__(self) -> None:
        self.image = MetadataImage()


BuildNode = Callable[[NodeSetup], Node]


class WorkerProcess:
    """See the module."""

    def __init__(
        self, control: socket.socket, listening: list[socket.socket], build_node: BuildNode
    ) -> None:
        self._control = control
        self._listening = listening
        self._build_node = build_node
        self._clock = SystemClock()
        self._metadata = MetadataHolder()
        self._newest = MetadataImage()
        self._snapshot = SnapshotTaker()
        self._orphaned = False  # without a supervisor, and so without a controller
        self._configured: asyncio.Future[Configure] = _future()
        self._first_image: asyncio.Future[None] = _future()
        self._stop_asked: asyncio.Future[int] = _future()
        self._serve_asked: asyncio.Future[None] = _future()
        self._changed = asyncio.Event()
        self._controller = ControllerChannel(self._send)
        self._channel: ControlChannel[ToWorker] | None = None
        self._node: Node | None = None
        self._serving = False
        self._polls: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """The whole life; returns the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ask_to_stop, STOP_GRACE_MS)
        self._channel = await ControlChannel.open(
            self._control, ToWorker, self._received, self._closed
        )
        self._send(Hello(os.getpid()))
        live = loop.create_task(self._live())
        await asyncio.wait((live, self._stop_asked), return_when=asyncio.FIRST_COMPLETED)
        if not live.done():
            live.cancel()
        try:
            # What `_live` raises (a bug) goes through and ends the process.
            return await live
        except asyncio.CancelledError:
            return EXIT_CLEAN
        finally:
            self._controller.close()

    async def _live(self) -> int:
        """Start, serve until cancelled, stop cleanly."""
        configure = await self._configured
        await self._first_image
        beat = asyncio.ensure_future(self._beat(configure.heartbeat_interval_ms))
        try:
            node = self._node = self._build_node(self._setup(configure))
            await self._serve(node)
        except (StorageError, OSError) as error:
            self._send(Failed(_one_line(error)))
            log.error("worker cannot go on error=%s", error)
            return EXIT_FAILED
        finally:
            beat.cancel()
        return EXIT_CLEAN

    async def _serve(self, node: Node) -> None:
        """The node's life; when cancelled, it stops cleanly before the cancellation goes on."""
        try:
            await node.start(self._newest_image())
            self._send(Ready(self._metadata.image.version))
            follow = asyncio.ensure_future(self._follow(node))
            try:
                await asyncio.wait((follow, self._serve_asked), return_when=asyncio.FIRST_COMPLETED)
                if not follow.done():
                    node.serve()
                    self._serving = True
                    self._send(Serving())
                # (Not awaited itself: it goes on when this is cancelled.)
                await asyncio.wait({follow})
                follow.result()
            except asyncio.CancelledError:
                # While it still follows the metadata: it has to see that others lead by now.
                if self._serving and not self._orphaned:
                    await node.hand_over()
                raise
            finally:
                await _cancelled(follow)
        except asyncio.CancelledError:
            grace_ms = self._stop_asked.result() if self._stop_asked.done() else 0
            log.info("worker stops grace_ms=%d", grace_ms)
            await node.stop(grace_ms)
            raise

    async def _follow(self, node: Node) -> None:
        """Applies what the supervisor has sent, as it comes."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            old, new = self._metadata.image, self._newest
            if new is old:
                continue
            await node.apply(old, new)
            self._metadata.image = new
            self._send(Applied(new.version))

    def _newest_image(self) -> MetadataImage:
        """The newest image, which is taken as the one that the worker starts with."""
        self._metadata.image = self._newest
        return self._newest

    def _setup(self, configure: Configure) -> NodeSetup:
        return NodeSetup(
            configure.node_id,
            configure.node_epoch,
            configure.cluster_id,
            tuple(map(Path, configure.directories)),
            configure.static,
            tuple(zip(configure.listeners, self._listening, strict=True)),
            self._metadata,
            self._controller,
            self._clock,
            configure.metrics,
        )

    async def _beat(self, interval_ms: int) -> None:
        while True:
            self._send(Heartbeat())
            await asyncio.sleep(interval_ms / 1000)

    # --- control channel ---

    def _send(self, message: FromWorker) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _received(self, message: ToWorker) -> None:
        match message:
            case Delta():
                self._take_delta(message)
            case Answer():
                self._controller.answered(message)
            case Snapshot():
                self._take_snapshot(message)
            case Configure():
                set_up_logging(f"node={message.node_id}", message.log_level)
                _settle(self._configured, message)
            case Serve():
                _settle(self._serve_asked, None)
            case Stop(grace_ms):
                self._ask_to_stop(grace_ms)
            case Poll(full):
                task = asyncio.get_running_loop().create_task(self._answer_poll(full))
                self._polls.add(task)
                task.add_done_callback(self._polls.discard)

    async def _answer_poll(self, full: bool) -> None:
        """Without a node there is only the state."""
        node, samples = self._node, None
        opening, offline = (0, 0) if node is None else node.logs_not_served()
        if full and node is not None:
            try:
                samples = await node.samples()
            except Exception as error:  # a bug, and no reason to leave the question unanswered
                log.error("metrics not collected", exc_info=error)
        version = self._metadata.image.version if self._serving else -1
        state = NodeState(self._serving, version, opening, offline)
        self._send(Polled(full, state, samples))

    def _take_delta(self, delta: Delta) -> None:
        if delta.version <= self._newest.version:
            # The snapshot that came before has it already.
            return
        if delta.version != self._newest.version + 1:
            self._send(SnapshotWanted())
            return
        self._newest = self._newest.apply(delta.records, delta.version)
        self._changed.set()

    def _take_snapshot(self, part: Snapshot) -> None:
        image = self._snapshot.take(part)
        if image is None:
            return
        if image.version >= self._newest.version:
            self._newest = image
            self._changed.set()
        _settle(self._first_image, None)

    def _closed(self, error: Exception | None) -> None:
        if not self._stop_asked.done():
            log.warning("control channel ended error=%s", error)
        # The supervisor is gone; answers in work would reach their clients, but not wait for
        # others.
        self._orphaned = True
        self._controller.close()
        self._ask_to_stop(STOP_GRACE_MS)

    def _ask_to_stop(self, grace_ms: int) -> None:
        _settle(self._stop_asked, grace_ms)


def _future() -> asyncio.Future:  # type: ignore[type-arg]  # typed where it is assigned
    return asyncio.get_running_loop().create_future()


def _settle(future: asyncio.Future, result: object) -> None:  # type: ignore[type-arg]  # of any type
    if not future.done():
        future.set_result(result)


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancels the task and lets it end."""
    task.cancel()
    await asyncio.wait({task})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _loop_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a callback or a forgotten task let through: logged, and the end of the worker if it is
    our own bug.
    """
    error = context.get("exception")
    log.error("loop failed what=%s", context.get("message"), exc_info=error)
    if isinstance(error, InvariantError):
        os._exit(EXIT_INTERNAL_ERROR)


def run_worker(
    control: socket.socket, listening: list[socket.socket], build_node: BuildNode
) -> int:
    """Runs a worker in this process until it ends; returns its exit status."""

    async def main() -> int:
        asyncio.get_running_loop().set_exception_handler(_loop_failed)
        return await WorkerProcess(control, listening, build_node).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())

"""The supervisor's side of one worker: its channel, what it has applied, whether it is alive.

Runs on the supervisor's loop. It moves messages and remembers; what follows from them is the
supervisor's business, which it tells through `LinkOwner`. Its time is the owner's clock.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from tidelog.controller.requests import ControllerAnswer, WorkerRequest
from tidelog.limits import CONTROL_QUEUE_BYTES_MAX, CONTROL_REQUESTS_MAX
from tidelog.metadata.image import MetadataImage
from tidelog.process.channel import ControlChannel
from tidelog.process.messages import (
    Answer,
    Applied,
    Ask,
    Configure,
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
)
from tidelog.process.snapshots import snapshot_frames


class LinkOwner(Protocol):
    """What the supervisor does about what a link learns. Each call names the link, so that late
    news of an earlier life can be told apart.
    """

    @property
    def image(self) -> MetadataImage: ...

    def now_ms(self) -> int: ...

    def link_ready(self, link: WorkerLink, version: int) -> None: ...

    def link_applied(self, link: WorkerLink, version: int) -> None: ...

    def link_serving(self, link: WorkerLink) -> None: ...

    def link_asks(self, link: WorkerLink, request_id: int, request: WorkerRequest) -> None: ...

    def link_failed(self, link: WorkerLink, reason: str) -> None: ...

    def link_closed(self, link: WorkerLink, error: Exception | None) -> None: ...


class WorkerLink:
    """One life of one worker."""

    def __init__(self, node_id: int, owner: LinkOwner) -> None:
        self.node_id = node_id
        self.node_epoch = -1
        self.pid: int | None = None
        self.heard_ms = owner.now_ms()
        self.said_hello = False
        self.serve_from: int | None = None
        self.is_ready = False
        self.serving = False
        self._owner = owner
        self._channel: ControlChannel[FromWorker] | None = None
        self._following = False
        self._applied = -1
        self._asking = 0
        self._polls: dict[bool, asyncio.Future[Polled]] = {}

    @property
    def version(self) -> int:
        """Version of the metadata that has taken effect on the worker; -1 before it is ready."""
        return self._applied if self.is_ready else -1

    async def open(self, sock: socket.socket) -> None:
        """Takes over the supervisor's end of the control socket."""
        self._channel = await ControlChannel.open(
            sock, FromWorker, self._received, lambda error: self._owner.link_closed(self, error)
        )

    def configure(self, configure: Configure) -> None:
        """Tells the worker who it is, then everything that is decided; from now on it follows the
        deltas.
        """
        self.node_epoch = configure.node_epoch
        self._send(configure)
        self.send_snapshot()

    def send_delta(self, version: int, frame: bytes) -> None:
        """Passes a delta on. A worker that takes nothing for too long gets a snapshot later
        instead.
        """
        if not self._following or self._channel is None:
            return
        if self._channel.queued_bytes > CONTROL_QUEUE_BYTES_MAX:
            self.fall_behind()
            return
        self._channel.send_frame(frame)

    def send_snapshot(self) -> None:
        """Sends the present image whole."""
        for part in snapshot_frames(self._owner.image):
            self._send(part)
        self._following = True

    def fall_behind(self) -> None:
        """A delta is not sent: a snapshot follows in its place."""
        self._following = False

    def catch_up(self) -> None:
        """Sends a snapshot to a worker that fell behind, once it takes again what it is sent."""
        if self.node_epoch < 0 or self._following or self._channel is None:
            return
        if self._channel.queued_bytes == 0:
            self.send_snapshot()

    def answer(self, request_id: int, answer: ControllerAnswer) -> None:
        self._asking -= 1
        self._send(Answer(request_id, answer))  # type: ignore[arg-type]  # the machine answers with AnyAnswer

    def poll(self, full: bool) -> asyncio.Future[Polled]:
        """Asks for its values, unless it was asked already; cancelled when the worker goes."""
        asked = self._polls.get(full)
        if asked is None:
            asked = self._polls[full] = asyncio.get_running_loop().create_future()
            self._send(Poll(full))
        return asked

    def stop(self, grace_ms: int) -> None:
        self._send(Stop(grace_ms))

    def close(self) -> None:
        """Gives the channel up at once; a worker that still runs takes it as the order to stop."""
        if self._channel is not None:
            self._channel.abort()
            self._channel = None
        for asked in self._polls.values():
            asked.cancel()
        self._polls.clear()

    def _send(self, message: Configure | Snapshot | Answer | Serve | Stop | Poll) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _received(self, message: FromWorker) -> None:
        self.heard_ms = self._owner.now_ms()
        match message:
            case Heartbeat():
                self.catch_up()
            case Applied(version):
                self._applied = version
                if self.is_ready:
                    self._owner.link_applied(self, version)
                self._serve_if_current()
            case Ask(request_id, request):
                self._ask(request_id, request)
            case Hello():
                self.said_hello = True
            case Polled(full):
                asked = self._polls.pop(full, None)
                if asked is not None and not asked.done():
                    asked.set_result(message)
            case Ready(version):
                self._applied = version
                self.is_ready = True
                self.serve_from = self._owner.image.version
                self._owner.link_ready(self, version)
                self._serve_if_current()
            case Serving():
                self.serving = True
                self._owner.link_serving(self)
            case SnapshotWanted():
                self.send_snapshot()
            case Failed(reason):
                self._owner.link_failed(self, reason)

    def _serve_if_current(self) -> None:
        """A worker serves when it has applied what was decided before it was ready: answers given
        before then counted on it. What is decided afterwards waits for it.
        """
        if self.serve_from is not None and self._applied >= self.serve_from:
            self.serve_from = None
            self._send(Serve())

    def _ask(self, request_id: int, request: WorkerRequest) -> None:
        self._asking += 1
        if self._asking > CONTROL_REQUESTS_MAX:
            # The worker keeps to the limit itself; one that doesn't is broken.
            self.close()
            self._owner.link_closed(self, None)
            return
        self._owner.link_asks(self, request_id, request)

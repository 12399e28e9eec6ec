"""The endpoint of metrics and health: GET /metrics, /health, /ready over HTTP.

Runs on the supervisor's loop. It asks the workers over their control channels when somebody asks
it, waits for them a limited time, and has the text made on a thread of its own: neither the
supervisor's loop nor a worker stands still for a scrape. Scrapes that come together share one.

Whoever asks is no Kafka client and may be anybody: connections, sizes and times are limited, each
connection gets one answer. HTTP is read by h11.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import h11

from tidelog.limits import (
    METRICS_ANSWER_TIMEOUT_MS,
    METRICS_CONNECTIONS_MAX,
    METRICS_NODE_TIMEOUT_MS,
    METRICS_REQUEST_BYTES_MAX,
    METRICS_REQUEST_TIMEOUT_MS,
)
from tidelog.metadata.image import MetadataImage
from tidelog.process.messages import Polled
from tidelog.process.metrics.exposition import SUPERVISOR, HostView, NodeView, render
from tidelog.process.metrics.health import readiness
from tidelog.process.metrics.loop_lag import LoopLag
from tidelog.process.metrics.samples import Buckets
from tidelog.process.worker_slot import WorkerSlot

log: Final = logging.getLogger(__name__)

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
Answer = tuple[int, str, bytes]


class MetricsEndpoint:
    """Serves on a listening socket, which it takes over. `image()` is the controller's."""

    def __init__(
        self,
        sock: socket.socket,
        slots: Mapping[int, WorkerSlot],
        image: Callable[[], MetadataImage],
    ) -> None:
        self._sock = sock
        self._slots = slots
        self._image = image
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._collecting: dict[bool, asyncio.Task[HostView]] = {}
        self._lag = LoopLag(asyncio.get_running_loop())

    async def start(self) -> None:
        """Answers from now on."""
        self._lag.start()
        self._server = await asyncio.start_server(
            self._accept, sock=self._sock, limit=METRICS_REQUEST_BYTES_MAX
        )

    async def close(self) -> None:
        """Ends every connection."""
        self._lag.stop()
        if self._server is not None:
            self._server.close()
        for task in [*self._tasks, *self._collecting.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._collecting.values(), return_exceptions=True)
        self._executor.shutdown(wait=False)

    # --- connections ---

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= METRICS_CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=METRICS_REQUEST_BYTES_MAX)
        try:
            async with asyncio.timeout(METRICS_REQUEST_TIMEOUT_MS / 1000):
                request = await _request(connection, reader)
            if request is None:
                return
            is_head = False
            if isinstance(request, h11.RemoteProtocolError):
                status, content_type, body = 400, TEXT, f"{request}\n".encode()
            else:
                is_head = request.method == b"HEAD"
                status, content_type, body = await self._answer(request)
            headers = [
                ("content-type", content_type),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            head = connection.send(h11.Response(status_code=status, headers=headers)) or b""
            writer.write(head + (b"" if is_head else body))
            async with asyncio.timeout(METRICS_ANSWER_TIMEOUT_MS / 1000):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            return  # the peer's business
        finally:
            writer.transport.abort()

    async def _answer(self, request: h11.Request) -> Answer:
        path = request.target.decode("ascii", "replace").partition("?")[0]
        if path not in ("/metrics", "/health", "/ready"):
            return 404, TEXT, b"there are /metrics, /health and /ready\n"
        if request.method not in (b"GET", b"HEAD"):
            return 405, TEXT, b"GET or HEAD is expected\n"
        if path == "/health":
            return 200, JSON, _json({"status": "ok", "pid": os.getpid()})
        try:
            if path == "/ready":
                ready, told = readiness(await self.view(full=False))
                return 200 if ready else 503, JSON, _json(told)
            accept = dict(request.headers).get(b"accept", b"").decode("latin-1")
            view = await self.view(full=True)
            loop = asyncio.get_running_loop()
            text, content_type = await loop.run_in_executor(self._executor, render, view, accept)
            return 200, content_type, text
        except Exception as error:
            log.error("metrics failed path=%s", path, exc_info=error)
            return 500, TEXT, b"internal error\n"

    # --- what is asked of the workers ---

    async def view(self, *, full: bool) -> HostView:
        """All nodes as they are now; with `full` with their samples."""
        task = self._collecting.get(full)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._collect(full))
            self._collecting[full] = task
            task.add_done_callback(lambda _: self._collecting.pop(full, None))
        return await asyncio.shield(task)

    async def _collect(self, full: bool) -> HostView:
        # Before they are asked: what is decided meanwhile they need not have applied.
        image = self._image()
        asked = {
            node_id: slot.link.poll(full)
            for node_id, slot in self._slots.items()
            if slot.link is not None
        }
        if asked:
            await asyncio.wait(asked.values(), timeout=METRICS_NODE_TIMEOUT_MS / 1000)
        nodes = [_view(slot, asked.get(node_id)) for node_id, slot in self._slots.items()]
        return HostView(
            image, nodes, os.getpid(), Buckets((SUPERVISOR,), *self._lag.durations.snapshot())
        )


def _view(slot: WorkerSlot, asked: asyncio.Future[Polled] | None) -> NodeView:
    if asked is None or not asked.done() or asked.cancelled():
        return NodeView(slot.node_id, slot.pid, slot.deaths)
    told = asked.result()
    return NodeView(slot.node_id, slot.pid, slot.deaths, told.state, told.samples)


async def _request(
    connection: h11.Connection, reader: asyncio.StreamReader
) -> h11.Request | h11.RemoteProtocolError | None:
    """The head of a request, or what is wrong with it; None when the peer sent none, or more than
    is read.
    """
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            connection.receive_data(await reader.read(METRICS_REQUEST_BYTES_MAX))
    except h11.RemoteProtocolError as error:
        return error if error.error_status_hint == 400 else None


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"

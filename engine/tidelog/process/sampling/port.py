"""The local socket at which a worker takes orders for samples.

On the worker's loop. It is a name in Linux's abstract namespace (`cpu_samples.socket_name`): the
cluster's id and the node's id, which every client can learn, are all that one has to know. No
network reaches it, and the kernel says who has connected: only the worker's own user and root are
answered. Connections, sizes and times are limited; a connection gets one answer.

A socket that cannot be had (somebody has the name) costs a line in the log and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from tidelog.cpu_samples import LENGTH, Answer, Order, Refused, decode_order, encode, socket_name
from tidelog.limits import (
    SAMPLING_ANSWER_BYTES_MAX,
    SAMPLING_ANSWER_TIMEOUT_MS,
    SAMPLING_CONNECTIONS_MAX,
    SAMPLING_ORDER_BYTES_MAX,
    SAMPLING_ORDER_TIMEOUT_MS,
)

log: Final = logging.getLogger(__name__)

Sample = Callable[[Order, asyncio.Event], Awaitable[Answer]]

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


class SamplingPort:
    """Listens from `open` to `close`; `sample` carries an order out until its event is set."""

    def __init__(self, cluster_id: str, node_id: int, sample: Sample) -> None:
        self._name = socket_name(cluster_id, node_id)
        self._sample = sample
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Takes orders from now on."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(self._name)
            self._server = await asyncio.start_unix_server(
                self._accept, sock=sock, limit=SAMPLING_ORDER_BYTES_MAX + LENGTH.size
            )
        except OSError as error:
            sock.close()
            log.warning("no samples can be asked for error=%s", error)

    async def close(self) -> None:
        """Ends every connection, and with it the run that was ordered by it."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        if len(self._tasks) >= SAMPLING_CONNECTIONS_MAX or not may_ask(_uid_of(sock)):
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SAMPLING_ORDER_TIMEOUT_MS / 1000):
                order = await _order(reader)
            answer = order if isinstance(order, Refused) else await self._until_gone(order, reader)
            if answer is None:
                return
            frame = await asyncio.to_thread(encode, answer)
            if len(frame) > SAMPLING_ANSWER_BYTES_MAX:
                frame = encode(Refused("what was found is too long to be told"))
            writer.write(frame)
            async with asyncio.timeout(SAMPLING_ANSWER_TIMEOUT_MS / 1000):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, EOFError):
            return  # the peer's business
        finally:
            writer.transport.abort()

    async def _until_gone(self, order: Order, reader: asyncio.StreamReader) -> Answer | None:
        """The answer, or None when the peer goes before it is there: nobody wants it any more."""
        enough = asyncio.Event()
        run = asyncio.ensure_future(self._sample(order, enough))
        gone = asyncio.ensure_future(_gone(reader, enough))
        try:
            await asyncio.wait((run, gone), return_when=asyncio.FIRST_COMPLETED)
            return run.result() if run.done() else None
        finally:
            gone.cancel()
            run.cancel()
            await asyncio.wait((run, gone))


async def _gone(reader: asyncio.StreamReader, enough: asyncio.Event) -> None:
    """Returns when the peer has gone; what it says before is that it is enough."""
    with contextlib.suppress(OSError):
        while await reader.read(1):
            enough.set()


async def _order(reader: asyncio.StreamReader) -> Order | Refused:
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if size > SAMPLING_ORDER_BYTES_MAX:
        return Refused(f"an order of {size} bytes")
    try:
        return decode_order(await reader.readexactly(size))
    except msgspec.MsgspecError as error:
        return Refused(f"it is no order: {error}")


def may_ask(uid: int) -> bool:
    """Whoever runs the worker, and root."""
    return uid in (0, os.geteuid())


def _uid_of(sock: socket.socket) -> int:
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])

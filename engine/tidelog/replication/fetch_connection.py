"""A follower's connection to a leader: a raw non-blocking socket under the loop's readers.

Belongs to one Fetcher, on the worker's loop task. Bytes go into the receive buffer of the native
ReplicaFetch and nowhere else; this module never looks into them, and never connects again: at its
first error the connection has ended.

TLS comes in at one place: `_receive` is what fills the buffer (an SSLObject reads into
`ReplicaFetch.room()`), `_write` what sends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Self

from tidelog._native.replica_fetch import RECEIVED_ANSWER, RECEIVED_END, ReplicaFetch
from tidelog.errors import PeerError
from tidelog.limits import REPLICA_CONNECT_TIMEOUT_MS

#: How often in the time that an answer may take it is looked whether there is any progress.
_LOOKS: Final = 4


class FetchConnection:
    """Calls `on_answer` for each answer that is complete, which takes it from `exchange`.

    `ended` becomes the reason when the connection has ended, whoever ended it; `was_silent`: since
    nothing moved for `timeout_ms` though an answer was owed. A PeerError of `on_answer` ends it;
    any other exception does, and goes on to the loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connected: socket.socket,
        exchange: ReplicaFetch,
        on_answer: Callable[[], object],
        timeout_ms: int,
    ) -> None:
        self.ended: asyncio.Future[str] = loop.create_future()
        self.was_silent = False
        self._loop = loop
        self._socket = connected
        self._fd = connected.fileno()
        self._exchange = exchange
        self._on_answer = on_answer
        self._timeout_s = timeout_ms / 1000
        self._unsent = b""
        self._progress = (exchange.sent, exchange.bytes_received)
        self._progress_at = loop.time()
        loop.add_reader(self._fd, self._readable)
        self._timer = loop.call_later(self._timeout_s / _LOOKS, self._look)

    @classmethod
    async def open(
        cls,
        address: tuple[str, int],
        exchange: ReplicaFetch,
        on_answer: Callable[[], object],
        timeout_ms: int,
        receive_buffer_bytes: int = -1,
    ) -> Self:
        """Connects. Raises OSError (TimeoutError too)."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(min(timeout_ms, REPLICA_CONNECT_TIMEOUT_MS) / 1000):
            connected = await _connect(loop, address, receive_buffer_bytes)
        exchange.reset()
        return cls(loop, connected, exchange, on_answer, timeout_ms)

    def send(self, frame: bytes) -> None:
        """Send a request; what the socket does not take at once follows."""
        if self.ended.done():
            return
        if self._unsent:
            self._unsent += frame
            return
        rest = self._write(frame)
        if rest:
            self._unsent = rest
            self._loop.add_writer(self._fd, self._writable)

    def close(self, reason: str) -> None:
        """End it."""
        if self.ended.done():
            return
        self._timer.cancel()
        self._loop.remove_reader(self._fd)
        if self._unsent:
            self._loop.remove_writer(self._fd)
        self._socket.close()
        self.ended.set_result(reason)

    def _receive(self) -> int:
        return self._exchange.receive(self._fd)

    def _write(self, data: bytes) -> bytes:
        """Returns what the socket does not take now."""
        try:
            return data[self._socket.send(data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError as error:
            self.close(f"cannot send: {error}")
            return b""

    def _writable(self) -> None:
        rest = self._write(self._unsent)
        if not rest and not self.ended.done():
            self._loop.remove_writer(self._fd)
        self._unsent = rest

    def _readable(self) -> None:
        try:
            outcome = self._receive()
            while outcome == RECEIVED_ANSWER and not self.ended.done():
                self._on_answer()
                if self.ended.done() or not self._exchange.is_complete:
                    return
        except (OSError, PeerError) as error:
            self.close(str(error))
            return
        except BaseException:
            self.close("failed here")
            raise
        if outcome == RECEIVED_END:
            self.close("closed by the leader")

    def _look(self) -> None:
        """Ends a connection on which an answer is awaited, and nothing moves."""
        now, exchange = self._loop.time(), self._exchange
        progress = (exchange.sent, exchange.bytes_received)
        if progress != self._progress or exchange.sent == exchange.answered:
            self._progress, self._progress_at = progress, now
        elif now - self._progress_at >= self._timeout_s:
            self.was_silent = True
            self.close(f"no answer in {self._timeout_s} s")
            return
        self._timer = self._loop.call_later(self._timeout_s / _LOOKS, self._look)


async def _connect(
    loop: asyncio.AbstractEventLoop, address: tuple[str, int], receive_buffer_bytes: int
) -> socket.socket:
    host, port = address
    failure: OSError | None = None
    for family, kind, protocol, _, place in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.setblocking(False)
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_buffer_bytes > 0:
                connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            await loop.sock_connect(connecting, place)
        except OSError as error:
            connecting.close()
            failure = error
        except BaseException:
            connecting.close()
            raise
        else:
            return connecting
    raise failure or OSError(f"{host} has no address")

"""Requests from this node to other nodes of the cluster, by Kafka's own protocol.

One connection per node, made when it is first needed; requests on it are pipelined, and answered in
order. Belongs to the worker's loop task; used by coordinators (markers, verification) and by the
transaction gate. A request to this node itself takes the short way to its handlers, if there is
one. It never tries again: whoever asks knows what a repetition means.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from struct import Struct as Packed
from typing import Final

from tidelog.errors import MalformedMessageError, TidelogError
from tidelog.limits import PEER_REQUESTS_MAX, PEER_RESPONSE_BYTES_MAX
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.protocol.schema import Request, Response

log: Final = logging.getLogger(__name__)

_SIZE: Final = Packed(">i")

#: Answers a request of this node to itself: (request, version) -> response.
LocalAnswer = Callable[[Request, int], Awaitable[Response]]


class PeerUnavailableError(TidelogError):
    """The node could not be reached, or did not answer in time. Whether it has done what it was
    asked is not known.
    """


class PeerClient:
    """One per worker. `image()`: where the nodes are. Close it."""

    def __init__(
        self,
        node_id: int,
        image: Callable[[], MetadataImage],
        timeout_ms: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.node_id = node_id
        self.local: LocalAnswer | None = None
        self._image = image
        self._timeout_s = timeout_ms / 1000
        self._tls = tls
        self._connections: dict[int, _Connection] = {}
        self._closed = False

    async def request(self, node_id: int, request: Request, api_version: int) -> Response:
        """The node's answer. Raises PeerUnavailableError."""
        if self._closed:
            raise PeerUnavailableError("this node stops")
        if node_id == self.node_id and self.local is not None:
            return await self.local(request, api_version)
        node = self._image().nodes.get(node_id)
        if node is None or node.fenced:
            raise PeerUnavailableError(f"node {node_id} does not live")
        address = (node.internode_host, node.internode_port)
        connection = self._connections.get(node_id)
        if connection is None or connection.address != address or connection.is_broken:
            if connection is not None:
                connection.fail(PeerUnavailableError(f"node {node_id} moved"))
            connection = _Connection(f"tidelog-node-{self.node_id}", address, self._tls)
            self._connections[node_id] = connection
        try:
            async with asyncio.timeout(self._timeout_s):
                return await connection.request(request, api_version)
        except TimeoutError:
            # What follows on the connection is the answer to this request: it is of no use more.
            error = PeerUnavailableError(f"node {node_id} did not answer in {self._timeout_s} s")
            connection.fail(error)
            raise error from None
        except OSError as error:
            unreachable = PeerUnavailableError(f"node {node_id} cannot be reached: {error}")
            connection.fail(unreachable)
            raise unreachable from error

    async def close(self) -> None:
        """Fails what waits for an answer."""
        self._closed = True
        for connection in self._connections.values():
            connection.fail(PeerUnavailableError("this node stops"))
        await asyncio.gather(*(one.ended() for one in self._connections.values()))


class _Connection:
    """One node's. Broken for good at its first error."""

    def __init__(
        self, client_id: str, address: tuple[str, int], tls: ssl.SSLContext | None
    ) -> None:
        self.address = address
        self.is_broken = False
        self._client_id = client_id
        self._tls = tls
        self._next_id = 0
        self._waiting: deque[tuple[int, Request, int, asyncio.Future[Response]]] = deque()
        self._slots = asyncio.Semaphore(PEER_REQUESTS_MAX)
        self._opening = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def request(self, request: Request, api_version: int) -> Response:
        """Raises PeerUnavailableError, OSError."""
        async with self._slots:
            writer = await self._open()
            self._next_id = (self._next_id + 1) & 0x7FFFFFFF
            answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            self._waiting.append((self._next_id, request, api_version, answer))
            writer.write(encode_request_frame(request, api_version, self._next_id, self._client_id))
            try:
                return await answer
            finally:
                if answer.done() and not answer.cancelled():
                    answer.exception()

    async def _open(self) -> asyncio.StreamWriter:
        async with self._opening:
            if self.is_broken:
                raise PeerUnavailableError("the connection has ended")
            if self._writer is None:
                reader, self._writer = await asyncio.open_connection(*self.address, ssl=self._tls)
                self._reading = asyncio.get_running_loop().create_task(self._read(reader))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
                if not 0 <= size <= PEER_RESPONSE_BYTES_MAX:
                    raise MalformedMessageError(f"an answer of {size} bytes")
                self._take(await reader.readexactly(size))
        except (OSError, asyncio.IncompleteReadError, TidelogError) as error:
            if self._waiting:
                log.warning("peer connection ended address=%s:%d error=%s", *self.address, error)
            self.fail(PeerUnavailableError(f"the connection has ended: {error}"))

    def _take(self, frame: bytes) -> None:
        if not self._waiting:
            raise MalformedMessageError("an answer that nobody waits for")
        expected, request, version, answer = self._waiting[0]
        correlation_id, response = decode_response(request.API, version, frame)
        if correlation_id != expected:
            raise MalformedMessageError(f"answer {correlation_id} where {expected} was expected")
        self._waiting.popleft()
        if not answer.done():
            answer.set_result(response)

    def fail(self, error: PeerUnavailableError) -> None:
        """Ends the connection; everybody who waits gets the error."""
        self.is_broken = True
        waiting, self._waiting = self._waiting, deque()
        for _, _, _, answer in waiting:
            if not answer.done():
                answer.set_exception(error)
        if self._writer is not None:
            self._writer.close()

    async def ended(self) -> None:
        """Returns when the reader has ended."""
        if self._reading is not None:
            await asyncio.wait({self._reading})

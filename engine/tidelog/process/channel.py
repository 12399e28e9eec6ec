"""One end of a control channel: frames of MessagePack over a stream socket, typed in both
directions.

Used on the loops of supervisors (one for each worker, over a Unix socket; between hosts over TCP)
and of the worker. It knows no meaning of what it carries. A frame that is too long or no message of
the expected type ends the channel: both ends are Tidelog, so it is a bug or damage. Over TCP the
other end may be anybody, until the owner trusts it: its frames have to be short until then.

Sending never waits and never drops: what the other end doesn't take is buffered, and
`queued_bytes` tells the owner, who decides what not to send at all.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar, cast

import msgspec

from tidelog.errors import TidelogError
from tidelog.limits import CONTROL_FRAME_BYTES_MAX

Incoming = TypeVar("Incoming")

_LENGTH: Final = struct.Struct(">I")
_encoder: Final = msgspec.msgpack.Encoder()


class ChannelError(TidelogError):
    """What came over the channel is no frame of ours."""


def encode_frame(message: msgspec.Struct) -> bytes:
    """The message with its length before it. Raises ChannelError when it is longer than a frame
    may be.
    """
    body = _encoder.encode(message)
    if len(body) > CONTROL_FRAME_BYTES_MAX:
        raise ChannelError(f"{type(message).__name__} of {len(body)} bytes is too long to send")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into frames of at most `bytes_max`. Pure; fed in pieces of any
    size.
    """

    def __init__(self, bytes_max: int = CONTROL_FRAME_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """The frames that are complete now, to be taken before the next call. Raises ChannelError
        at a length beyond the limit, before anything of that length is kept.
        """
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, position)
            if length > self.bytes_max:
                raise ChannelError(f"a control frame of {length} bytes")
            end = position + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield bytes(self._buffer[position + _LENGTH.size : end])
            position = end
        if position:
            del self._buffer[:position]


class ControlChannel(asyncio.Protocol, Generic[Incoming]):
    """See the module. `on_message` gets each message, `on_closed` the reason (None: the other end
    closed), once.
    """

    def __init__(
        self,
        incoming: object,
        on_message: Callable[[Incoming], None],
        on_closed: Callable[[Exception | None], None],
        bytes_max: int = CONTROL_FRAME_BYTES_MAX,
    ) -> None:
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(incoming)
        self._reader = FrameReader(bytes_max)
        self._on_message = on_message
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._failure: Exception | None = None

    @classmethod
    async def open(
        cls,
        sock: socket.socket,
        incoming: object,
        on_message: Callable[[Incoming], None],
        on_closed: Callable[[Exception | None], None],
        bytes_max: int = CONTROL_FRAME_BYTES_MAX,
    ) -> ControlChannel[Incoming]:
        """Takes the connected socket over. Messages arrive from now on."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        channel: ControlChannel[Incoming] = cls(incoming, on_message, on_closed, bytes_max)
        if sock.family == socket.AF_UNIX:
            await loop.create_unix_connection(lambda: channel, sock=sock)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.create_connection(lambda: channel, sock=sock)
        return channel

    def trust(self) -> None:
        """The other end is one of us: it may send whatever it likes from its next frame on."""
        self._reader.bytes_max = CONTROL_FRAME_BYTES_MAX

    @property
    def queued_bytes(self) -> int:
        """Bytes sent here that the other end has not taken."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    def send(self, message: msgspec.Struct) -> None:
        """Sends a message; without effect when the channel is closed."""
        self.send_frame(encode_frame(message))

    def send_frame(self, frame: bytes) -> None:
        """Sends what `encode_frame` made, so that one frame can go to many."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        """Closes after what was sent has been taken."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only alike.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                if self._transport is not None and self._transport.is_closing():
                    return
                self._on_message(self._decoder.decode(frame))
        except (ChannelError, msgspec.MsgspecError) as error:
            self._failure = error
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ConnectionError):
            # The other end has gone with something unread: an end like any other. What it had sent
            # was delivered before.
            exc = None
        self._on_closed(self._failure or exc)

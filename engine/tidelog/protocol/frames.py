"""Cuts a stream of bytes into Kafka's frames: int32 size, then that many bytes.

Sans-I/O: bytes go in as they come, whole frames come out. For clients, tools and inter-node
connections; the broker's own connections receive natively into one buffer per request. Memory grows
with what was received, never with what a size promises.
"""

from struct import Struct as Packed
from typing import Final

from tidelog.errors import MalformedMessageError

_SIZE: Final = Packed(">i")


def frame(payload: bytes) -> bytes:
    """The payload with its size in front."""
    return _SIZE.pack(len(payload)) + payload


class FrameSplitter:
    """One per direction of a connection: `feed` what came, then take `next_frame` until it is None.

    max_frame_bytes: a frame that says it is larger breaks the stream (socket.request.max.bytes).
    """

    __slots__ = ("_max_frame_bytes", "_pending", "_start")

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._pending = bytearray()
        self._start = 0  # where the next frame begins in _pending

    @property
    def pending_bytes(self) -> int:
        """Bytes that were fed and not yet handed out, sizes included."""
        return len(self._pending) - self._start

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes of the stream."""
        del self._pending[: self._start]
        self._start = 0
        self._pending += data

    def next_frame(self) -> bytes | None:
        """The next frame without its size, or None while it is incomplete.

        Raises MalformedMessageError on a negative or too large size, and again on every later call:
        where the frame behind it begins is unknown.
        """
        if self.pending_bytes < _SIZE.size:
            return None
        size: int = _SIZE.unpack_from(self._pending, self._start)[0]
        if not 0 <= size <= self._max_frame_bytes:
            raise MalformedMessageError(f"a frame of {size} bytes")
        first = self._start + _SIZE.size
        if first + size > len(self._pending):
            return None
        self._start = first + size
        with memoryview(self._pending) as view:
            return bytes(view[first : self._start])

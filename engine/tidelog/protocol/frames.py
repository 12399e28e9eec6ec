"""Cuts a stream of bytes into Kafka's frames: int32 size, then that many bytes.

Sans-I/O: bytes go in as they come, whole frames come out. For clients, tools and inter-node
connections; the broker's own connections receive natively into one buffer per request. Memory grows
with what was received, never with what a size promises.
"""

from collections.abc import Iterator
from struct import Struct as Packed
from typing import Final

from tidelog.errors import MalformedMessageError

_SIZE: Final = Packed(">i")


def frame(payload: bytes) -> bytes:
    """The payload with its size in front."""
    return _SIZE.pack(len(payload)) + payload


class FrameSplitter:
    """One per direction of a connection.

    max_frame_bytes: a frame that says it is larger breaks the stream (socket.request.max.bytes).
    """

    __slots__ = ("_broken", "_max_frame_bytes", "_pending")

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._pending = bytearray()
        self._broken = False

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that is not complete yet, its size included."""
        return len(self._pending)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Takes bytes and yields the frames that are complete with them, without their sizes.

        Everything is taken even if the iterator is not used up: the rest comes with the next call.
        Raises MalformedMessageError on a negative or too large size, then and ever after: where the
        next frame begins is unknown.
        """
        self._pending += data
        return self._frames()

    def _frames(self) -> Iterator[bytes]:
        start = 0
        try:
            while self._broken or len(self._pending) - start >= _SIZE.size:
                size = -1 if self._broken else _SIZE.unpack_from(self._pending, start)[0]
                if not 0 <= size <= self._max_frame_bytes:
                    self._broken = True
                    raise MalformedMessageError(f"a frame of {size} bytes")
                end = start + _SIZE.size + size
                if end > len(self._pending):
                    return
                payload = bytes(memoryview(self._pending)[start + _SIZE.size : end])
                start = end
                yield payload
        finally:
            del self._pending[:start]

"""The latest deltas, so that a host that was away for a moment needs no snapshot. Pure."""

from __future__ import annotations

from collections import deque


class History:
    """Frames of consecutive versions, at most `bytes_max` of them."""

    def __init__(self, version: int, bytes_max: int) -> None:
        self._first = version + 1
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._bytes_max = bytes_max

    def add(self, version: int, frame: bytes) -> None:
        """The next delta. One that does not follow begins the history anew."""
        if version != self._first + len(self._frames):
            self._first = version
            self._frames.clear()
            self._bytes = 0
        self._frames.append(frame)
        self._bytes += len(frame)
        while self._bytes > self._bytes_max:
            self._bytes -= len(self._frames.popleft())
            self._first += 1

    def since(self, version: int) -> list[bytes] | None:
        """What follows that version; None when that is not known (any more, or yet)."""
        known = version - self._first + 1
        if not 0 <= known <= len(self._frames):
            return None
        return list(self._frames)[known:]

"""A limit on bytes a second that several threads keep together, for the log cleaner.

Pure: the time is an argument, and the caller does the waiting.
"""

from __future__ import annotations

import threading

#: What may be used at once after a pause, in ms of the rate.
BURST_MS = 300


class Bandwidth:
    """Any thread. `bytes_per_second` may be changed at any time."""

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._free_at_ms = 0.0  # when all that was taken so far is paid for

    def take(self, count: int, now_ms: float) -> float:
        """Takes note of `count` bytes. Returns for how many ms the caller has to wait."""
        with self._lock:
            rate = max(self.bytes_per_second, 1.0)
            start = max(self._free_at_ms, now_ms - BURST_MS)
            self._free_at_ms = start + count * 1000 / rate
            return max(self._free_at_ms - now_ms, 0.0)

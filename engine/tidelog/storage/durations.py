"""A histogram of durations that any thread may add to: how long the disk takes, how late the loop
is.

For what happens at most some thousand times a second; requests have their own counters.
"""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from typing import Final

#: Upper bounds of the buckets in seconds; one more counts what is beyond the last.
BOUNDS_S: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Durations:
    """Counts by bucket, and the sum."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        with self._lock:
            self._counts[bisect_left(BOUNDS_S, seconds)] += 1
            self._sum_s += seconds

    def snapshot(self) -> tuple[list[int], float]:
        """The counts of each bucket, and the sum in seconds."""
        with self._lock:
            return list(self._counts), self._sum_s


#: Every fsync and fdatasync of this process.
SYNCS: Final = Durations()

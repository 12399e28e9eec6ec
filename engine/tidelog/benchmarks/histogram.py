"""A log-linear histogram of durations (the idea of HdrHistogram), in nanoseconds.

A value below 2^7 has a bucket of its own; above, each power of two is cut into 2^7 buckets. A
percentile is the upper bound of its bucket, so it is never below the exact one and at most 1/128
(0.8 %) above it; minimum, maximum and sum are exact. The native load generator cuts its buckets the
same way, so its histograms come in without loss.

Pure. Memory grows with the number of different buckets, not of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

BITS: Final = 7
PRECISION: Final = 1 / (1 << BITS)


class Histogram:
    """Counts of values by bucket; two of them can be added."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self.min_ns = 0
        self.max_ns = 0
        self._counts: dict[int, int] = {}

    def record(self, value_ns: int, count: int = 1) -> None:
        """Adds `count` values; a negative one counts as 0 (clocks of two processes)."""
        value_ns = max(0, value_ns)
        self.min_ns = min(self.min_ns, value_ns) if self.count else value_ns
        self.max_ns = max(self.max_ns, value_ns)
        self.count += count
        self.total_ns += value_ns * count
        index = bucket_of(value_ns)
        self._counts[index] = self._counts.get(index, 0) + count

    def merge(self, other: Histogram) -> None:
        if not other.count:
            return
        self.min_ns = min(self.min_ns, other.min_ns) if self.count else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.count += other.count
        self.total_ns += other.total_ns
        for index, count in other._counts.items():
            self._counts[index] = self._counts.get(index, 0) + count

    @property
    def mean_ns(self) -> float:
        return self.total_ns / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """Nanoseconds that `percent` (0..100) of the values do not exceed; 0 when empty."""
        if not 0 <= percent <= 100:
            raise ValueError("percent must lie between 0 and 100")
        if not self.count:
            return 0
        wanted = max(1, int(percent / 100 * self.count + 0.5))
        seen = 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= wanted:
                return max(self.min_ns, min(highest_of(index), self.max_ns))
        return self.max_ns

    def buckets(self) -> list[tuple[int, int, int]]:
        """(lowest, highest, count) of the buckets that are not empty, by value."""
        return [(lowest_of(i), highest_of(i), self._counts[i]) for i in sorted(self._counts)]

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "total_ns": self.total_ns,
            "min_ns": self.min_ns,
            "max_ns": self.max_ns,
            "buckets": [[lowest, count] for lowest, _, count in self.buckets()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Histogram:
        """Raises ValueError for what is none."""
        try:
            summary = (data["count"], data["total_ns"], data["min_ns"], data["max_ns"])
            buckets = [(int(lowest), int(count)) for lowest, count in data["buckets"]]
            count, total_ns, min_ns, max_ns = (int(value) for value in summary)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a histogram: {error}") from error
        return cls.from_buckets(buckets, total_ns, min_ns, max_ns, count)

    @classmethod
    def from_buckets(
        cls,
        buckets: Iterable[tuple[int, int]],
        total_ns: int,
        min_ns: int,
        max_ns: int,
        count: int,
    ) -> Histogram:
        """buckets: any value in a bucket, and how many. Raises ValueError when they are not as many
        as `count`."""
        histogram = cls()
        for value, number in buckets:
            if value < 0 or number < 0:
                raise ValueError("not a histogram: a negative number")
            index = bucket_of(value)
            histogram._counts[index] = histogram._counts.get(index, 0) + number
        if sum(histogram._counts.values()) != count:
            raise ValueError("not a histogram: the buckets hold another number of values")
        histogram.count, histogram.total_ns = count, total_ns
        histogram.min_ns, histogram.max_ns = min_ns, max_ns
        return histogram


def bucket_of(value_ns: int) -> int:
    shift = max(0, value_ns.bit_length() - 1 - BITS)
    return (shift << BITS) + (value_ns >> shift)


def lowest_of(index: int) -> int:
    if index < 2 << BITS:
        return index
    shift = (index >> BITS) - 1
    return (index - (shift << BITS)) << shift


def highest_of(index: int) -> int:
    return lowest_of(index + 1) - 1

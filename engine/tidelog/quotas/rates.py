"""How quotas are measured: a rate over a moving window, and a bucket of tokens.

Pure, owned by whoever holds one; time is an argument (monotonic, ms). Both follow Kafka's metrics,
so that a client is held up for as long as it would be there: KIP-13 and KIP-124 for rates, KIP-599
for tokens.
"""

from __future__ import annotations

import math
from collections import deque

from tidelog.limits import THROTTLE_MS_MAX


class _Sample:
    """One part of the window: when it began, when it was last added to, and what was added."""

    __slots__ = ("began_ms", "last_ms", "total")

    def __init__(self, now_ms: int) -> None:
        self.began_ms = self.last_ms = now_ms
        self.total = 0.0


class WindowedRate:
    """A rate per second over the last `samples` parts of `window_ms` each."""

    __slots__ = ("_held", "_samples", "_total", "_window_ms")

    def __init__(self, samples: int, window_ms: int) -> None:
        self._samples = samples
        self._window_ms = window_ms
        self._held: deque[_Sample] = deque()
        self._total = 0.0

    def record(self, amount: float, now_ms: int) -> None:
        """Adds to the part of the moment; less than 0 takes back."""
        self._forget_old(now_ms)
        if not self._held or now_ms - self._held[-1].began_ms >= self._window_ms:
            self._held.append(_Sample(now_ms))
        sample = self._held[-1]
        sample.total += amount
        sample.last_ms = now_ms
        self._total += amount

    def per_second(self, now_ms: int) -> float:
        """The rate. A window that has just begun counts as nearly a whole one, so that the first
        bytes of a client are no burst.
        """
        self._forget_old(now_ms)
        return self._total * 1000 / self._elapsed_ms(now_ms)

    def throttle_ms(self, bound: float, now_ms: int) -> int:
        """How long nothing may be added until the rate is `bound` again; 0: it is not more now."""
        rate = self.per_second(now_ms)
        if rate <= bound:
            return 0
        return _whole((rate - bound) / bound * self._elapsed_ms(now_ms))

    def _elapsed_ms(self, now_ms: int) -> int:
        elapsed_ms = now_ms - self._held[0].began_ms if self._held else 0
        missing = self._samples - 1 - elapsed_ms // self._window_ms
        return max(elapsed_ms + max(missing, 0) * self._window_ms, 1)

    def _forget_old(self, now_ms: int) -> None:
        oldest_ms = now_ms - self._samples * self._window_ms
        while self._held and self._held[0].last_ms <= oldest_ms:
            self._total -= self._held.popleft().total
        if not self._held:
            self._total = 0.0


class SimpleRate(WindowedRate):
    """The same, but nothing is taken for granted of the time before the first record: the rate is
    that of the time since then, at least one part of the window (KIP-73).
    """

    __slots__ = ()

    def throttle_ms(self, bound: float, now_ms: int) -> int:
        """As there. `bound` may be 0: then it is for long."""
        if self.per_second(now_ms) <= bound:
            return 0
        if bound <= 0:
            return THROTTLE_MS_MAX
        wait_ms = self._total * 1000 / bound - (now_ms - self._held[0].began_ms)
        return math.ceil(min(wait_ms, THROTTLE_MS_MAX))

    def _elapsed_ms(self, now_ms: int) -> int:
        elapsed_ms = now_ms - self._held[0].began_ms if self._held else 0
        return max(elapsed_ms, self._window_ms)


class TokenBucket:
    """Tokens that come back at a rate, up to a burst. More may be taken than there are, once: then
    nobody gets any until the bucket is not below 0.
    """

    __slots__ = ("_at_ms", "_tokens")

    def __init__(self, burst: float, now_ms: int) -> None:
        self._tokens = burst
        self._at_ms = now_ms

    def refill(self, rate: float, burst: float, now_ms: int) -> None:
        """What came back since the last time. rate: tokens a second."""
        self._tokens = min(burst, self._tokens + rate * (now_ms - self._at_ms) / 1000)
        self._at_ms = now_ms

    def take(self, amount: float) -> None:
        """Takes tokens, whether they are there or not."""
        self._tokens -= amount

    def throttle_ms(self, rate: float) -> int:
        """How long it takes until the bucket is not below 0; 0: it is not."""
        return 0 if self._tokens >= 0 else _whole(-self._tokens / rate * 1000)


def _whole(wait_ms: float) -> int:
    """(A tiny quota makes it larger than any number of ours.)"""
    return round(min(wait_ms, THROTTLE_MS_MAX))

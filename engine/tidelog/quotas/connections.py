"""How many connections a second an address may make, and a node takes in all (KIP-612).

Pure, owned by the worker's loop task; time is an argument (monotonic, ms).
"""

from __future__ import annotations

from typing import Final

from tidelog.limits import QUOTA_CLIENTS_MAX
from tidelog.metadata.quotas import Quotas, ip_rates
from tidelog.quotas.rates import WindowedRate

#: A value of `max.connection.creation.rate`.
NO_LIMIT: Final = 2**31 - 1


class CreationRate:
    """How many connections a second a node takes in all (`max.connection.creation.rate`). It takes
    no more for a while then: those that come wait to be accepted.
    """

    def __init__(self, samples: int, window_ms: int) -> None:
        self._rate = WindowedRate(samples, window_ms)
        self._max_ms = window_ms
        self.limit = NO_LIMIT

    def accepted(self, now_ms: int) -> int:
        """A connection was accepted; how long to wait with the next one."""
        if self.limit == NO_LIMIT:
            return 0
        self._rate.record(1, now_ms)
        return min(self._rate.throttle_ms(self.limit, now_ms), self._max_ms)


class ConnectionRates:
    """The rates of addresses that have a limit."""

    def __init__(self, samples: int, window_ms: int) -> None:
        self._samples = samples
        self._window_ms = window_ms
        self._limits: dict[str | None, float] = {}
        self._rates: dict[str, WindowedRate] = {}

    def follow(self, quotas: Quotas) -> None:
        """The quotas that hold from now on."""
        self._limits = ip_rates(quotas)
        if not self._limits:
            self._rates.clear()

    def admit(self, address: str, now_ms: int) -> int:
        """Counts a connection; or, counting nothing, says how long it is held before it is
        closed (more than 0).
        """
        if not self._limits:
            return 0
        limit = self._limits.get(address, self._limits.get(None))
        if limit is None:
            return 0
        rate = self._rates.get(address)
        if rate is None:
            if len(self._rates) >= QUOTA_CLIENTS_MAX:
                self._rates.clear()
            rate = self._rates[address] = WindowedRate(self._samples, self._window_ms)
        rate.record(1, now_ms)
        throttle_ms = rate.throttle_ms(limit, now_ms)
        if throttle_ms:
            rate.record(-1, now_ms)
        return min(throttle_ms, self._samples * self._window_ms)

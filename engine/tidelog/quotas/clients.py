"""The quotas of users and their clients: what each of them has used, and how long it has to wait.

Pure, owned by the worker's loop task; time is an argument (monotonic, ms). Whose quota holds is
decided by `metadata.quotas`. Clients name themselves, so the tables have a limit: a full one is
emptied, and everybody in it starts anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from tidelog.limits import QUOTA_CLIENTS_MAX, THROTTLE_MS_MAX
from tidelog.metadata.quotas import Bucket, Quotas, client_quota, keys_in_use
from tidelog.quotas.rates import TokenBucket, WindowedRate

M = TypeVar("M")


class _Table(Generic[M]):
    """Who has which quota of one key, and the measure of each bucket."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.in_use = False
        self._quotas: Quotas = {}
        self._measures: dict[Bucket, M] = {}
        self._known: dict[tuple[str, str], tuple[M, float] | None] = {}

    def follow(self, quotas: Quotas) -> None:
        """The quotas that hold from now on. What was measured stays."""
        self._quotas = quotas
        self._known.clear()
        self.in_use = self.key in keys_in_use(quotas)
        if not self.in_use:
            self._measures.clear()

    def find(self, user: str, client_id: str, make: Callable[[float], M]) -> tuple[M, float] | None:
        """The measure and the quota of a user's client, None when there is no quota for it.

        make: a new measure for a quota of that size.
        """
        try:
            return self._known[user, client_id]
        except KeyError:
            pass
        if len(self._known) >= QUOTA_CLIENTS_MAX:
            self._known.clear()
            self._measures.clear()
        found = None
        quota = client_quota(self._quotas, self.key, user, client_id)
        if quota is not None:
            bucket, limit = quota
            measure = self._measures.get(bucket)
            if measure is None:
                measure = self._measures[bucket] = make(limit)
            found = measure, limit
        self._known[user, client_id] = found
        return found


class ClientRates:
    """A quota that is a rate: bytes a second, or percent of a loop's time.

    throttle_max_ms: what is longer is cut to that, as Kafka does for requests.
    """

    def __init__(
        self, key: str, samples: int, window_ms: int, throttle_max_ms: int = THROTTLE_MS_MAX
    ) -> None:
        self._table: _Table[WindowedRate] = _Table(key)
        self._samples = samples
        self._window_ms = window_ms
        self._throttle_max_ms = throttle_max_ms

    @property
    def in_use(self) -> bool:
        """Whether anybody has this quota."""
        return self._table.in_use

    def follow(self, quotas: Quotas) -> None:
        """The quotas that hold from now on."""
        self._table.follow(quotas)

    def charge(self, user: str, client_id: str, amount: float, now_ms: int) -> int:
        """Notes that so much was used; how long the client has to wait, 0 for not at all."""
        found = self._table.find(user, client_id, self._make)
        if found is None:
            return 0
        rate, limit = found
        rate.record(amount, now_ms)
        return min(rate.throttle_ms(limit, now_ms), self._throttle_max_ms)

    def take_back(self, user: str, client_id: str, amount: float, now_ms: int) -> None:
        """What was charged was not used after all."""
        found = self._table.find(user, client_id, self._make)
        if found is not None:
            found[0].record(-amount, now_ms)

    def window_max(self, user: str, client_id: str) -> float | None:
        """The most that can be used at once without exceeding the quota for ever; None: no
        quota.
        """
        found = self._table.find(user, client_id, self._make)
        if found is None:
            return None
        return found[1] * max(self._samples - 1, 1) * self._window_ms / 1000

    def _make(self, limit: float) -> WindowedRate:
        return WindowedRate(self._samples, self._window_ms)


class Mutations:
    """What one request may still change (KIP-599). strict: refused beyond the quota; otherwise it
    is carried out, and the client waits afterwards.
    """

    def __init__(
        self, bucket: TokenBucket, rate: float, burst: float, now_ms: int, *, strict: bool
    ) -> None:
        bucket.refill(rate, burst, now_ms)
        self._bucket = bucket
        self._rate = rate
        self._strict = strict
        #: How long the client has to wait; 0: not at all.
        self.throttle_ms = 0

    def take(self, partitions: int) -> bool:
        """Whether so many partitions may be made or removed; then they are charged."""
        if self._strict:
            self.throttle_ms = self._wait_ms()
            if self.throttle_ms:
                return False
            self._bucket.take(partitions)
            return True
        self._bucket.take(partitions)
        self.throttle_ms = self._wait_ms()
        return True

    def _wait_ms(self) -> int:
        return self._bucket.throttle_ms(self._rate)


class ClientMutations:
    """The quotas of changes, in partitions a second."""

    def __init__(self, key: str, samples: int, window_ms: int) -> None:
        self._table: _Table[TokenBucket] = _Table(key)
        self._burst_s = samples * window_ms / 1000

    def follow(self, quotas: Quotas) -> None:
        """The quotas that hold from now on."""
        self._table.follow(quotas)

    def begin(self, user: str, client_id: str, now_ms: int, *, strict: bool) -> Mutations | None:
        """What a request of that client may change; None: whatever it wants."""
        if not self._table.in_use:
            return None
        found = self._table.find(
            user, client_id, lambda limit: TokenBucket(limit * self._burst_s, now_ms)
        )
        if found is None:
            return None
        bucket, rate = found
        return Mutations(bucket, rate, rate * self._burst_s, now_ms, strict=strict)

"""All client quotas of a node, as the lanes, the dispatcher and the server ask for them.

Belongs to the worker's loop task; pure but for the clock that it is given. It answers with how long
a client has to wait, and tells `pause` which connection may send nothing for that long: the answer
goes first (KIP-219). Every node measures for itself, as every broker does in Kafka.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tidelog.clock import Clock
from tidelog.config import BrokerConfig
from tidelog.metadata.quotas import (
    CONSUMER_BYTE_RATE,
    CONTROLLER_MUTATION_RATE,
    PRODUCER_BYTE_RATE,
    REQUEST_PERCENTAGE,
    Quotas,
)
from tidelog.quotas.clients import ClientMutations, ClientRates, Mutations
from tidelog.quotas.connections import ConnectionRates, CreationRate

#: Percent of a second, from nanoseconds.
_PERCENT_PER_NS = 100 / 1e9
#: A fetch without a quota is limited by other things.
_ANY_BYTES = 2**31 - 1


class Client(Protocol):
    """What is asked of a connection."""

    @property
    def connection_id(self) -> int: ...

    @property
    def principal(self) -> str: ...


class NodeQuotas:
    """See the module."""

    def __init__(self, config: BrokerConfig, clock: Clock) -> None:
        samples, window_ms = config.quota_window_num, config.quota_window_size_seconds * 1000
        self._clock = clock
        self._quotas: Quotas = {}
        self._produce = ClientRates(PRODUCER_BYTE_RATE, samples, window_ms)
        self._fetch = ClientRates(CONSUMER_BYTE_RATE, samples, window_ms)
        # Kafka holds nobody up for longer than one part of the window for its requests.
        self._requests = ClientRates(REQUEST_PERCENTAGE, samples, window_ms, window_ms)
        self._mutations = ClientMutations(
            CONTROLLER_MUTATION_RATE,
            config.controller_quota_window_num,
            config.controller_quota_window_size_seconds * 1000,
        )
        self.connections = ConnectionRates(samples, window_ms)
        self.creation = CreationRate(samples, window_ms)
        #: (connection id, ms): that connection is not read from for so long.
        self.pause: Callable[[int, int], None] = lambda connection_id, throttle_ms: None
        #: Whether requests have to be measured at all.
        self.in_use = False

    def follow(self, quotas: Quotas) -> None:
        """The quotas that hold from now on."""
        if quotas is self._quotas:
            return
        self._quotas = quotas
        rates = (self._produce, self._fetch, self._requests)
        for each in (*rates, self._mutations, self.connections):
            each.follow(quotas)
        self.in_use = any(each.in_use for each in rates)

    # -- native lanes -----------------------------------------------------------------------------

    def produced(self, client: Client, client_id: bytes, size: int, busy_ns: int) -> int:
        """A Produce request of so many bytes took so long of the loop: throttle_time_ms."""
        user, name, now_ms = self._who(client, client_id)
        throttle_ms = max(
            self._produce.charge(user, name, size, now_ms),
            self._requests.charge(user, name, busy_ns * _PERCENT_PER_NS, now_ms),
        )
        return self._paused(client, throttle_ms)

    def fetch_bytes_max(self, client: Client, client_id: bytes) -> int:
        """What an answer may hold: a larger one would exceed the quota however long one waits."""
        user, name, _ = self._who(client, client_id)
        most = self._fetch.window_max(user, name)
        return _ANY_BYTES if most is None else min(int(most), _ANY_BYTES)

    def fetched(self, client: Client, client_id: bytes, size: int, busy_ns: int) -> int:
        """The same of a Fetch whose answer has so many bytes. More than 0: it is answered without
        any, and they are not charged.
        """
        user, name, now_ms = self._who(client, client_id)
        throttle_ms = max(
            self._requests.charge(user, name, busy_ns * _PERCENT_PER_NS, now_ms),
            self._fetch.charge(user, name, size, now_ms),
        )
        if throttle_ms:
            self._fetch.take_back(user, name, size, now_ms)
        return self._paused(client, throttle_ms)

    # -- all other requests -----------------------------------------------------------------------

    def requested(
        self, client: Client, client_id: str | None, busy_ns: int, owed_ms: int = 0
    ) -> int:
        """Any other request took so long: throttle_time_ms, at least `owed_ms`."""
        user, now_ms = _user(client), self._clock.monotonic_ms()
        charged_ms = self._requests.charge(user, client_id or "", busy_ns * _PERCENT_PER_NS, now_ms)
        return self._paused(client, max(charged_ms, owed_ms))

    def mutations(self, client: Client, client_id: str | None, *, strict: bool) -> Mutations | None:
        """What a request may change in the cluster; None: whatever it wants."""
        now_ms = self._clock.monotonic_ms()
        return self._mutations.begin(_user(client), client_id or "", now_ms, strict=strict)

    def _who(self, client: Client, client_id: bytes) -> tuple[str, str, int]:
        return _user(client), client_id.decode(errors="replace"), self._clock.monotonic_ms()

    def _paused(self, client: Client, throttle_ms: int) -> int:
        if throttle_ms:
            self.pause(client.connection_id, throttle_ms)
        return throttle_ms


def _user(client: Client) -> str:
    """The name of the principal, whose text is `User:name`."""
    return client.principal.partition(":")[2]

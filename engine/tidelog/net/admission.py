"""Who may connect: limits in all and per address (`max.connections`, `max.connections.per.ip` and
its overrides).

Pure; owned by the server's loop task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Admission:
    """Counts connections. A refused connection is closed at once, as Kafka does for the limit per
    address.

    Kafka waits with `accept` when `max.connections` is reached; here the connection is closed
    too, so that a client goes elsewhere.
    """

    def __init__(
        self, max_connections: int, max_per_ip: int, max_per_ip_overrides: Mapping[str, int]
    ) -> None:
        self.follow(max_connections, max_per_ip, max_per_ip_overrides)
        self._by_ip: Counter[str] = Counter()
        self.total = 0

    def follow(
        self, max_connections: int, max_per_ip: int, max_per_ip_overrides: Mapping[str, int]
    ) -> None:
        """The limits from now on. Connections that are open stay."""
        self.max_connections = max_connections
        self._max_per_ip = max_per_ip
        self._overrides = dict(max_per_ip_overrides)

    def admit(self, address: str) -> str | None:
        """Count one connection more; or, counting nothing, say why not."""
        if self.total >= self.max_connections:
            return f"max.connections={self.max_connections}"
        limit = self._overrides.get(address, self._max_per_ip)
        if self._by_ip[address] >= limit:
            return f"max.connections.per.ip={limit}"
        self._by_ip[address] += 1
        self.total += 1
        return None

    def release(self, address: str) -> None:
        """A connection that was admitted is gone."""
        self.total -= 1
        self._by_ip[address] -= 1
        if self._by_ip[address] == 0:
            del self._by_ip[address]

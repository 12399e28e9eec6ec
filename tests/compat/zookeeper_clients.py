"""Clients of a real ZooKeeper for tests: each test has a path of its own, and looks at the znodes
by a client that is not the one under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from tidelog.metastore.ensemble import HostEntry
from tidelog.metastore.znodes import ZooKeeperEnsemble

CONNECT_MS = 20_000
SESSION_MS = 6_000
#: For tests that wait until a session is over.
SHORT_SESSION_MS = 1_500

_numbers = itertools.count()


class Clients:
    """Makes clients of one path of a service, and closes them."""

    def __init__(self, servers: str, session_timeout_ms: int = SESSION_MS) -> None:
        self.path = f"/tests/{next(_numbers)}"
        self.servers = servers
        self.session_timeout_ms = session_timeout_ms
        self._open: list[ZooKeeperEnsemble] = []

    def __call__(
        self, host: HostEntry | None = None, servers: str | None = None
    ) -> ZooKeeperEnsemble:
        """servers: others than the service's own, for a client that connects through a proxy."""
        where = (servers or self.servers) + self.path
        client = ZooKeeperEnsemble(where, self.session_timeout_ms)
        self._open.append(client)
        client.connect(CONNECT_MS)
        if host is not None:
            client.register(host)
        return client

    def raw(self) -> RawTree:
        return RawTree(self.servers, self.path)

    def close(self) -> None:
        for client in self._open:
            client.close()


class RawTree:
    """The znodes below a path, as plain kazoo sees them; use as a context manager."""

    def __init__(self, servers: str, path: str) -> None:
        self._client = KazooClient(hosts=servers)
        self.root = path

    def __enter__(self) -> RawTree:
        self._client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop()
        self._client.close()

    def get(self, path: str) -> bytes:
        data: bytes = self._client.get(self.root + path)[0]
        return data

    def set(self, path: str, data: bytes) -> None:
        self._client.set(self.root + path, data)

    def create(self, path: str, data: bytes = b"") -> None:
        self._client.create(self.root + path, data, makepath=True)

    def delete(self, path: str) -> None:
        self._client.delete(self.root + path, recursive=True)

    def forbid(self, path: str) -> None:
        """Lets nobody do anything there, but with a password."""
        self._client.set_acls(self.root + path, [make_digest_acl("u", "p", all=True)])

    def children(self, path: str) -> list[str]:
        names: list[str] = self._client.get_children(self.root + path)
        return sorted(names)

    def walk(self, path: str = "/metadata") -> Iterator[tuple[str, bytes]]:
        """Every znode from there on, with its content."""
        yield path, self.get(path)
        for name in self.children(path):
            yield from self.walk(f"{path}/{name}")

"""kfake, the broker of franz-go's tests, in its three ways of keeping data.

kfake/main.go is its program. In memory it is a peer without a disk; with a data folder it writes
segments to the page cache, and with its option SyncWrites every batch is synced.
"""

from collections.abc import Mapping
from typing import ClassVar

from bench.versus import installer
from bench.versus.peers.base import FSYNC, MEMORY, PAGE_CACHE, ForeignProcessPeer


class KfakePeer(ForeignProcessPeer):
    """In memory."""

    name = "kfake"
    durabilities: ClassVar[Mapping[str, Mapping[str, str]]] = {MEMORY: {}}
    cannot = {"nodes": "its brokers are one process with one copy of the data"}  # noqa: RUF012

    def version(self) -> str:
        return installer.KFAKE_VERSION

    def command(self) -> list[str]:
        return [str(installer.kfake())]


class KfakeDiskPeer(KfakePeer):
    """With a data folder: written to the page cache."""

    name = "kfake-disk"
    durabilities: ClassVar[Mapping[str, Mapping[str, str]]] = {PAGE_CACHE: {}}

    def command(self) -> list[str]:
        return [*super().command(), "--data-dir", str(self.folder / "data")]


class KfakeSyncPeer(KfakeDiskPeer):
    """With a data folder and an fsync for each batch."""

    name = "kfake-sync"
    durabilities: ClassVar[Mapping[str, Mapping[str, str]]] = {FSYNC: {}}

    def command(self) -> list[str]:
        return [*super().command(), "--sync"]

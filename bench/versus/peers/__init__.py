"""The peers by name: how each is made, for one node or for three."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.versus import installer
from bench.versus.peers.base import Peer
from bench.versus.peers.floor import FloorPeer
from bench.versus.peers.foreign import ForeignPeer
from bench.versus.peers.kafka import KafkaClusterPeer, KafkaPeer
from bench.versus.peers.kfake import KfakeDiskPeer, KfakePeer, KfakeSyncPeer
from bench.versus.peers.tansu import TansuPeer
from bench.versus.peers.tidelog import TidelogPeer

__all__ = ["NAMES", "Options", "Peer", "install", "make_peer"]


@dataclass(frozen=True)
class Options:
    """What the command line says about peers; `cpus` empty: any."""

    cpus: Sequence[int] = ()
    workers: int = 1
    settings: Sequence[str] = ()
    floor_options: Sequence[str] = ()


#: Of one node each, apart from Tidelog and the floor, which have options.
_SINGLE: Final[Mapping[str, type[Peer]]] = {
    "kafka": KafkaPeer,
    "kfake-disk": KfakeDiskPeer,
    "kfake-sync": KfakeSyncPeer,
    "kfake": KfakePeer,
    "tansu": TansuPeer,
}
_INSTALLERS: Final[Mapping[str, Callable[[], object]]] = {
    "kafka": installer.kafka,
    "kfake-disk": installer.kfake,
    "kfake-sync": installer.kfake,
    "kfake": installer.kfake,
    "tansu": installer.tansu,
}
#: In the order of the tables.
NAMES: Final = ("tidelog", *_SINGLE, "floor")


def install(name: str) -> None:
    """Fetches what the peer needs. Raises ProgramMissing; ValueError for a name that is none."""
    if name in _INSTALLERS:
        _INSTALLERS[name]()
    elif name not in NAMES and "=" not in name:
        raise ValueError(
            f"no such peer: {name}; there are {', '.join(NAMES)}, NAME=HOST:PORT[@PID]"
        )


def make_peer(name: str, folder: Path, options: Options, nodes: int = 1) -> Peer:
    """A peer that has not been started yet; it owns `folder`, which must not exist. With several
    nodes, those that are no cluster are made all the same: they say what they cannot."""
    if name == "tidelog":
        workers = nodes if nodes > 1 else options.workers
        return TidelogPeer(folder, options.cpus, workers, options.settings)
    if name == "floor":
        return FloorPeer(folder, options.cpus, options.floor_options)
    if name == "kafka" and nodes > 1:
        return KafkaClusterPeer(folder, options.cpus)
    if "=" in name:
        return ForeignPeer(folder, name)
    return _SINGLE[name](folder, options.cpus)

"""What several hosts agree on, and where: the contract of a coordination service (ZooKeeper).

Three things are shared: which cluster this is, which hosts are there, and which of them has the
controller's seat. The metadata itself is a `Metastore` that only the holder of the seat can write:
each of its commits is conditional on the epoch of the seat, so that a deposed controller changes
nothing, however late it finds out.

Every method may wait for the network; none is called from an event loop. Called from several
threads at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tidelog.metadata.records import ChangeRecord
from tidelog.metastore.contract import Metastore, MetastoreError, VersionConflictError


class EnsembleError(MetastoreError):
    """The service cannot be reached or does not answer. What was asked may have happened, where a
    method does not say otherwise.
    """


class RefusedError(EnsembleError):
    """What is there already forbids it. The message is one line for the user."""


class SeatLostError(VersionConflictError):
    """The caller has no seat any more, or cannot know what became of its last commit. It must stand
    again, which makes an outstanding commit of the lost seat impossible, and load again.
    """


class Agreed(msgspec.Struct, frozen=True):
    """What the first host has laid down for all of them, for good.

    importer: host whose metadata the cluster begins with, None for an empty one. secret: known to
    all who can read the service; by it hosts know each other.
    """

    cluster_id: str
    importer: str | None
    secret: bytes


class HostEntry(msgspec.Struct, frozen=True):
    """A host that is there: its id, HOST:PORT at which it takes links of other hosts, and the nodes
    that it runs.
    """

    host_id: str
    address: str
    nodes: tuple[int, ...]


class Seat(msgspec.Struct, frozen=True):
    """The controller's seat: its epoch grows with each who takes it."""

    epoch: int
    host_id: str
    address: str


class View(msgspec.Struct, frozen=True):
    """Who is there, by host id, and who has the seat."""

    hosts: Mapping[str, HostEntry]
    seat: Seat | None


class SharedMetastore(Metastore):
    """A store that is written by the holder of one seat.

    `commit` raises SeatLostError when the seat is another's, or when it cannot be known whether the
    commit took effect. It raises MetastoreError only when nothing was changed and nothing will be.
    """

    @abstractmethod
    def adopt(self, records: Sequence[ChangeRecord], version: int) -> None:
        """Fills an empty store (version 0) with the records of another one and its version, all or
        nothing.

        Raises VersionConflictError when the store is not empty, else as `commit`.
        """


class Ensemble(ABC):
    """A session with the service; it is renewed by itself when it was lost."""

    @abstractmethod
    def connect(self, timeout_ms: int) -> None:
        """Opens the session. Raises EnsembleError when that takes longer, RefusedError when the
        service refuses it for good.
        """

    @abstractmethod
    def agree(self, cluster_id: str, importer: str | None) -> Agreed:
        """What holds in this cluster: the caller's proposal when nobody made one before. Raises
        EnsembleError; it may be repeated.
        """

    @abstractmethod
    def register(self, host: HostEntry) -> None:
        """Makes the host known for as long as its session lasts; after a lost session it is done
        again by itself. What an earlier session of the same host left is replaced.

        Raises RefusedError when another host has one of its nodes or its address, EnsembleError.
        """

    @abstractmethod
    def look(self) -> View:
        """Who is there now. Raises EnsembleError."""

    @abstractmethod
    def stand(self) -> Seat:
        """Takes the seat if nobody has it, or anew if this host itself has it (with a higher
        epoch). Returns the seat as it is then, whoever has it.

        Only after `register`. Raises EnsembleError.
        """

    @abstractmethod
    def resign(self) -> None:
        """Gives the seat up, if this host has it. Raises EnsembleError."""

    @abstractmethod
    def store(self, seat: Seat) -> SharedMetastore:
        """The metadata, to be written as the holder of that seat. Closing it closes no session."""

    @abstractmethod
    def watch(self, changed: Callable[[], None]) -> None:
        """`changed` is called, from any thread, whenever `look` may have a new answer: hosts come
        or go, the seat changes, the session is lost or is back.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends the session: host and seat are given up. May be called twice; raises nothing."""

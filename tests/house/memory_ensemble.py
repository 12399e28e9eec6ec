"""A coordination service in memory: the contract of `tidelog.metastore.ensemble` without a server,
and with every trouble at a word.

    service = MemoryService()
    one, two = MemoryEnsemble(service), MemoryEnsemble(service)

Each `MemoryEnsemble` stands for the client of one host. `changed` is called on the thread that made
the change, after everything was unlocked. It keeps the same contract as the real one: both run
tests/unit/metastore/ensemble_suite.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto

from tidelog.metadata.records import ChangeRecord, decode_changes, encode_changes
from tidelog.metastore.contract import MetastoreError, VersionConflictError
from tidelog.metastore.ensemble import (
    Agreed,
    Ensemble,
    EnsembleError,
    HostEntry,
    RefusedError,
    Seat,
    SeatLostError,
    SharedMetastore,
    View,
)
from tidelog.metastore.fold import Fold


class Unknown(Enum):
    """What becomes of a commit whose answer is lost (its caller always gets SeatLostError)."""

    DONE = auto()  # it took effect
    NOT_DONE = auto()  # it never will
    LATER = auto()  # at `MemoryService.deliver`, if nobody has stood since


class MemoryService:
    """What all clients share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.agreed: Agreed | None = None
        self.hosts: dict[str, tuple[int, HostEntry]] = {}  # with the session that holds it
        self.seat: tuple[int, Seat] | None = None
        self.epoch = 0
        self.version = 0
        self.state = Fold()
        self.clients: list[MemoryEnsemble] = []
        self.late: list[Callable[[], None]] = []
        self._sessions = 0

    def new_session(self) -> int:
        self._sessions += 1
        return self._sessions

    def deliver(self) -> None:
        """Carries out the commits that were made as `Unknown.LATER`, as far as they still count."""
        with self.lock:
            late, self.late = self.late, []
            for write in late:
                write()

    def end_session(self, session: int) -> None:
        """Takes away what the session holds (locked)."""
        self.hosts = {name: held for name, held in self.hosts.items() if held[0] != session}
        if self.seat is not None and self.seat[0] == session:
            self.seat = None

    def changed(self) -> None:
        """Tells every client that is connected; never called with the lock held."""
        for client in list(self.clients):
            if client.reachable:
                client.renew()
                client.call_changed()

    def write(
        self, epoch: int, expected_version: int, version: int, records: Sequence[ChangeRecord]
    ) -> None:
        """One transaction, as the holder of that seat (locked)."""
        if epoch != self.epoch:
            raise SeatLostError(f"the seat has epoch {self.epoch}, not {epoch}")
        if self.version != expected_version:
            raise VersionConflictError(
                f"the metadata is at version {self.version}, not {expected_version}"
            )
        self.state.apply(records)
        self.version = version


class MemoryEnsemble(Ensemble):
    """One host's client. Troubles: `lose_session`, `unreachable` and `lose_answer`."""

    def __init__(self, service: MemoryService) -> None:
        self.service = service
        self.reachable = True
        self._session: int | None = None  # None: never connected, lost, or closed
        self._opened = False
        self._host: HostEntry | None = None
        self._epoch: int | None = None  # of the seat that this client has won and not resigned
        self._changed: list[Callable[[], None]] = []
        self._lost_answer: Unknown | None = None

    # ---- troubles

    def lose_session(self) -> None:
        """The service has given up this session: host and seat are gone, which the others are told.
        Then it is renewed, or as soon as the service can be reached again."""
        with self.service.lock:
            if self._session is not None:
                self.service.end_session(self._session)
            self._session = None
        for other in list(self.service.clients):
            if other is not self and other.reachable:
                other.renew()
                other.call_changed()
        if self.renew():
            self.service.changed()
        else:
            self.call_changed()

    def unreachable(self) -> None:
        """From now on every call fails; the session is kept (but see `lose_session`)."""
        self.reachable = False
        self.call_changed()

    def reachable_again(self) -> None:
        """Renews a session that was lost meanwhile."""
        self.reachable = True
        if self.renew():
            self.service.changed()
        else:
            self.call_changed()

    def lose_answer(self, outcome: Unknown) -> None:
        """The next commit of this client gets no answer."""
        self._lost_answer = outcome

    # ---- the contract

    def connect(self, timeout_ms: int) -> None:
        with self.service.lock:
            self._reach()
            if self._session is None:
                self._session = self.service.new_session()
            if self not in self.service.clients:
                self.service.clients.append(self)
            self._opened = True

    def agree(self, cluster_id: str, importer: str | None) -> Agreed:
        with self.service.lock:
            self._require()
            if self.service.agreed is None:
                secret = (b"%032d" % id(self.service))[:32]
                self.service.agreed = Agreed(cluster_id, importer, secret)
            return self.service.agreed

    def register(self, host: HostEntry) -> None:
        with self.service.lock:
            session = self._require()
            self._register(host, session)
            self._host = host
        self.service.changed()

    def look(self) -> View:
        with self.service.lock:
            self._require()
            hosts = {name: entry for name, (_, entry) in sorted(self.service.hosts.items())}
            return View(hosts, self.service.seat[1] if self.service.seat else None)

    def stand(self) -> Seat:
        service = self.service
        with service.lock:
            session = self._require()
            if self._host is None or self._host.host_id not in service.hosts:
                raise EnsembleError("this host is not registered")
            if service.seat is not None and service.seat[1].host_id != self._host.host_id:
                return service.seat[1]
            service.epoch += 1
            seat = Seat(service.epoch, self._host.host_id, self._host.address)
            service.seat = session, seat
            self._epoch = seat.epoch
        service.changed()
        return seat

    def resign(self) -> None:
        with self.service.lock:
            session = self._require()
            self._epoch = None
            if self.service.seat is None or self.service.seat[0] != session:
                return
            self.service.seat = None
        self.service.changed()

    def store(self, seat: Seat) -> MemorySharedMetastore:
        return MemorySharedMetastore(self, seat)

    def watch(self, changed: Callable[[], None]) -> None:
        self._changed.append(changed)

    def close(self) -> None:
        with self.service.lock:
            self._opened = False
            self._epoch = None
            self._changed.clear()
            if self in self.service.clients:
                self.service.clients.remove(self)
            if self._session is None:
                return
            self.service.end_session(self._session)
            self._session = None
        self.service.changed()

    # ---- for the service and the store

    def call_changed(self) -> None:
        for changed in list(self._changed):
            changed()

    def renew(self) -> bool:
        """A new session instead of a lost one, and the host registered in it; whether it was
        needed and could be done."""
        with self.service.lock:
            if not self._opened or not self.reachable:
                return False
            missing = self._session is None
            if missing:
                self._session = self.service.new_session()
            if self._host is None or self._host.host_id in self.service.hosts:
                return missing
            assert self._session is not None
            try:
                self._register(self._host, self._session)
            except RefusedError:
                return missing  # tried again with the next change
            return True

    def commit(
        self, seat: Seat, expected_version: int, version: int, records: Sequence[ChangeRecord]
    ) -> None:
        service = self.service
        with service.lock:
            self._require()
            if self._epoch != seat.epoch:
                raise SeatLostError("this host has not that seat")
            if self._lost_answer is None:
                service.write(seat.epoch, expected_version, version, records)
                return

            def write() -> None:
                try:
                    service.write(seat.epoch, expected_version, version, records)
                except VersionConflictError:
                    return

            outcome, self._lost_answer = self._lost_answer, None
            if outcome is Unknown.DONE:
                write()
            elif outcome is Unknown.LATER:
                service.late.append(write)
            raise SeatLostError("no answer: what became of the commit cannot be known")

    def require(self) -> None:
        self._require()

    def _reach(self) -> None:
        if not self.reachable:
            raise EnsembleError("the service cannot be reached")

    def _require(self) -> int:
        self._reach()
        if self._session is None:
            raise EnsembleError("there is no session")
        return self._session

    def _register(self, host: HostEntry, session: int) -> None:
        for name, (_, other) in self.service.hosts.items():
            if name == host.host_id:
                continue
            if other.address == host.address:
                raise RefusedError(f"host {name} has the address {host.address}")
            if taken := sorted(set(other.nodes) & set(host.nodes)):
                raise RefusedError(f"host {name} has node {taken[0]}")
        self.service.hosts[host.host_id] = session, host


class MemorySharedMetastore(SharedMetastore):
    """The metadata as the holder of a seat sees it."""

    def __init__(self, client: MemoryEnsemble, seat: Seat) -> None:
        self._client = client
        self._seat = seat
        self._closed = False

    def load(self) -> tuple[int, list[ChangeRecord]]:
        service = self._client.service
        with service.lock:
            self._require()
            return service.version, list(service.state)

    def commit(self, records: Sequence[ChangeRecord], expected_version: int) -> int:
        self._require()
        version = expected_version + 1
        self._client.commit(self._seat, expected_version, version, _copied(records))
        return version

    def adopt(self, records: Sequence[ChangeRecord], version: int) -> None:
        self._require()
        self._client.commit(self._seat, 0, version, _copied(records))

    def close(self) -> None:
        self._closed = True

    def _require(self) -> None:
        if self._closed:
            raise MetastoreError("the metadata store is closed")
        self._client.require()


def _copied(records: Sequence[ChangeRecord]) -> list[ChangeRecord]:
    """As they come back from a real store; raises TypeError for what is no record."""
    return decode_changes(encode_changes(records))

"""ZooKeeper, spoken to by kazoo: a session with bounded waits, and the ensemble of hosts over it.

Imported only when a host is to join others: it is the one module that knows kazoo. Lives in the
supervisor, after the zygote was forked (kazoo has threads); called from its store thread and
others, never from an event loop.

| znode | content |
|---|---|
| /cluster | JSON: what the hosts agreed on, for good |
| /controller_epoch | the epoch of the last seat, as decimal text |
| /controller | ephemeral, JSON `Seat`: who has the seat |
| /hosts | empty; its version counts registrations, so that two cannot overlook each other |
| /hosts/HOST_ID | ephemeral, JSON `HostEntry` |
| /nodes/NODE_ID | ephemeral, the id of the host that has this node |
| /metadata | `zookeeper.py` |

All of it lies below the path that may follow the servers (`h:p,h:p/path`), and can be read and
written by whoever reaches ZooKeeper.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
from kazoo import exceptions as zk
from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from tidelog.limits import (
    ENSEMBLE_HOSTS_MAX,
    ENSEMBLE_RACES_MAX,
    ENSEMBLE_REQUESTS_MAX,
    ENSEMBLE_RETRY_MS,
    ENSEMBLE_SENT_BYTES_MAX,
    ENSEMBLE_ZNODE_BYTES_MAX,
)
from tidelog.metastore.contract import DamagedStoreError, MetastoreError
from tidelog.metastore.ensemble import (
    Agreed,
    Ensemble,
    EnsembleError,
    HostEntry,
    RefusedError,
    Seat,
    SharedMetastore,
    View,
)
from tidelog.metastore.tree import (
    Check,
    Create,
    Delete,
    NoAnswerError,
    NotDoneError,
    NotSentError,
    Operation,
    SetData,
    Why,
    Znode,
)
from tidelog.metastore.zookeeper import EPOCH, ZooKeeperMetastore, first_znodes

_log = logging.getLogger(__name__)
#: kazoo tells of every attempt to connect; what of it matters has its own line here.
_kazoo_log: Final = _log.getChild("kazoo")
_kazoo_log.setLevel(logging.ERROR)

FORMAT: Final = 1

CLUSTER: Final = "/cluster"
CONTROLLER: Final = "/controller"
HOSTS: Final = "/hosts"
NODES: Final = "/nodes"

_Entry = TypeVar("_Entry")

_SECRET_BYTES: Final = 32
_PATH: Final = re.compile(r"(/[A-Za-z0-9._-]+)*")
_HOST_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")

_WHY: Final = {
    zk.NodeExistsError: Why.EXISTS,
    zk.NoNodeError: Why.MISSING,
    zk.BadVersionError: Why.VERSION,
    zk.NotEmptyError: Why.NOT_EMPTY,
}
#: In a list of operations that failed: of those that are not the reason.
_OTHERS_FAULT: Final = (zk.RolledBackError, zk.RuntimeInconsistency)
_LOST: Final = (zk.ConnectionLoss, zk.SessionExpiredError, zk.ConnectionClosedError)
_FOR_GOOD: Final = (zk.AuthFailedError, zk.NoAuthError, zk.InvalidACLError)


class _Cluster(msgspec.Struct, frozen=True):
    format: int
    cluster_id: str
    importer: str | None
    secret: bytes


class ZnodeSession:
    """A `tree.Tree` over a connection that comes and goes. told: called, from a thread of kazoo,
    after every change of the connection and for every watch.

    A call waits for a connection as long as a session may last, and again as long for an answer.
    """

    def __init__(self, servers: str, session_timeout_ms: int, told: Callable[[str], None]) -> None:
        addresses, slash, path = servers.partition("/")
        self.servers = addresses
        self._root = (slash + path).rstrip("/")
        self._wait_s = session_timeout_ms / 1000
        self._told = told
        self._closed = False
        handler = SequentialThreadingHandler()
        self._timeout_error: type[Exception] = handler.timeout_exception
        retry = KazooRetry(max_tries=-1, delay=0.1, max_delay=2, sleep_func=handler.sleep_func)
        if not _PATH.fullmatch(self._root) or {".", ".."} & set(self._root.split("/")):
            raise RefusedError(f"{slash + path!r} cannot be a path in ZooKeeper")
        try:
            self._client = KazooClient(
                hosts=addresses,
                timeout=self._wait_s,
                handler=handler,
                connection_retry=retry,
                logger=_kazoo_log,
            )
        except ValueError as error:
            raise RefusedError(f"{addresses!r} are no addresses of ZooKeeper: {error}") from error
        self._client.add_listener(self._listen)
        self._live: threading.Event | None = None

    def open(self, timeout_ms: int) -> None:
        """Waits for the first connection; may be repeated. Raises NotSentError."""
        if self._closed:
            raise NotSentError("the session with ZooKeeper is closed")
        if self._live is None:
            self._live = self._client.start_async()
        if not self._live.wait(timeout_ms / 1000):
            raise NotSentError(f"no connection to ZooKeeper at {self.servers} for {timeout_ms} ms")

    def make_root(self) -> None:
        """Creates the path below which everything lies, if it is missing."""
        if self._root:
            self._require()
            self._answer(self._client.ensure_path_async(self._root))

    def close(self) -> None:
        """Ends the session, if it can be told to the service; raises nothing."""
        self._closed = True
        # Whatever it is: there is nothing left to be done with this session.
        with contextlib.suppress(Exception):
            self._client.stop()
        with contextlib.suppress(Exception):
            self._client.close()

    @property
    def session_id(self) -> int:
        """0 while there is no connection."""
        found = self._client.client_id
        return int(found[0]) if found and found[0] else 0

    # ---- the tree

    @property
    def connected(self) -> bool:
        return not self._closed and bool(self._client.connected)

    def sync(self) -> None:
        self._require()
        self._answer(self._client.sync_async(self._path("/")))

    def get(self, path: str) -> Znode | None:
        return self.get_many([path])[0]

    def get_many(self, paths: Sequence[str]) -> list[Znode | None]:
        found: list[Znode | None] = []
        for first in range(0, len(paths), ENSEMBLE_REQUESTS_MAX):
            self._require()
            some = paths[first : first + ENSEMBLE_REQUESTS_MAX]
            for answer in [self._client.get_async(self._path(path)) for path in some]:
                try:
                    data, stat = self._answer(answer)
                except zk.NoNodeError:
                    found.append(None)
                    continue
                found.append(Znode(data or b"", stat.version, stat.ephemeralOwner))
        return found

    def children(self, path: str) -> list[str] | None:
        self._require()
        try:
            names: list[str] = self._answer(self._client.get_children_async(self._path(path)))
        except zk.NoNodeError:
            return None
        return names

    def watch(self, folder: str, path: str) -> None:
        """Tells, once, when children of the one come or go, or the other does."""
        self._require()
        for request in (
            self._client.get_children_async(self._path(folder), self._watched),
            self._client.exists_async(self._path(path), self._watched),
        ):
            with contextlib.suppress(zk.NoNodeError):
                self._answer(request)

    def multi(self, operations: Sequence[Operation]) -> list[int]:
        self._require()
        transaction = self._client.transaction()
        for one in operations:
            match one:
                case Create(path, data, ephemeral):
                    transaction.create(self._path(path), data, ephemeral=ephemeral)
                case SetData(path, data, version):
                    transaction.set_data(self._path(path), data, version)
                case Delete(path, version):
                    transaction.delete(self._path(path), version)
                case Check(path, version):
                    transaction.check(self._path(path), version)
        results = self._answer(transaction.commit_async())
        for index, (one, result) in enumerate(zip(operations, results, strict=True)):
            if isinstance(result, Exception) and not isinstance(result, _OTHERS_FAULT):
                raise self._not_done(index, one.path, result)
        if any(isinstance(result, Exception) for result in results):
            raise EnsembleError("ZooKeeper refused a list of operations without a reason")
        return [getattr(result, "version", 0) for result in results]

    def create_many(self, znodes: Sequence[Create]) -> None:
        for first, some in _portions(znodes):
            self._require()
            answers = [
                self._client.create_async(self._path(one.path), one.data, ephemeral=one.ephemeral)
                for one in some
            ]
            for index, answer in enumerate(answers):
                try:
                    self._answer(answer)
                except tuple(_WHY) as error:
                    raise self._not_done(first + index, some[index].path, error) from error

    def delete_many(self, paths: Sequence[str]) -> None:
        for first in range(0, len(paths), ENSEMBLE_REQUESTS_MAX):
            self._require()
            some = paths[first : first + ENSEMBLE_REQUESTS_MAX]
            for answer in [self._client.delete_async(self._path(path)) for path in some]:
                with contextlib.suppress(zk.NoNodeError, zk.NotEmptyError):
                    self._answer(answer)

    # ---- below

    def _path(self, path: str) -> str:
        return (self._root + path).rstrip("/") or "/"

    def _require(self) -> None:
        """Waits for a connection. Without one kazoo would keep the request and send it later."""
        if self._live is None or self._closed:
            raise NotSentError("there is no session with ZooKeeper")
        if not self._live.wait(self._wait_s) or self._closed:
            raise NotSentError(f"there is no connection to ZooKeeper at {self.servers}")

    def _answer(self, answer: Any) -> Any:
        """Raises kazoo's own error where the service answered with one of `_WHY`."""
        try:
            return answer.get(timeout=self._wait_s)
        except tuple(_WHY):
            raise
        except self._timeout_error as error:
            raise NoAnswerError(f"ZooKeeper at {self.servers} does not answer") from error
        except _LOST as error:
            raise NoAnswerError(
                f"the connection to ZooKeeper at {self.servers} was lost"
            ) from error
        except _FOR_GOOD as error:
            raise RefusedError(f"ZooKeeper refuses it: {_text(error)}") from error
        except zk.KazooException as error:
            raise EnsembleError(f"ZooKeeper failed: {_text(error)}") from error

    def _not_done(self, index: int, path: str, error: Exception) -> EnsembleError:
        if isinstance(error, _FOR_GOOD):
            return RefusedError(f"ZooKeeper refuses it: {_text(error)} {path}")
        return NotDoneError(index, _WHY.get(type(error), Why.OTHER), f"{_text(error)} {path}")

    def _listen(self, state: Any) -> None:
        self._told(str(state))

    def _watched(self, _event: Any) -> None:
        self._told("")


def _portions(znodes: Sequence[Create]) -> Iterator[tuple[int, Sequence[Create]]]:
    """What may be outstanding at a time, with the index of its first."""
    first = size = 0
    for index, one in enumerate(znodes):
        size += len(one.data)
        full = index - first == ENSEMBLE_REQUESTS_MAX or size > ENSEMBLE_SENT_BYTES_MAX
        if full and index > first:
            yield first, znodes[first:index]
            first, size = index, len(one.data)
    if first < len(znodes):
        yield first, znodes[first:]


def _text(error: Exception) -> str:
    name = type(error).__name__
    return f"{name} ({error})" if str(error) else name


class ZooKeeperEnsemble(Ensemble):
    """See the module. One thread of its own sets watches, renews what a lost session took, and is
    the one that calls `changed`.
    """

    def __init__(self, servers: str, session_timeout_ms: int) -> None:
        """servers: HOST:PORT of each, separated by commas, and perhaps a /path. Raises RefusedError
        when it is not that.
        """
        self._session = ZnodeSession(servers, session_timeout_ms, self._tell)
        self._lock = threading.RLock()  # registration and the seat
        self._host: HostEntry | None = None
        self._registered_in = 0  # session, 0 for none
        self._won: tuple[int, int] | None = None  # epoch, and the version of its znode
        self._changed: list[Callable[[], None]] = []
        self._news = threading.Event()
        self._closed = False
        self._keeper: threading.Thread | None = None

    def connect(self, timeout_ms: int) -> None:
        self._session.open(timeout_ms)
        self._session.make_root()
        try:
            self._session.multi(
                [Create(HOSTS), Create(NODES), Create(EPOCH, b"0"), *first_znodes()]
            )
        except NotDoneError as error:
            if (error.index, error.why) != (0, Why.EXISTS):
                raise RefusedError(
                    "something else is kept there in ZooKeeper, a path of its own is needed:"
                    f" {error}"
                ) from error
        with self._lock:
            if self._keeper is None:
                self._news.set()
                self._keeper = threading.Thread(target=self._keep, name="ensemble", daemon=True)
                self._keeper.start()

    def agree(self, cluster_id: str, importer: str | None) -> Agreed:
        mine = _Cluster(FORMAT, cluster_id, importer, secrets.token_bytes(_SECRET_BYTES))
        try:
            self._session.multi([Create(CLUSTER, msgspec.json.encode(mine))])
        except NotDoneError as error:
            if error.why is not Why.EXISTS:
                raise
        except NoAnswerError:
            pass  # what is there tells, if anything is
        znode = self._session.get(CLUSTER)
        if znode is None:
            raise EnsembleError(f"znode {CLUSTER} could not be created")
        holds = _decoded(CLUSTER, znode, _Cluster)
        if holds.format != FORMAT:
            raise RefusedError(f"znode {CLUSTER} has format {holds.format}, not {FORMAT}")
        return Agreed(holds.cluster_id, holds.importer, holds.secret)

    def register(self, host: HostEntry) -> None:
        if not _HOST_ID.fullmatch(host.host_id):
            raise RefusedError(f"the host id {host.host_id!r} is none")
        with self._lock:
            self._register(host)
            self._host = host

    def look(self) -> View:
        self._session.sync()
        return View(self._hosts(), self._seat())

    def stand(self) -> Seat:
        with self._lock:
            for _ in range(ENSEMBLE_RACES_MAX):
                self._session.sync()
                host = self._host
                if host is None or self._registered_in != self._session.session_id:
                    raise EnsembleError("this host is not registered")
                epoch_znode, holder = self._session.get_many([EPOCH, CONTROLLER])
                seat = None if holder is None else _decoded(CONTROLLER, holder, Seat)
                if seat is not None and seat.host_id != host.host_id:
                    return seat
                epoch = _epoch(epoch_znode) + 1
                mine = Seat(epoch, host.host_id, host.address)
                operations: list[Operation] = [] if seat is None else [Delete(CONTROLLER)]
                operations += [
                    Create(CONTROLLER, msgspec.json.encode(mine), ephemeral=True),
                    SetData(EPOCH, b"%d" % epoch, epoch_znode.version if epoch_znode else 0),
                ]
                try:
                    versions = self._session.multi(operations)
                except NotDoneError:
                    continue  # another one was faster
                self._won = epoch, versions[-1]
                return mine
        raise EnsembleError("the controller's seat changes faster than it can be taken")

    def resign(self) -> None:
        with self._lock:
            won, self._won = self._won, None
            holder = self._session.get(CONTROLLER)
            if won is None or holder is None or holder.owner != self._session.session_id:
                return
            # Somebody else may have it by now: then it is not touched.
            with contextlib.suppress(NotDoneError):
                self._session.multi([Check(EPOCH, won[1]), Delete(CONTROLLER)])

    def store(self, seat: Seat) -> SharedMetastore:
        def fence() -> int | None:
            won = self._won
            return won[1] if won is not None and won[0] == seat.epoch else None

        return ZooKeeperMetastore(self._session, seat, fence)

    def watch(self, changed: Callable[[], None]) -> None:
        self._changed.append(changed)

    def close(self) -> None:
        self._closed = True
        self._news.set()
        self._session.close()
        keeper = self._keeper
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join()

    # ---- what is there

    def _hosts(self) -> dict[str, HostEntry]:
        names = self._session.children(HOSTS)
        if names is None:
            raise DamagedStoreError(f"znode {HOSTS} is missing")
        if len(names) > ENSEMBLE_HOSTS_MAX:
            raise DamagedStoreError(f"znode {HOSTS} has {len(names)} hosts")
        names.sort()
        paths = [f"{HOSTS}/{name}" for name in names]
        hosts = {}
        for name, path, znode in zip(names, paths, self._session.get_many(paths), strict=True):
            if znode is None:
                continue  # gone since the names were read
            hosts[name] = _decoded(path, znode, HostEntry)
            if hosts[name].host_id != name:
                raise DamagedStoreError(f"znode {path} is of host {hosts[name].host_id}")
        return hosts

    def _seat(self) -> Seat | None:
        holder = self._session.get(CONTROLLER)
        return None if holder is None else _decoded(CONTROLLER, holder, Seat)

    # ---- registration

    def _register(self, host: HostEntry) -> None:
        """Locked. What this host had before is replaced in the same multi."""
        for _ in range(ENSEMBLE_RACES_MAX):
            self._session.sync()  # which waits for a connection
            session = self._session.session_id
            folder = self._session.get(HOSTS)
            if folder is None:
                raise DamagedStoreError(f"znode {HOSTS} is missing")
            operations = self._registration(host, folder.version)
            try:
                self._session.multi(operations)
            except NotDoneError:
                continue  # somebody came or went meanwhile
            # If the session was another one by then, it is done once more.
            self._registered_in = session
            return
        raise EnsembleError("the hosts change faster than one can be added")

    def _registration(self, host: HostEntry, folder_version: int) -> list[Operation]:
        """Raises RefusedError when another host is in the way."""
        hosts = self._hosts()
        earlier = hosts.pop(host.host_id, None)
        for name, other in hosts.items():
            if other.address == host.address:
                raise RefusedError(f"host {name} has the address {host.address}")
        nodes = sorted({*host.nodes, *(earlier.nodes if earlier else ())})
        operations: list[Operation] = [SetData(HOSTS, b"", folder_version)]
        if earlier is not None:
            operations.append(Delete(f"{HOSTS}/{host.host_id}"))
        paths = [f"{NODES}/{node}" for node in nodes]
        for node, path, znode in zip(nodes, paths, self._session.get_many(paths), strict=True):
            if znode is None:
                continue
            owner = znode.data[:ENSEMBLE_ZNODE_BYTES_MAX].decode(errors="replace")
            if owner == host.host_id:
                operations.append(Delete(path))
            elif node in host.nodes:
                raise RefusedError(f"host {owner} has node {node}")
        entry = msgspec.json.encode(host)
        operations.append(Create(f"{HOSTS}/{host.host_id}", entry, ephemeral=True))
        mine = host.host_id.encode()
        operations += [Create(f"{NODES}/{node}", mine, ephemeral=True) for node in host.nodes]
        return operations

    # ---- the thread

    def _tell(self, state: str) -> None:
        """From threads of kazoo, which must not be held up."""
        servers = self._session.servers
        if state == KazooState.CONNECTED:
            _log.info("zookeeper connected servers=%s", servers)
        elif state == KazooState.SUSPENDED and not self._closed:
            _log.warning("zookeeper connection lost servers=%s", servers)
        elif state == KazooState.LOST and not self._closed:
            _log.warning("zookeeper session lost servers=%s", servers)
        self._news.set()

    def _keep(self) -> None:
        wait_ms: int | None = None
        tries = 0
        told = ""
        while True:
            self._news.wait(None if wait_ms is None else wait_ms / 1000)
            if self._closed:
                return
            self._news.clear()
            wait_ms = None
            if self._session.connected:
                try:
                    self._renew()
                    tries, told = 0, ""
                except MetastoreError as error:
                    # A connection that was lost has its own line, and its return is told.
                    if not isinstance(error, NotSentError | NoAnswerError) and str(error) != told:
                        told = str(error)
                        _log.warning("host not registered reason=%s", error)
                    wait_ms = ENSEMBLE_RETRY_MS[min(tries, len(ENSEMBLE_RETRY_MS) - 1)]
                    tries += 1
            self._call_changed()

    def _renew(self) -> None:
        """The watches, and the host's registration if a lost session took it away."""
        # First, so that nothing between them and the callback goes unnoticed.
        self._session.watch(HOSTS, CONTROLLER)
        with self._lock:
            host = self._host
            if host is None or self._registered_in == self._session.session_id:
                return
            self._register(host)
        _log.info("host registered again host=%s", host.host_id)

    def _call_changed(self) -> None:
        for changed in list(self._changed):
            try:
                changed()
            except Exception:
                _log.exception("changes of the ensemble not taken")


def _decoded(path: str, znode: Znode, kind: type[_Entry]) -> _Entry:
    if len(znode.data) > ENSEMBLE_ZNODE_BYTES_MAX:
        raise DamagedStoreError(f"znode {path} is damaged: it has {len(znode.data)} bytes")
    try:
        return msgspec.json.decode(znode.data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise DamagedStoreError(f"znode {path} is unreadable: {error}") from error


def _epoch(znode: Znode | None) -> int:
    if znode is None:
        raise DamagedStoreError(f"znode {EPOCH} is missing")
    if not znode.data.isdigit() or len(znode.data) > 18:
        raise DamagedStoreError(f"znode {EPOCH} is unreadable")
    return int(znode.data)

"""Hosts and their metadata while a real ZooKeeper is in trouble: paused, killed, its leader lost,
connections cut, answers that never come and requests that come too late.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compat.zookeeper_clients import SHORT_SESSION_MS, Clients
from tests.house.tcp_proxy import TcpProxy
from tests.house.zookeeper import ZooKeeper
from tests.unit.metastore.ensemble_suite import ONE, TWO, WAIT_S, Noticed
from tests.unit.metastore.history import History
from tidelog.metadata.records import ChangeRecord, ConfigRecord, FeatureRecord
from tidelog.metastore import zookeeper
from tidelog.metastore.contract import (
    DamagedStoreError,
    Metastore,
    MetastoreError,
    VersionConflictError,
)
from tidelog.metastore.ensemble import EnsembleError, HostEntry, Seat, SeatLostError
from tidelog.metastore.znodes import ZooKeeperEnsemble


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    zookeeper_files: None,
) -> Iterator[Callable[[int], ZooKeeper]]:
    """Services by their number of servers, for all tests of the module."""
    services: dict[int, ZooKeeper] = {}

    def start(servers: int) -> ZooKeeper:
        if servers not in services:
            folder: Path = tmp_path_factory.mktemp(f"zookeeper-{servers}")
            services[servers] = service = ZooKeeper(folder, servers)
            request.addfinalizer(service.close)
            service.start()
        return services[servers]

    yield start


@pytest.fixture
def service(running: Callable[[int], ZooKeeper]) -> ZooKeeper:
    return running(1)


@pytest.fixture
def join(service: ZooKeeper) -> Iterator[Clients]:
    clients = Clients(service.hosts, SHORT_SESSION_MS)
    yield clients
    clients.close()


@pytest.fixture
def proxy(service: ZooKeeper) -> Iterator[TcpProxy]:
    with TcpProxy("127.0.0.1", service.servers[0].port) as one:
        yield one


def through(proxy: TcpProxy) -> str:
    return f"127.0.0.1:{proxy.port}"


def seen(client: ZooKeeperEnsemble, *hosts: HostEntry) -> Callable[[], bool]:
    """Whether the client sees just these hosts."""
    return lambda: set(client.look().hosts.values()) == set(hosts)


def error_of(failing: Callable[[], object]) -> type[Exception] | None:
    """The error's type, None when the call succeeded."""
    try:
        failing()
    except MetastoreError as error:
        return type(error)
    return None


# ---- sessions


def test_an_expired_session_is_renewed_and_registered_again(join: Clients, proxy: TcpProxy) -> None:
    one, two = join(ONE, through(proxy)), join(TWO)
    seat = one.stand()
    noticed, own = Noticed(two), Noticed(one)
    proxy.refuse()
    proxy.cut()
    noticed.until(seen(two, TWO))
    assert two.look().seat is None
    taken = two.stand()
    assert taken.epoch > seat.epoch
    proxy.refuse(False)
    noticed.until(seen(two, ONE, TWO))
    own.until(lambda: one.look().seat == taken)
    with pytest.raises(SeatLostError):
        one.store(seat).commit([FeatureRecord("f", 1)], 0)
    assert one.stand() == taken
    two.resign()
    assert one.stand().epoch > taken.epoch


def test_a_short_cut_costs_neither_session_nor_seat(join: Clients, proxy: TcpProxy) -> None:
    one, two = join(ONE, through(proxy)), join(TWO)
    seat = one.stand()
    store = one.store(seat)
    for version in range(5):
        store.commit([FeatureRecord("f", version + 1)], version)
        proxy.cut()
        Noticed(one).until(seen(one, ONE, TWO))
    assert two.look().seat == seat
    # No commit was outstanding, so none is in doubt.
    assert store.commit([FeatureRecord("f", 9)], 5) == 6


def test_a_host_whose_node_was_taken_meanwhile_comes_back_when_it_is_free(
    join: Clients, proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = join(ONE, through(proxy)), join()
    noticed = Noticed(two)
    proxy.refuse()
    proxy.cut()
    noticed.until(seen(two))
    thief = HostEntry("two", "127.0.0.1:1002", (1,))
    two.register(thief)
    told = Noticed(one)
    proxy.refuse(False)
    told.until(lambda: any("host not registered" in line for line in caplog.messages))
    assert seen(two, thief)()
    with pytest.raises(EnsembleError):
        one.stand()
    two.close()
    told.until(seen(one, ONE))
    assert one.stand().host_id == "one"


# ---- commits


def test_a_deposed_holder_that_was_paused_changes_nothing(join: Clients, proxy: TcpProxy) -> None:
    """What it sends goes on its way when another one has long had the seat."""
    one, two = join(ONE, through(proxy)), join(TWO)
    store = one.store(one.stand())
    assert store.commit([FeatureRecord("f", 1)], 0) == 1
    noticed = Noticed(two)
    proxy.refuse()  # its client cannot connect anew either
    proxy.hold_requests()
    with pytest.raises(SeatLostError):
        store.commit([FeatureRecord("f", 2)], 1)
    noticed.until(seen(two, TWO))
    after = two.store(two.stand())
    assert after.load() == (1, [FeatureRecord("f", 1)])
    proxy.release()
    proxy.refuse(False)
    noticed.until(seen(two, ONE, TWO))
    assert after.commit([FeatureRecord("f", 3)], 1) == 2
    with pytest.raises(SeatLostError):
        store.commit([FeatureRecord("f", 2)], 2)
    assert store.load() == (2, [FeatureRecord("f", 3)])


@pytest.mark.parametrize("stands_first", [True, False])
def test_a_request_that_arrives_late(join: Clients, proxy: TcpProxy, stands_first: bool) -> None:
    """The holder's own: its session lasts, over a new connection."""
    one = join(ONE, through(proxy))
    store = one.store(one.stand())
    assert store.commit([FeatureRecord("f", 1)], 0) == 1
    proxy.hold_requests()
    with pytest.raises(SeatLostError, match="cannot be known"):
        store.commit([FeatureRecord("f", 2)], 1)
    Noticed(one).until(lambda: "one" in one.look().hosts)
    if not stands_first:
        proxy.release()
    seats = []
    Noticed(one).until(lambda: seats.append(one.stand()) is None)
    store = one.store(seats[-1])
    version, records = store.load()
    assert (version, records) in [(1, [FeatureRecord("f", 1)]), (2, [FeatureRecord("f", 2)])]
    if stands_first:
        assert version == 1
        proxy.release()
    assert store.commit([FeatureRecord("f", 3)], version) == version + 1
    assert store.load() == (version + 1, [FeatureRecord("f", 3)])


def test_an_answer_that_is_lost(join: Clients, proxy: TcpProxy) -> None:
    one, two = join(ONE, through(proxy)), join(TWO)
    seat = one.stand()
    store = one.store(seat)
    store.commit([FeatureRecord("f", 1)], 0)
    proxy.hold_answers()
    failures: list[type[Exception] | None] = []
    thread = threading.Thread(
        target=lambda: failures.append(error_of(lambda: store.commit([FeatureRecord("f", 2)], 1)))
    )
    thread.start()
    reader = two.store(seat)
    deadline = time.monotonic() + WAIT_S
    while reader.load()[0] == 1 and time.monotonic() < deadline:
        pass  # the service is asked until the commit is there
    proxy.cut()
    thread.join(WAIT_S)
    assert failures == [SeatLostError]
    Noticed(one).until(lambda: one.look().seat is not None)
    store = one.store(one.stand())
    assert store.load() == (2, [FeatureRecord("f", 2)])
    assert store.commit([FeatureRecord("f", 3)], 2) == 3


def test_a_service_that_is_away_and_back(service: ZooKeeper, join: Clients) -> None:
    one = join(ONE)
    store = one.store(one.stand())
    store.commit([FeatureRecord("f", 1)], 0)
    told = Noticed(one)
    (server,) = service.servers
    server.kill()
    told.until(lambda: not store._tree.connected)  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(MetastoreError) as failed:
            store.commit([FeatureRecord("f", 2)], 1)
        assert not isinstance(failed.value, VersionConflictError)
    with pytest.raises(EnsembleError):
        one.look()
    service.restart(server)
    told.until(seen(one, ONE))
    # None of them was kept and sent when the service was back.
    assert store.load() == (1, [FeatureRecord("f", 1)])
    assert store.commit([FeatureRecord("f", 3)], 1) == 2
    assert store.load() == (2, [FeatureRecord("f", 3)])


def test_a_service_that_hangs(service: ZooKeeper, join: Clients) -> None:
    """The first commit is sent, and then nobody knows; those after it are not."""
    one = join(ONE)
    seat = one.stand()
    store = one.store(seat)
    store.commit([FeatureRecord("f", 1)], 0)
    told = Noticed(one)
    (server,) = service.servers
    server.pause()
    try:
        with pytest.raises(SeatLostError):
            store.commit([FeatureRecord("f", 2)], 1)
        told.until(lambda: not store._tree.connected)  # type: ignore[attr-defined]
        again = error_of(lambda: store.commit([FeatureRecord("f", 3)], 1))
        assert again is not None
        assert not issubclass(again, VersionConflictError)
    finally:
        server.resume()
    told.until(lambda: one.stand().epoch > seat.epoch)
    store = one.store(one.stand())
    version, records = store.load()
    assert (version, records) in [(1, [FeatureRecord("f", 1)]), (2, [FeatureRecord("f", 2)])]
    assert store.commit([FeatureRecord("f", 3)], version) == version + 1


# ---- three servers


class Holder(threading.Thread):
    """Commits a random history whenever it has the seat, and now and then gives it to another. As a
    controller does it, it stands and loads anew when it has lost the seat or may have.
    """

    def __init__(
        self, client: ZooKeeperEnsemble, host_id: str, seed: int, history: History
    ) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.host_id = host_id
        self.rng = random.Random(seed)
        self.history = history
        self.ended = threading.Event()
        self.errors: Counter[str] = Counter()
        self.seats = 0
        self.bug: BaseException | None = None
        self._news = threading.Event()
        self._store: Metastore | None = None
        self._version = 0
        client.watch(self._news.set)

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                self._try()
        except BaseException as error:
            self.bug = error

    def _try(self) -> None:
        try:
            if self._store is None and not self._stand():
                self._news.wait(0.1)
                self._news.clear()
                return
            assert self._store is not None
            self.history.commit(self._store, self._change(), self._version)
            self._version += 1
            if self.rng.random() < 0.01:
                self._store = None
                self.client.resign()
                self._news.wait(0.01)
        except DamagedStoreError:
            raise
        except MetastoreError as error:
            self.errors[type(error).__name__] += 1
            if isinstance(error, VersionConflictError):
                self._store = None

    def _stand(self) -> bool:
        least = self.history.version
        seat = self.client.stand()
        if seat.host_id != self.host_id:
            return False
        store = self.client.store(seat)
        self._version, records = store.load()
        self._store = store
        self.seats += 1
        assert self.history.fits(self._version, records, least)
        return True

    def _change(self) -> list[ChangeRecord]:
        large = 400 if self.rng.random() < 0.1 else 1
        return [
            ConfigRecord(2, f"t{self.rng.randrange(50)}", "k", f"{self.rng.random()}" * large)
            for _ in range(self.rng.randrange(1, 6))
        ]


def harm(service: ZooKeeper, rng: random.Random, wait_s: float) -> str:
    """Takes one server away, and brings it back after a while."""
    leads = rng.random() < 0.7
    leader = service.leader()
    server = leader if leads else next(one for one in service.servers if one is not leader)
    kills = rng.random() < 0.6
    server.kill() if kills else server.pause()
    threading.Event().wait(wait_s)
    if kills:
        server.start()
    else:
        server.resume()
    service.wait_serving()
    return f"{'killed' if kills else 'paused'} {'leader' if leads else 'follower'}"


@pytest.mark.timeout(150)
def test_controllers_that_change_while_servers_are_lost(
    running: Callable[[int], ZooKeeper],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two hosts want the seat, and commit whenever they have it. Nothing that was acknowledged is
    lost, nothing is there twice or in part, at any time that one of them begins.
    """
    monkeypatch.setattr(zookeeper, "METADATA_LOG_TRANSACTIONS_MAX", 20)
    monkeypatch.setattr(zookeeper, "_BODY_BYTES_MAX", 5_000)
    seed = int(os.environ.get("TIDELOG_SEED", "11"))
    rng = random.Random(seed)
    service = running(3)
    clients = Clients(service.hosts, SHORT_SESSION_MS)
    history = History()
    done: Counter[str] = Counter()
    try:
        one, two = clients(ONE), clients(TWO)
        holders = [Holder(one, "one", seed, history), Holder(two, "two", seed + 1, history)]
        for holder in holders:
            holder.start()
        for _ in range(6):
            goal = history.version + rng.randrange(20, 60)
            while history.version < goal and all(holder.is_alive() for holder in holders):
                threading.Event().wait(0.005)
            # Shorter than a session, and longer.
            done[harm(service, rng, rng.choice([0.0, 0.5, 2.5]))] += 1
        for holder in holders:
            holder.ended.set()
        for holder in holders:
            holder.join(WAIT_S)
            assert not holder.is_alive()
            if holder.bug is not None:
                raise AssertionError(f"seed {seed}") from holder.bug
        reader = clients()
        version, records = reader.store(Seat(0, "", "")).load()
        assert history.fits(version, records), seed
        with capsys.disabled():
            doubtful = sum(map(len, history.doubtful.values()))
            print(
                f"\nseed {seed}, {dict(done)}: {version} transactions in"
                f" {sum(holder.seats for holder in holders)} seats, {doubtful} without an answer,"
                f" errors {dict(holders[0].errors + holders[1].errors)}"
            )
    finally:
        clients.close()


def test_without_a_majority_nothing_is_committed(running: Callable[[int], ZooKeeper]) -> None:
    service = running(3)
    clients = Clients(service.hosts, SHORT_SESSION_MS)
    try:
        one = clients(ONE)
        store = one.store(one.stand())
        store.commit([FeatureRecord("f", 1)], 0)
        told = Noticed(one)
        killed = service.servers[:2]
        for server in killed:
            server.kill()
        # The third one serves until it has noticed.
        service.wait(lambda: not service.servers[2].mode())
        told.until(lambda: not store._tree.connected)  # type: ignore[attr-defined]
        with pytest.raises(MetastoreError) as failed:
            store.commit([FeatureRecord("f", 2)], 1)
        assert not isinstance(failed.value, VersionConflictError)
        for server in killed:
            server.start()
        service.wait_serving()
        told.until(seen(one, ONE))
        assert store.commit([FeatureRecord("f", 3)], 1) == 2
        assert store.load() == (2, [FeatureRecord("f", 3)])
    finally:
        clients.close()

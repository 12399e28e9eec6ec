"""Hosts and their metadata in a real ZooKeeper: the contracts that every ensemble and every store
keep, what lies in the znodes, and what is made of damaged ones.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.compat.zookeeper_clients import Clients
from tests.house.ports import free_ports
from tests.house.processes import held
from tests.house.zookeeper import ZooKeeper
from tests.unit.metastore.ensemble_suite import ONE, TWO, WAIT_S, EnsembleSuite, Join
from tests.unit.metastore.store_suite import StoreSuite, as_set, partition, topic_id
from tidelog.limits import METADATA_ZNODE_BYTES_MAX
from tidelog.metadata.records import (
    ChangeRecord,
    ConfigRecord,
    FeatureRecord,
    ProducerIdsRecord,
    TopicRecord,
)
from tidelog.metastore import znodes as znodes_module
from tidelog.metastore import zookeeper
from tidelog.metastore.contract import DamagedStoreError, Metastore, MetastoreError
from tidelog.metastore.ensemble import EnsembleError, HostEntry, RefusedError, SeatLostError
from tidelog.metastore.znodes import ZooKeeperEnsemble

#: More than fits into one znode, and into one request to ZooKeeper.
LARGE: list[ChangeRecord] = [
    ConfigRecord(2, f"t{number}", "k", f"{number:06}" * 100) for number in range(5_000)
]


@pytest.fixture
def join(one_zookeeper: ZooKeeper) -> Iterator[Clients]:
    clients = Clients(one_zookeeper.hosts)
    yield clients
    clients.close()


class TestZooKeeperEnsemble(EnsembleSuite):
    @pytest.fixture
    def join(self, join: Clients) -> Join:
        return join


class TestZooKeeperMetastore(StoreSuite):
    @pytest.fixture
    def open_store(self, join: Clients) -> Callable[[], Metastore]:
        holder = join(ONE)
        seat = holder.stand()
        return lambda: holder.store(seat)


def seated(join: Clients, host: HostEntry = ONE) -> zookeeper.ZooKeeperMetastore:
    client = join(host)
    store = client.store(client.stand())
    assert isinstance(store, zookeeper.ZooKeeperMetastore)
    return store


# ---- hosts


@pytest.mark.parametrize(
    "servers",
    ["", "/x", "h:x", "h:1,", "h:1 ,k:2", "h:99999", "h:1//x", "h:1/x/../y", "h:1/.", "h:1/x y"],
)
def test_servers_that_are_none(servers: str) -> None:
    with pytest.raises(RefusedError):
        ZooKeeperEnsemble(servers, 1_000)


@pytest.mark.parametrize("host_id", ["", "a/b", "..", ".", "a b", "a\0", "x" * 300])
def test_a_host_id_that_is_no_name_of_a_znode(join: Clients, host_id: str) -> None:
    with pytest.raises(RefusedError):
        join().register(HostEntry(host_id, "127.0.0.1:1", ()))


def test_nobody_answers() -> None:
    client = ZooKeeperEnsemble(f"127.0.0.1:{free_ports(1)[0]}/x", 1_000)
    with pytest.raises(EnsembleError, match=r"127\.0\.0\.1"):
        client.connect(300)
    client.close()
    with pytest.raises(EnsembleError):
        client.connect(300)


def test_a_path_with_something_else_is_refused(join: Clients) -> None:
    """As if Kafka itself kept its znodes there."""
    with Clients(join.servers).raw() as tree:
        tree.create("/controller_epoch", b"1")
        client = ZooKeeperEnsemble(join.servers + tree.root, 6_000)
    with pytest.raises(RefusedError, match="controller_epoch"):
        client.connect(10_000)
    client.close()


def test_a_path_that_may_not_be_used_is_refused(join: Clients) -> None:
    other = Clients(join.servers).raw()
    with other as tree:
        tree.create("/x")
        tree.forbid("/x")
    client = ZooKeeperEnsemble(f"{join.servers}{other.root}/x", 6_000)
    with pytest.raises(RefusedError, match="NoAuth"):
        client.connect(10_000)
    client.close()


def test_what_is_outstanding_is_bounded(join: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    portions = []

    def noted(znodes: list[znodes_module.Create]) -> Iterator[tuple[int, list[object]]]:
        for first, some in divided(znodes):
            portions.append(len(some))
            yield first, list(some)

    divided = znodes_module._portions
    monkeypatch.setattr(znodes_module, "_portions", noted)
    monkeypatch.setattr(zookeeper, "_BODY_BYTES_MAX", 10_000)
    monkeypatch.setattr(znodes_module, "ENSEMBLE_SENT_BYTES_MAX", 50_000)
    store = seated(join)
    store.commit(LARGE[:1_000], 0)
    assert len(portions) > 10
    assert max(portions[1:]) <= 5
    assert store.load()[1] == LARGE[:1_000]


def test_a_closed_client_leaves_no_thread_and_no_descriptor(join: Clients) -> None:
    before = held()
    for _ in range(3):
        client = ZooKeeperEnsemble(join.servers + join.path, 6_000)
        client.connect(10_000)
        client.register(ONE)
        client.stand()
        client.close()
    assert held() == before


def test_one_of_two_hosts_with_one_address_at_the_same_time_is_refused(join: Clients) -> None:
    clients = [join() for _ in range(6)]
    for round_number in range(5):
        outcomes: list[str] = []
        start = threading.Barrier(len(clients))

        def register(number: int, outcomes: list[str] = outcomes, start=start) -> None:
            start.wait()
            try:
                host = HostEntry(f"h{number}-{round_number}", f"a:{round_number}", ())  # noqa: B023
                clients[number].register(host)
                outcomes.append("there")
            except RefusedError:
                outcomes.append("refused")

        threads = [threading.Thread(target=register, args=(n,)) for n in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert sorted(outcomes) == ["refused"] * 5 + ["there"]


@pytest.mark.parametrize("path", ["/hosts/two", "/controller", "/cluster"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"epoch":"many"}', b"[" * 60_000, b'"' + b"a" * 100_000]
)
def test_an_unreadable_znode_is_named(join: Clients, path: str, content: bytes) -> None:
    one, two = join(ONE), join(TWO)
    two.stand()
    one.agree("c" * 22, None)
    with join.raw() as tree:
        tree.set(path, content)
    with pytest.raises(DamagedStoreError, match=path):
        one.look() if path != "/cluster" else one.agree("c" * 22, None)


def test_too_many_hosts(join: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = join(ONE), join(TWO)
    assert len(one.look().hosts) == 2
    monkeypatch.setattr(znodes_module, "ENSEMBLE_HOSTS_MAX", 1)
    with pytest.raises(DamagedStoreError, match="/hosts"):
        one.look()


@pytest.mark.parametrize("content", [b"", b"-1", b"many", b"9" * 100])
def test_an_unreadable_epoch_is_named(join: Clients, content: bytes) -> None:
    one = join(ONE)
    with join.raw() as tree:
        tree.set("/controller_epoch", content)
    with pytest.raises(DamagedStoreError, match="/controller_epoch"):
        one.stand()


def test_another_format_is_refused(join: Clients) -> None:
    store = seated(join)
    with join.raw() as tree:
        tree.set("/metadata/head", zookeeper.seal("/metadata/head", b'{"format":2,"version":0}'))
        tree.create("/cluster", b'{"format":2,"cluster_id":"","importer":null,"secret":""}')
    with pytest.raises(MetastoreError, match="format 2") as failed:
        store.load()
    assert not isinstance(failed.value, DamagedStoreError)
    with pytest.raises(RefusedError, match="format 2"):
        join().agree("c" * 22, None)


# ---- the store


def test_a_transaction_that_is_larger_than_a_request(join: Clients) -> None:
    store = seated(join)
    assert store.commit(LARGE, 0) == 1
    assert store.commit([LARGE[0]], 1) == 2
    with join.raw() as tree:
        sizes = [len(data) for _, data in tree.walk()]
        assert len(tree.children("/metadata/parts")) == 1
    assert sum(sizes) > 3_000_000
    assert max(sizes) <= METADATA_ZNODE_BYTES_MAX
    version, records = join().store(join(TWO).stand()).load()
    assert version == 2
    assert as_set(records) == set(LARGE)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_transaction_that_just_fits(join: Clients, over: int) -> None:
    """Also into the request that carries it: the service takes 1,048,575 bytes."""
    most = zookeeper._BODY_BYTES_MAX
    empty = len(zookeeper.encode_changes([ConfigRecord(2, "t", "k", "a" * 100_000)])) - 100_000
    records: list[ChangeRecord] = [ConfigRecord(2, "t", "k", "a" * (most - empty + over))]
    assert len(zookeeper.encode_changes(records)) == most + over
    store = seated(join)
    store.commit(records, 0)
    with join.raw() as tree:
        assert len(tree.children("/metadata/parts")) == (over > 0)
        assert max(len(data) for _, data in tree.walk()) <= METADATA_ZNODE_BYTES_MAX
    assert store.load() == (1, records)


def test_ten_thousand_partitions_in_batches(
    join: Clients, capsys: pytest.CaptureFixture[str]
) -> None:
    store = seated(join)
    records: list[ChangeRecord] = [TopicRecord(topic_id(1), "a")]
    records += [partition(1, number) for number in range(10_000)]
    started = time.monotonic()
    batches = [records[first : first + 500] for first in range(0, len(records), 500)]
    for version, batch in enumerate(batches):
        store.commit(batch, version)
    committed = time.monotonic()
    version, found = store.load()
    loaded = time.monotonic()
    assert version == len(batches)
    assert as_set(found) == set(records)
    with join.raw() as tree:
        sizes = [len(data) for _, data in tree.walk()]
    assert max(sizes) <= METADATA_ZNODE_BYTES_MAX
    with capsys.disabled():
        print(
            f"\n10,000 partitions: {len(batches)} commits in {committed - started:.2f} s,"
            f" loaded in {loaded - committed:.2f} s, {len(sizes)} znodes,"
            f" largest {max(sizes):,} bytes, all {sum(sizes):,}"
        )


def test_snapshots_end_the_log(join: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zookeeper, "METADATA_LOG_TRANSACTIONS_MAX", 10)
    store = seated(join)
    store.commit(LARGE, 0)
    model = dict.fromkeys(record.store_key for record in LARGE)
    for version in range(1, 35):
        store.commit([ProducerIdsRecord(version)], version)
        with join.raw() as tree:
            assert len(tree.children("/metadata/log")) == (version + 1) % 10
            assert len(tree.children("/metadata/snapshots")) == (version + 1 >= 10)
            assert len(tree.children("/metadata/parts")) == (version + 1 < 10)
    version, records = join().store(join(TWO).stand()).load()
    assert version == 35
    assert {record.store_key for record in records} == {*model, ("producer_ids", "")}


def test_large_transactions_are_a_reason_for_a_snapshot(
    join: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zookeeper, "METADATA_LOG_BYTES_MIN", 10_000)
    store = seated(join)
    for version in range(20):
        store.commit([ConfigRecord(2, "t", "k", "a" * 3_000)], version)
    with join.raw() as tree:
        assert len(tree.children("/metadata/log")) < 5
        assert len(tree.children("/metadata/snapshots")) == 1
    assert store.load() == (20, [ConfigRecord(2, "t", "k", "a" * 3_000)])


def test_a_state_is_whole_while_it_changes(join: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every transaction gives all records the same level; a snapshot follows every third."""
    monkeypatch.setattr(zookeeper, "METADATA_LOG_TRANSACTIONS_MAX", 3)
    monkeypatch.setattr(zookeeper, "_BODY_BYTES_MAX", 100)
    store = seated(join)
    other = join(TWO)
    reader = other.store(other.stand())
    ended = threading.Event()
    loads: list[tuple[int, set[int]]] = []

    def read() -> None:
        while not ended.is_set():
            version, records = reader.load()
            assert len(records) == (10 if version else 0)
            loads.append((version, {getattr(record, "level", 0) for record in records}))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for version in range(150):
            store.commit([FeatureRecord(f"f{n}", version + 1) for n in range(10)], version)
    finally:
        ended.set()
        thread.join(WAIT_S)
    assert len(loads) > 5
    assert all(levels == ({version} if version else set()) for version, levels in loads)
    assert [version for version, _ in loads] == sorted(version for version, _ in loads)


def test_what_was_begun_and_never_committed_is_removed_by_the_next_holder(
    join: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    one, two = join(ONE), join(TWO)
    store = one.store(one.stand())
    store.commit([FeatureRecord("f", 1)], 0)
    with monkeypatch.context() as patched:
        patched.setattr(store._tree, "multi", killed)  # type: ignore[attr-defined]
        with pytest.raises(Killed):
            store.commit(LARGE, 1)  # between parts and multi
        patched.setattr(zookeeper, "METADATA_LOG_TRANSACTIONS_MAX", 1)
        store._head = store._read_head()  # type: ignore[attr-defined]
        with pytest.raises(Killed):
            store._tidy(store._fence())  # type: ignore[attr-defined]  # in a snapshot
    with join.raw() as tree:
        assert len(tree.children("/metadata/parts")) == 1
        assert len(tree.children("/metadata/snapshots")) == 1
    one.close()
    after = two.store(two.stand())
    assert after.load() == (1, [FeatureRecord("f", 1)])
    after.commit([FeatureRecord("f", 2)], 1)
    with join.raw() as tree:
        assert not tree.children("/metadata/parts")
        assert not tree.children("/metadata/snapshots")
    assert after.load() == (2, [FeatureRecord("f", 2)])


def test_a_store_that_is_written_is_not_adopted_over_half_way(join: Clients) -> None:
    store = seated(join)
    store.adopt(LARGE, 77)
    version, records = store.load()
    assert version == 77
    assert as_set(records) == set(LARGE)
    with join.raw() as tree:
        assert not tree.children("/metadata/log")


# ---- damage


def damages(rng: random.Random, data: bytes) -> Iterator[bytes]:
    yield b""
    yield data[: len(data) // 2]
    yield data + b"\0"
    yield data * 2
    at = rng.randrange(len(data))
    yield data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]
    yield b"\xff" * len(data)


def test_every_damaged_or_missing_znode_is_named(
    join: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zookeeper, "METADATA_LOG_TRANSACTIONS_MAX", 10)
    monkeypatch.setattr(zookeeper, "_BODY_BYTES_MAX", 300)
    store = seated(join)
    for version in range(14):
        count = 30 if version in (3, 12) else 1
        store.commit([FeatureRecord(f"f{n}", version + 1) for n in range(count)], version)
    intact = store.load()
    rng = random.Random(3)
    with join.raw() as tree:
        used = [(path, data) for path, data in tree.walk() if data]
        kinds = {path.split("/")[2] for path, _ in used}
        assert kinds == {"head", "log", "parts", "snapshots"}
        for path, data in used:
            for damaged in damages(rng, data):
                tree.set(path, damaged)
                with pytest.raises(DamagedStoreError, match=path):
                    store.load()
            tree.delete(path)
            with pytest.raises(DamagedStoreError, match=path):
                store.load()
            tree.create(path, data)
            assert store.load() == intact


def test_a_znode_in_the_place_of_another_is_damage(join: Clients) -> None:
    store = seated(join)
    for version in range(3):
        store.commit([FeatureRecord("f", version + 1)], version)
    with join.raw() as tree:
        tree.set(f"/metadata/log/{3:020}", tree.get(f"/metadata/log/{2:020}"))
    with pytest.raises(DamagedStoreError, match=f"{3:020}"):
        store.load()


def test_a_log_that_is_further_than_its_head_is_damage(join: Clients) -> None:
    store = seated(join)
    store.commit([FeatureRecord("f", 1)], 0)
    with join.raw() as tree:
        tree.create(f"/metadata/log/{2:020}", b"from elsewhere")
    with pytest.raises(DamagedStoreError, match=f"{2:020}") as failed:
        store.commit([FeatureRecord("f", 2)], 1)
    assert not isinstance(failed.value, SeatLostError)
    assert store.load() == (1, [FeatureRecord("f", 1)])

"""The log in znodes, where every single request may go wrong: nothing that was acknowledged is
lost, nothing counts that was refused, and whatever is stored can be read.

The znodes are in memory here; tests/compat/test_zookeeper.py does it with real ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.unit.metastore.history import History
from tests.unit.metastore.memory_tree import Killed, MemoryTree, Trouble, Znodes
from tests.unit.metastore.store_suite import StoreSuite
from tidelog.metadata.records import ChangeRecord, FeatureRecord
from tidelog.metastore import zookeeper
from tidelog.metastore.contract import (
    DamagedStoreError,
    Metastore,
    MetastoreError,
    VersionConflictError,
)
from tidelog.metastore.ensemble import Seat, SeatLostError
from tidelog.metastore.tree import Create, SetData
from tidelog.metastore.zookeeper import EPOCH, ZooKeeperMetastore, first_znodes


class Service:
    """Znodes of an empty store, and who has the seat."""

    def __init__(self) -> None:
        self.znodes = Znodes()
        self.znodes.apply([Create(EPOCH, b"0"), *first_znodes()])

    def stand(self, trouble: Callable[[], Trouble] | None = None) -> ZooKeeperMetastore:
        """A store of a new holder of the seat."""
        (fence,) = self.znodes.apply([SetData(EPOCH, b"", -1)])
        seat = Seat(fence, "host", "127.0.0.1:1")
        return ZooKeeperMetastore(MemoryTree(self.znodes, trouble), seat, lambda: fence)

    def names(self, folder: str) -> list[str]:
        return sorted(self.znodes.children(f"/metadata/{folder}"))


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts and snapshots after a few records."""
    monkeypatch.setattr(zookeeper, "_BODY_BYTES_MAX", 200)
    monkeypatch.setattr(zookeeper, "METADATA_LOG_TRANSACTIONS_MAX", 4)


class TestZooKeeperMetastore(StoreSuite):
    @pytest.fixture
    def open_store(self, service: Service) -> Callable[[], Metastore]:
        (fence,) = service.znodes.apply([SetData(EPOCH, b"", -1)])
        seat = Seat(fence, "host", "127.0.0.1:1")
        return lambda: ZooKeeperMetastore(MemoryTree(service.znodes), seat, lambda: fence)


class TestSmallZnodes(TestZooKeeperMetastore):
    @pytest.fixture(autouse=True)
    def all_small(self, small: None) -> None:
        pass


def change(rng: random.Random) -> list[ChangeRecord]:
    count = 20 if rng.random() < 0.3 else rng.randrange(4)
    return [FeatureRecord(f"feature-{rng.randrange(12)}", rng.randrange(4)) for _ in range(count)]


class Fate:
    """Goes wrong at random, or kills, and can be switched off."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.on = True

    def __call__(self) -> Trouble:
        if not self.on or self.rng.random() < 0.93:
            return Trouble.NONE
        if self.rng.random() < 0.2:
            raise Killed
        return self.rng.choice(list(Trouble))


@pytest.mark.parametrize("first_seed", range(0, 400, 100))
def test_whatever_goes_wrong(first_seed: int, small: None) -> None:
    for seed in range(first_seed, first_seed + 100):
        run(seed)


def run(seed: int) -> None:
    """Some holders in turn and at a time; now and then one loads, and everything must fit."""
    rng = random.Random(seed)
    service = Service()
    history = History()
    fate = Fate(rng)
    holders = [(service.stand(fate), 0)]
    for step in range(60):
        at = len(holders) - 1 if rng.random() < 0.8 else rng.randrange(len(holders))
        store, version = holders[at]
        try:
            if rng.random() < 0.1:
                service.znodes.deliver()
            if rng.random() < 0.15:
                loaded, records = store.load()
                assert history.fits(loaded, records), (seed, step)
                holders[at] = store, loaded
                continue
            records = change(rng)
            history.commit(store, records, version, deposed=at < len(holders) - 1)
            holders[at] = store, version + 1
        except (SeatLostError, Killed):
            store = service.stand(fate)
            fate.on = False
            service.znodes.deliver()  # what was under way counts no more
            version, records = store.load()
            fate.on = True
            assert history.fits(version, records), (seed, step)
            # What did not take effect by now never will.
            history.doubtful = {n: of for n, of in history.doubtful.items() if n <= version}
            holders.append((store, version))
        except DamagedStoreError as error:
            raise AssertionError((seed, step)) from error
        except MetastoreError:
            continue
    fate.on = False
    store = service.stand()
    version, records = store.load()
    assert history.fits(version, records), seed
    for _ in range(8):
        version = store.commit([], version)
    check_nothing_is_left_over(service, version)


def check_nothing_is_left_over(service: Service, version: int) -> None:
    head, _ = ZooKeeperMetastore(
        MemoryTree(service.znodes), Seat(0, "", ""), lambda: None
    )._read_head()
    assert head.version == version
    assert version - head.snapshot_version < 8
    assert service.names("snapshots") == [head.snapshot]
    after = range(head.snapshot_version + 1, version + 1)
    assert service.names("log") == [f"{number:020}" for number in after]
    assert not service.names("parts")


@pytest.mark.parametrize("seed", range(20))
def test_a_state_is_whole_while_it_changes(service: Service, small: None, seed: int) -> None:
    """Between any two requests of a reader, transactions are committed and snapshots written. Each
    transaction gives all records the same level."""
    rng = random.Random(seed)
    writer = service.stand()
    level = 0

    def write() -> Trouble:
        nonlocal level
        if rng.random() < 0.15:
            level += 1
            count = 20 if rng.random() < 0.3 else 10
            writer.commit([FeatureRecord(f"f{n}", level) for n in range(count)], level - 1)
        return Trouble.NONE

    reader = ZooKeeperMetastore(MemoryTree(service.znodes, write), Seat(1, "", ""), lambda: None)
    seen = 0
    for _ in range(40):
        version, records = reader.load()
        levels = {record.level for record in records[:10] if isinstance(record, FeatureRecord)}
        assert levels == ({version} if version else set())
        assert version >= seen
        seen = version
    assert seen > 20


def test_two_stores_of_one_seat(service: Service, small: None) -> None:
    (fence,) = service.znodes.apply([SetData(EPOCH, b"", -1)])
    seat = Seat(fence, "host", "127.0.0.1:1")
    stores = [ZooKeeperMetastore(MemoryTree(service.znodes), seat, lambda: fence) for _ in "ab"]
    for version in range(20):
        wrong, right = stores[version % 2 :] + stores[: version % 2]
        with pytest.raises(VersionConflictError) as failed:
            wrong.commit([FeatureRecord("f", 99)], version - 1 if version else 5)
        assert not isinstance(failed.value, SeatLostError)
        assert right.commit([FeatureRecord("f", version + 1)], version) == version + 1
    assert stores[0].load() == (20, [FeatureRecord("f", 20)])


def test_a_commit_between_reading_the_head_and_setting_it(service: Service) -> None:
    (fence,) = service.znodes.apply([SetData(EPOCH, b"", -1)])
    seat = Seat(fence, "host", "127.0.0.1:1")
    one, two = (ZooKeeperMetastore(MemoryTree(service.znodes), seat, lambda: fence) for _ in "ab")
    one.load()
    tree = one._tree
    assert isinstance(tree, MemoryTree)
    moments = iter([lambda: two.adopt([FeatureRecord("f", 7)], 5)])

    def trouble() -> Trouble:
        next(moments, lambda: None)()
        return Trouble.NONE

    tree.trouble = trouble
    with pytest.raises(VersionConflictError):
        one.commit([FeatureRecord("f", 1)], 0)
    assert one.load() == (5, [FeatureRecord("f", 7)])


def test_too_many_parts(service: Service, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    store = service.stand()
    large: list[ChangeRecord] = [FeatureRecord(f"feature-{n}", 1) for n in range(100)]
    store.commit(large, 0)
    monkeypatch.setattr(zookeeper, "METADATA_PARTS_MAX", 3)
    with pytest.raises(MetastoreError, match="too many") as failed:
        store.commit(large, 1)
    assert not isinstance(failed.value, VersionConflictError)
    with pytest.raises(DamagedStoreError, match="parts"):
        store.load()


def test_the_epoch_is_what_counts(service: Service) -> None:
    old = service.stand()
    old.commit([FeatureRecord("f", 1)], 0)
    new = service.stand()
    with pytest.raises(SeatLostError):
        old.commit([FeatureRecord("f", 2)], 1)
    with pytest.raises(SeatLostError):
        old.adopt([], 5)
    assert new.load() == (1, [FeatureRecord("f", 1)])


@pytest.mark.parametrize("trouble", [Trouble.NOT_DONE, Trouble.NO_ANSWER, Trouble.LATE])
def test_a_commit_without_an_answer_costs_the_seat(service: Service, trouble: Trouble) -> None:
    store = service.stand()
    store.commit([FeatureRecord("f", 1)], 0)
    tree = store._tree
    assert isinstance(tree, MemoryTree)
    tree.trouble = lambda: trouble
    with pytest.raises(SeatLostError):
        store.commit([FeatureRecord("f", 2)], 1)
    done = trouble is Trouble.NO_ANSWER
    after = service.stand()
    service.znodes.deliver()
    assert after.load() == (1 + done, [FeatureRecord("f", 1 + done)])


def test_what_was_not_sent_is_no_doubt(service: Service) -> None:
    store = service.stand()
    store.commit([FeatureRecord("f", 1)], 0)
    tree = store._tree
    assert isinstance(tree, MemoryTree)
    tree.trouble = lambda: Trouble.NOT_SENT
    with pytest.raises(MetastoreError) as failed:
        store.commit([FeatureRecord("f", 2)], 1)
    assert not isinstance(failed.value, VersionConflictError)
    tree.trouble = lambda: Trouble.NONE
    assert store.commit([FeatureRecord("f", 3)], 1) == 2


def test_a_snapshot_that_fails_fails_no_commit(
    service: Service, small: None, caplog: pytest.LogCaptureFixture
) -> None:
    store = service.stand()
    tree = store._tree
    assert isinstance(tree, MemoryTree)
    for version in range(3):
        store.commit([FeatureRecord("f", version + 1)], version)
    requests = iter([Trouble.NONE])  # the commit's own
    tree.trouble = lambda: next(requests, Trouble.NOT_SENT)
    assert store.commit([FeatureRecord("f", 4)], 3) == 4
    assert "metadata snapshot not written" in caplog.text
    assert not service.names("snapshots")
    tree.trouble = lambda: Trouble.NONE
    assert store.commit([FeatureRecord("f", 5)], 4) == 5
    assert len(service.names("snapshots")) == 1
    assert not service.names("log")


def test_an_adoption_that_stops_half_way_can_be_done_again(service: Service, small: None) -> None:
    records: list[ChangeRecord] = [FeatureRecord(f"feature-{n}", 1) for n in range(100)]
    for stop_at in range(1, 200):
        once = Service()
        left = iter(range(stop_at))

        def stop(left=left) -> Trouble:
            if next(left, None) is None:
                raise Killed
            return Trouble.NONE

        try:
            once.stand(stop).adopt(records, 9)
        except Killed:
            after = once.stand()
            assert after.load() == (0, [])
            after.adopt(records, 9)
            version, found = after.load()
            assert (version, set(found)) == (9, set(records))
            for version in range(9, 14):
                after.commit([], version)
            check_nothing_is_left_over(once, 14)
            continue
        break
    assert 10 < stop_at < 199

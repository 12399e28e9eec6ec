"""The ensemble in memory keeps the contract of the real one, and makes the troubles it promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.house.memory_ensemble import MemoryEnsemble, MemoryService, Unknown
from tests.unit.metastore.ensemble_suite import ONE, TWO, EnsembleSuite, Join, Noticed
from tests.unit.metastore.store_suite import StoreSuite
from tidelog.metadata.records import FeatureRecord
from tidelog.metastore.contract import Metastore, MetastoreError, VersionConflictError
from tidelog.metastore.ensemble import (
    EnsembleError,
    HostEntry,
    RefusedError,
    SeatLostError,
)


@pytest.fixture
def service() -> MemoryService:
    return MemoryService()


@pytest.fixture
def join(service: MemoryService) -> Iterator[Join]:
    clients = []

    def join_one(host: HostEntry | None = None) -> MemoryEnsemble:
        client = MemoryEnsemble(service)
        clients.append(client)
        client.connect(1000)
        if host is not None:
            client.register(host)
        return client

    yield join_one
    for client in clients:
        client.close()


class TestMemoryEnsemble(EnsembleSuite):
    @pytest.fixture
    def join(self, join: Join) -> Join:
        return join


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def open_store(self, join: Join) -> Callable[[], Metastore]:
        holder = join(ONE)
        seat = holder.stand()
        return lambda: holder.store(seat)


def test_errors_are_those_of_the_store() -> None:
    assert issubclass(EnsembleError, MetastoreError)
    assert issubclass(RefusedError, EnsembleError)
    assert issubclass(SeatLostError, VersionConflictError)


def test_a_lost_session_is_renewed_without_the_seat(join: Join) -> None:
    one, two = join(ONE), join(TWO)
    seat = one.stand()
    calls: list[bool] = []
    two.watch(lambda: calls.append("one" in two.look().hosts))
    one.lose_session()
    assert calls == [False, True]
    assert dict(two.look().hosts) == {"one": ONE, "two": TWO}
    assert two.look().seat is None
    assert two.stand().epoch > seat.epoch


def test_a_session_that_is_lost_in_an_outage_is_back_after_it(join: Join) -> None:
    one, two = join(ONE), join(TWO)
    store = one.store(one.stand())
    noticed = Noticed(two)
    one.unreachable()
    with pytest.raises(EnsembleError):
        one.look()
    with pytest.raises(MetastoreError) as failed:
        store.commit([], 0)
    assert not isinstance(failed.value, VersionConflictError)
    assert dict(two.look().hosts) == {"one": ONE, "two": TWO}
    one.lose_session()
    noticed.until(lambda: dict(two.look().hosts) == {"two": TWO})
    two.stand()
    one.reachable_again()
    noticed.until(lambda: dict(two.look().hosts) == {"one": ONE, "two": TWO})
    with pytest.raises(SeatLostError):
        store.commit([], 0)


def test_a_lost_host_whose_node_was_taken_comes_back_when_it_is_free(join: Join) -> None:
    one, two = join(ONE), join()
    one.unreachable()
    one.lose_session()
    two.register(HostEntry("two", "127.0.0.1:1002", (1,)))
    one.reachable_again()
    assert set(two.look().hosts) == {"two"}
    two.close()
    assert dict(one.look().hosts) == {"one": ONE}


@pytest.mark.parametrize("outcome", list(Unknown))
def test_a_commit_whose_outcome_is_unknown(
    join: Join, service: MemoryService, outcome: Unknown
) -> None:
    one = join(ONE)
    store = one.store(one.stand())
    one.lose_answer(outcome)
    with pytest.raises(SeatLostError):
        store.commit([FeatureRecord("f", 1)], 0)
    store = one.store(one.stand())
    service.deliver()
    done = outcome is Unknown.DONE
    assert store.load() == ((1, [FeatureRecord("f", 1)]) if done else (0, []))
    assert store.commit([FeatureRecord("f", 2)], int(done)) == 1 + done


def test_a_late_commit_counts_as_long_as_nobody_stood(join: Join, service: MemoryService) -> None:
    one = join(ONE)
    store = one.store(one.stand())
    one.lose_answer(Unknown.LATER)
    with pytest.raises(SeatLostError):
        store.commit([FeatureRecord("f", 1)], 0)
    service.deliver()
    assert one.store(one.stand()).load() == (1, [FeatureRecord("f", 1)])

"""The contract of what several hosts agree on, as tests: a service's test module derives
`EnsembleSuite`.

The troubles of a service (a lost session, an outage) are brought about differently by each; here is
what needs none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tidelog.metadata.records import ChangeRecord, FeatureRecord
from tidelog.metastore.contract import VersionConflictError
from tidelog.metastore.ensemble import (
    Agreed,
    Ensemble,
    EnsembleError,
    HostEntry,
    RefusedError,
    Seat,
    SeatLostError,
)

WAIT_S = 20.0
ONE = HostEntry("one", "127.0.0.1:1001", (1, 2))
TWO = HostEntry("two", "127.0.0.1:1002", (11, 12))

Join = Callable[..., Ensemble]


class Noticed:
    """Counts the calls of `changed` and waits until something is so."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._condition = threading.Condition()
        self._calls = 0
        ensemble.watch(self._called)

    def _called(self) -> None:
        with self._condition:
            self._calls += 1
            self._condition.notify_all()

    def until(self, holds: Callable[[], bool]) -> None:
        """Asks again after every call, and only then: a change that nobody tells of is missed."""
        with self._condition:
            while True:
                seen = self._calls
                self._condition.release()
                try:
                    if self._holds(holds):
                        return
                finally:
                    self._condition.acquire()
                told = self._condition.wait_for(lambda seen=seen: self._calls > seen, WAIT_S)
                assert told, "nothing was told"

    @staticmethod
    def _holds(holds: Callable[[], bool]) -> bool:
        try:
            return holds()
        except EnsembleError:
            return False


class EnsembleSuite:
    """`join` makes another client of the same, at first empty, service and connects it; with a
    HostEntry it registers it. The fixture closes them all."""

    @pytest.fixture
    def join(self) -> Join:
        raise NotImplementedError

    def test_the_first_proposal_holds_for_all(self, join: Join) -> None:
        one, two = join(), join()
        agreed = one.agree("a" * 22, "one")
        assert agreed == Agreed("a" * 22, "one", agreed.secret)
        assert len(agreed.secret) >= 16
        assert two.agree("b" * 22, None) == agreed
        assert one.agree("c" * 22, "two") == agreed

    def test_proposals_at_the_same_time(self, join: Join) -> None:
        clients = [join() for _ in range(4)]
        found: list[Agreed] = []
        threads = [
            threading.Thread(target=lambda n=n, c=c: found.append(c.agree(f"{n:022}", None)))
            for n, c in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert len(found) == 4
        assert len(set(found)) == 1

    def test_hosts_are_seen_while_they_are_there(self, join: Join) -> None:
        one = join(ONE)
        noticed = Noticed(one)
        assert dict(one.look().hosts) == {"one": ONE}
        two = join(TWO)
        noticed.until(lambda: dict(one.look().hosts) == {"one": ONE, "two": TWO})
        assert dict(two.look().hosts) == {"one": ONE, "two": TWO}
        two.close()
        noticed.until(lambda: dict(one.look().hosts) == {"one": ONE})
        again = join(TWO)
        assert dict(again.look().hosts) == {"one": ONE, "two": TWO}

    def test_a_host_with_a_node_of_another_is_refused(self, join: Join) -> None:
        one = join(ONE)
        two = join()
        with pytest.raises(RefusedError, match=r"one.*2"):
            two.register(HostEntry("two", "127.0.0.1:1002", (11, 2)))
        assert dict(one.look().hosts) == {"one": ONE}
        two.register(TWO)  # nothing of the refused one is left
        assert dict(one.look().hosts) == {"one": ONE, "two": TWO}

    def test_a_host_with_the_address_of_another_is_refused(self, join: Join) -> None:
        join(ONE)
        two = join()
        with pytest.raises(RefusedError, match=r"one.*127\.0\.0\.1:1001"):
            two.register(HostEntry("two", ONE.address, (11,)))
        assert set(two.look().hosts) == {"one"}

    def test_an_earlier_session_of_the_same_host_is_replaced(self, join: Join) -> None:
        join(ONE)  # and still there: killed, and the service does not know it yet
        again = join()
        new = HostEntry("one", "127.0.0.1:1003", (2, 3))
        again.register(new)
        assert dict(again.look().hosts) == {"one": new}
        # The node that it does not have any more is free.
        two = join(HostEntry("two", "127.0.0.1:1001", (1,)))
        assert set(two.look().hosts) == {"one", "two"}

    def test_its_end_takes_nothing_from_the_new_one(self, join: Join) -> None:
        earlier, again = join(ONE), join(ONE)
        seat = again.stand()
        earlier.close()
        assert dict(again.look().hosts) == {"one": ONE}
        assert again.look().seat == seat
        two = join()
        with pytest.raises(RefusedError):
            two.register(HostEntry("two", "127.0.0.1:1002", (1,)))

    def test_nobody_stands_who_is_not_registered(self, join: Join) -> None:
        with pytest.raises(EnsembleError):
            join().stand()

    def test_one_has_the_seat(self, join: Join) -> None:
        one, two = join(ONE), join(TWO)
        noticed = Noticed(two)
        assert one.look().seat is None
        seat = one.stand()
        assert (seat.host_id, seat.address) == ("one", ONE.address)
        assert two.stand() == seat
        noticed.until(lambda: two.look().seat == seat)
        one.resign()
        noticed.until(lambda: two.look().seat is None)
        one.resign()
        next_seat = two.stand()
        assert next_seat.host_id == "two"
        assert next_seat.epoch > seat.epoch
        one.resign()  # not its own
        assert one.look().seat == next_seat
        two.close()
        noticed = Noticed(one)
        noticed.until(lambda: one.look().seat is None)
        assert one.stand().epoch > next_seat.epoch

    def test_the_holder_stands_anew(self, join: Join) -> None:
        one = join(ONE)
        first = one.stand()
        store = one.store(first)
        assert store.commit([FeatureRecord("f", 1)], 0) == 1
        second = one.stand()
        assert second.epoch > first.epoch
        assert one.look().seat == second
        with pytest.raises(SeatLostError):
            store.commit([FeatureRecord("f", 2)], 1)
        store = one.store(second)
        assert store.load() == (1, [FeatureRecord("f", 1)])
        assert store.commit([FeatureRecord("f", 2)], 1) == 2

    def test_a_restarted_holder_takes_its_seat_from_its_earlier_life(self, join: Join) -> None:
        earlier = join(ONE)
        first = earlier.stand()
        again = join(ONE)
        second = again.stand()
        assert second.epoch > first.epoch
        with pytest.raises(SeatLostError):
            earlier.store(first).commit([FeatureRecord("f", 1)], 0)
        assert again.store(second).commit([FeatureRecord("f", 1)], 0) == 1

    def test_all_stand_at_the_same_time(self, join: Join) -> None:
        clients = [join(HostEntry(str(n), f"127.0.0.1:{2000 + n}", (n,))) for n in range(4)]
        for round_number in range(5):
            seats: list[Seat] = []
            threads = [
                threading.Thread(target=lambda c=c, seats=seats: seats.append(c.stand()))
                for c in clients
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)
            assert len(seats) == 4
            assert len(set(seats)) == 1, round_number
            clients[int(seats[0].host_id)].resign()

    def test_a_deposed_holder_changes_nothing(self, join: Join) -> None:
        one, two = join(ONE), join(TWO)
        old = one.store(one.stand())
        old.commit([FeatureRecord("f", 1)], 0)
        one.resign()
        new = two.store(two.stand())
        assert new.load() == (1, [FeatureRecord("f", 1)])
        with pytest.raises(SeatLostError):
            old.commit([FeatureRecord("f", 2)], 1)
        assert new.commit([FeatureRecord("f", 3)], 1) == 2
        with pytest.raises(SeatLostError):
            old.commit([FeatureRecord("f", 2)], 2)
        with pytest.raises(SeatLostError):
            old.adopt([FeatureRecord("f", 2)], 7)
        assert old.load() == (2, [FeatureRecord("f", 3)])

    def test_who_has_resigned_writes_no_more(self, join: Join) -> None:
        one = join(ONE)
        store = one.store(one.stand())
        store.commit([FeatureRecord("f", 1)], 0)
        one.resign()
        with pytest.raises(SeatLostError):
            store.commit([FeatureRecord("f", 2)], 1)
        assert one.store(one.stand()).load() == (1, [FeatureRecord("f", 1)])

    def test_only_a_seat_writes(self, join: Join) -> None:
        one, two = join(ONE), join(TWO)
        seat = one.stand()
        with pytest.raises(SeatLostError):
            two.store(seat).commit([FeatureRecord("f", 1)], 0)
        one.store(seat).commit([FeatureRecord("f", 1)], 0)
        assert two.store(seat).load() == (1, [FeatureRecord("f", 1)])

    def test_a_conflict_of_the_holder_with_itself_is_none_of_the_seat(self, join: Join) -> None:
        one = join(ONE)
        store = one.store(one.stand())
        store.commit([FeatureRecord("f", 1)], 0)
        with pytest.raises(VersionConflictError) as failed:
            store.commit([FeatureRecord("f", 1)], 0)
        assert not isinstance(failed.value, SeatLostError)
        assert store.commit([FeatureRecord("f", 2)], 1) == 2

    def test_metadata_of_one_host_is_adopted(self, join: Join) -> None:
        one = join(ONE)
        store = one.store(one.stand())
        records: list[ChangeRecord] = [FeatureRecord(f"f{n}", 1) for n in range(100)]
        store.adopt(records, 41)
        version, found = store.load()
        assert version == 41
        assert set(found) == set(records)
        with pytest.raises(VersionConflictError):
            store.adopt(records, 41)
        with pytest.raises(VersionConflictError):
            store.commit([FeatureRecord("f0", 0)], 0)
        assert store.commit([FeatureRecord("f0", 0)], 41) == 42
        again = one.store(one.stand())
        version, found = again.load()
        assert version == 42
        assert set(found) == set(records[1:])

    def test_what_was_written_is_not_adopted_over(self, join: Join) -> None:
        one = join(ONE)
        store = one.store(one.stand())
        store.commit([], 0)
        with pytest.raises(VersionConflictError):
            store.adopt([FeatureRecord("f", 1)], 41)
        assert store.load() == (1, [])

    def test_closing_twice_is_harmless(self, join: Join) -> None:
        one = join(ONE)
        store = one.store(one.stand())
        store.close()
        assert one.look().seat is not None  # closing a store closes no session
        one.close()
        one.close()
        with pytest.raises(EnsembleError):
            one.look()

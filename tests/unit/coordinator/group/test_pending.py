"""Offsets of open transactions: what counts in the end, against a model that keeps all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidelog.coordinator.group.pending import OffsetKey, PendingOffsets
from tidelog.coordinator.group.records import CommittedOffset

A = OffsetKey("g", "t", 0)
B = OffsetKey("g", "t", 1)
C = OffsetKey("h", "t", 0)


def at(offset: int) -> CommittedOffset:
    return CommittedOffset(offset, -1, "", 0)


def test_a_commit_counts_and_an_abort_does_not() -> None:
    pending = PendingOffsets()
    pending.put(7, A, at(1))
    pending.put(7, B, at(2))
    pending.put(8, C, at(3))
    assert pending.is_pending(*A)
    assert pending.has_group("g")
    assert pending.end(7, True) == [(A, at(1)), (B, at(2))]
    assert not pending.is_pending(*A)
    assert not pending.has_group("g")
    assert pending.end(7, True) == []
    assert pending.end(8, False) == []
    assert not pending.has_group("h")


def test_what_was_written_later_stays() -> None:
    pending = PendingOffsets()
    pending.put(7, A, at(1))
    pending.settle(A)  # an ordinary commit
    assert pending.is_pending(*A)
    assert pending.end(7, True) == []
    pending.settle(A)
    pending.put(7, A, at(2))
    assert pending.end(7, True) == [(A, at(2))]


def test_of_two_transactions_the_later_record_counts() -> None:
    pending = PendingOffsets()
    pending.put(7, A, at(1))
    pending.put(8, A, at(2))
    assert pending.end(8, True) == [(A, at(2))]
    assert pending.end(7, True) == []
    pending.put(7, A, at(3))
    pending.put(8, A, at(4))
    assert pending.end(7, True) == [(A, at(3))]
    assert pending.end(8, True) == [(A, at(4))]


def test_a_tombstone_ends_what_waits() -> None:
    pending = PendingOffsets()
    pending.put(7, A, at(1))
    pending.put(8, A, at(2))
    pending.put(8, B, at(3))
    pending.drop(A)
    assert not pending.is_pending(*A)
    assert sorted(pending.keys("g")) == [B]
    assert pending.end(7, True) == []
    assert pending.end(8, True) == [(B, at(3))]


KEYS = st.sampled_from([A, B, C])
PRODUCERS = st.integers(1, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PRODUCERS, KEYS),
        st.tuples(st.just("plain"), st.just(0), KEYS),
        st.tuples(st.just("drop"), st.just(0), KEYS),
        st.tuples(st.sampled_from(["commit", "abort"]), PRODUCERS, st.just(A)),
    ),
    max_size=40,
)


@given(STEPS)
def test_equals_the_log(steps: list[tuple[str, int, OffsetKey]]) -> None:
    """The model: an offset counts if its record is the last one of the key that counts."""
    pending = PendingOffsets()
    committed: dict[OffsetKey, CommittedOffset] = {}
    log: list[tuple[str, int, OffsetKey]] = []
    for number, (what, producer_id, key) in enumerate(steps):
        log.append((what, producer_id, key))
        if what == "put":
            pending.put(producer_id, key, at(number))
        elif what == "plain":
            committed[key] = at(number)
            pending.settle(key)
        elif what == "drop":
            committed.pop(key, None)
            pending.drop(key)
        else:
            committed.update(pending.end(producer_id, what == "commit"))
        assert committed == _model(log)
        waiting = _waiting(log)
        for one in (A, B, C):
            assert pending.is_pending(*one) == (one in waiting)
        for group in ("g", "h"):
            assert pending.has_group(group) == any(one.group_id == group for one in waiting)


def _model(log: list[tuple[str, int, OffsetKey]]) -> dict[OffsetKey, CommittedOffset]:
    found: dict[OffsetKey, tuple[int, CommittedOffset]] = {}
    for number, (what, producer_id, key) in enumerate(log):
        if what == "plain":
            found[key] = max(found.get(key, (-1, at(0))), (number, at(number)), key=lambda x: x[0])
        elif what == "drop":
            found.pop(key, None)
        elif what == "commit":
            for one, position in _open(log[:number], producer_id).items():
                if position > found.get(one, (-1, None))[0]:
                    found[one] = (position, at(position))
    return {key: value for key, (_, value) in found.items()}


def _open(log: list[tuple[str, int, OffsetKey]], producer_id: int) -> dict[OffsetKey, int]:
    open_now: dict[OffsetKey, int] = {}
    for number, (what, producer, key) in enumerate(log):
        if what == "put" and producer == producer_id:
            open_now[key] = number
        elif what == "drop":
            open_now.pop(key, None)
        elif what in ("commit", "abort") and producer == producer_id:
            open_now.clear()
    return open_now


def _waiting(log: list[tuple[str, int, OffsetKey]]) -> set[OffsetKey]:
    return {key for producer_id in (1, 2, 3) for key in _open(log, producer_id)}

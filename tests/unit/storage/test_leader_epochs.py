"""The leader-epoch cache: assignments, look-ups of KIP-279, truncation from both ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.storage.checkpoints import MalformedFileError
from tidelog.storage.leader_epochs import (
    UNDEFINED_END,
    EpochEnd,
    EpochEntry,
    LeaderEpochCache,
    read_leader_epochs,
    write_leader_epochs,
)


def cache_of(*entries: tuple[int, int]) -> LeaderEpochCache:
    return LeaderEpochCache([EpochEntry(*entry) for entry in entries])


def test_empty() -> None:
    cache = LeaderEpochCache()
    assert (cache.latest_epoch, cache.earliest, cache.entries) == (-1, None, [])
    assert cache.end_offset_for(0, 10) == UNDEFINED_END
    assert cache.epoch_for(0) is None
    assert not cache.truncate_from_end(0)
    assert not cache.truncate_from_start(5)
    assert not cache.clear()


def test_assign() -> None:
    cache = LeaderEpochCache()
    assert cache.assign(0, 0)
    assert not cache.assign(0, 5)  # the epoch began already
    assert cache.assign(2, 10)
    assert cache.entries == [(0, 0), (2, 10)]
    assert (cache.latest_epoch, cache.earliest) == (2, (0, 0))


@pytest.mark.parametrize(
    ("epoch", "start", "expected"),
    [
        (3, 20, [(1, 0), (2, 10), (3, 20)]),  # in order
        (3, 10, [(1, 0), (3, 10)]),  # epoch 2 left no record
        (3, 5, [(1, 0), (3, 5)]),  # what epoch 2 wrote was cut
        (2, 7, [(1, 0), (2, 7)]),  # the same epoch, earlier
        (1, 12, [(1, 12)]),  # an older leader came back after all
        (0, 0, [(0, 0)]),
        (4, 0, [(4, 0)]),
    ],
)
def test_assign_drops_what_contradicts(epoch: int, start: int, expected: list) -> None:
    cache = cache_of((1, 0), (2, 10))
    assert cache.assign(epoch, start)
    assert cache.entries == expected


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1)])
def test_assign_refuses(epoch: int, start: int) -> None:
    with pytest.raises(ValueError, match="no leader epoch"):
        LeaderEpochCache().assign(epoch, start)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (-1, UNDEFINED_END),
        (0, EpochEnd(0, 5)),  # before all that is known: the first start
        (1, EpochEnd(1, 10)),
        (2, EpochEnd(1, 10)),  # unknown: the epoch before it
        (3, EpochEnd(3, 20)),
        (4, EpochEnd(4, 33)),  # the latest ends where the log does
        (5, UNDEFINED_END),
    ],
)
def test_end_offset_for(epoch: int, expected: EpochEnd) -> None:
    assert cache_of((1, 5), (3, 10), (4, 20)).end_offset_for(epoch, 33) == expected


@pytest.mark.parametrize(
    ("offset", "epoch"), [(4, None), (5, 1), (9, 1), (10, 3), (19, 3), (20, 4), (10**9, 4)]
)
def test_epoch_for(offset: int, epoch: int | None) -> None:
    assert cache_of((1, 5), (3, 10), (4, 20)).epoch_for(offset) == epoch


@pytest.mark.parametrize(
    ("end", "changed", "kept"),
    [(25, False, 3), (21, False, 3), (20, True, 2), (11, True, 2), (5, True, 0), (0, True, 0)],
)
def test_truncate_from_end(end: int, changed: bool, kept: int) -> None:
    cache = cache_of((1, 5), (3, 10), (4, 20))
    assert cache.truncate_from_end(end) is changed
    assert cache.entries == [(1, 5), (3, 10), (4, 20)][:kept]


@pytest.mark.parametrize(
    ("start", "changed", "entries"),
    [
        (0, False, [(1, 5), (3, 10), (4, 20)]),
        (5, False, [(1, 5), (3, 10), (4, 20)]),
        (7, True, [(1, 7), (3, 10), (4, 20)]),
        (10, True, [(3, 10), (4, 20)]),
        (15, True, [(3, 15), (4, 20)]),
        (99, True, [(4, 99)]),
    ],
)
def test_truncate_from_start(start: int, changed: bool, entries: list) -> None:
    cache = cache_of((1, 5), (3, 10), (4, 20))
    assert cache.truncate_from_start(start) is changed
    assert cache.entries == entries


def test_clear() -> None:
    cache = cache_of((1, 5))
    assert cache.clear()
    assert cache.entries == []


def test_bytes_are_kafka_s() -> None:
    assert cache_of().encode() == b"0\n0\n"
    assert cache_of((0, 0), (3, 10)).encode() == b"0\n2\n0 0\n3 10\n"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"1\n0\n", 1),
        (b"0\n1\n", 2),
        (b"0\n1\n1\n", 3),
        (b"0\n1\n1 2 3\n", 3),
        (b"0\n1\n-1 0\n", 3),
        (b"0\n1\n1 -1\n", 3),
        (b"0\n1\n2147483648 0\n", 3),
        (b"0\n3\n1 0\n2 5\n2 6\n", 5),
        (b"0\n3\n1 0\n3 5\n2 6\n", 5),
        (b"0\n2\n1 5\n2 4\n", 4),
    ],
)
def test_refused_with_file_and_line(data: bytes, line: int) -> None:
    with pytest.raises(MalformedFileError) as caught:
        LeaderEpochCache.decode(data, "p/leader-epoch-checkpoint")
    assert (caught.value.path, caught.value.line) == ("p/leader-epoch-checkpoint", line)


def test_files(tmp_path: Path) -> None:
    path = str(tmp_path / "leader-epoch-checkpoint")
    assert read_leader_epochs(path).entries == []
    write_leader_epochs(path, cache_of((0, 0), (3, 10)))
    assert read_leader_epochs(path).entries == [(0, 0), (3, 10)]


STEPS = st.lists(
    st.tuples(st.sampled_from(["assign", "end", "start"]), st.integers(0, 8), st.integers(0, 40)),
    max_size=30,
)


@given(STEPS)
def test_entries_ascend_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    cache = LeaderEpochCache()
    for kind, epoch, offset in steps:
        before = cache.entries
        if kind == "assign":
            changed = cache.assign(epoch, offset)
            assert cache.latest_epoch == epoch
        elif kind == "end":
            changed = cache.truncate_from_end(offset)
            assert all(entry.start_offset < offset for entry in cache.entries)
        else:
            changed = cache.truncate_from_start(offset)
            assert cache.epoch_for(offset) == LeaderEpochCache(before).epoch_for(offset)
        assert changed is (cache.entries != before)
        epochs, starts = [e.epoch for e in cache.entries], [e.start_offset for e in cache.entries]
        assert epochs == sorted(set(epochs))
        assert starts == sorted(set(starts))
        assert LeaderEpochCache.decode(cache.encode(), "f").entries == cache.entries

"""Tests of the native indexes: layout on the disk, look-ups against a linear search, limits."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidelog._native.index import CorruptIndexError, OffsetIndex, TimeIndex
from tidelog.errors import InvariantError

BASE = 1000


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "some.index")


def attach(index: OffsetIndex | TimeIndex, size: int, entries: int = 0) -> None:
    fd = os.open(index.path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        index.attach(fd, size, entries)
    finally:
        os.close(fd)


def offset_index(path: str, size: int = 800) -> OffsetIndex:
    index = OffsetIndex(path, BASE)
    attach(index, size)
    return index


def time_index(path: str, size: int = 1200) -> TimeIndex:
    index = TimeIndex(path, BASE)
    attach(index, size)
    return index


# ---- offset index


def test_offset_entries_are_eight_bytes_big_endian(path: str) -> None:
    index = offset_index(path)
    index.add(1005, 300)
    index.add(1009, 70_000)
    assert Path(path).read_bytes()[:24] == struct.pack(">iiii", 5, 300, 9, 70_000) + bytes(8)
    assert (index.entries, index.max_entries, index.last_offset) == (2, 100, 1009)
    assert index.entry(1) == (1009, 70_000)
    assert index.size_bytes == 16


def test_an_empty_index_answers_with_the_start_of_the_segment(path: str) -> None:
    index = OffsetIndex(path, BASE)
    assert index.find(2**40) == (BASE, 0)
    assert index.last_offset == BASE
    attach(index, 0)
    assert index.find(BASE) == (BASE, 0)
    assert index.full()


def test_find_below_the_first_entry(path: str) -> None:
    index = offset_index(path)
    index.add(1005, 300)
    assert index.find(1004) == (BASE, 0)
    assert index.find(1005) == (1005, 300)


def test_a_full_index_ignores_entries(path: str) -> None:
    index = offset_index(path, 16)
    for i in range(1, 5):
        index.add(BASE + i, i * 100)
    assert index.entries == 2
    assert index.full()
    assert index.find(2**40) == (1002, 200)


def test_offsets_must_ascend_and_fit(path: str) -> None:
    index = offset_index(path)
    index.add(1005, 300)
    for offset in (1005, 1004, BASE - 1, BASE + 2**31):
        with pytest.raises(InvariantError):
            index.add(offset, 400)
    assert index.entries == 1
    index.add(BASE + 2**31 - 1, 400)
    assert index.last_offset == BASE + 2**31 - 1


# Beyond 1024 entries the look-up begins with the last 8 KiB.
@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 3000), step=st.integers(1, 5), data=st.data())
def test_find_agrees_with_a_linear_search(
    tmp_path_factory: pytest.TempPathFactory, count: int, step: int, data: st.DataObject
) -> None:
    path = str(tmp_path_factory.mktemp("index") / "i")
    index = offset_index(path, count * 8)
    entries = [(BASE + 1 + i * step, 10 + i * 7) for i in range(count)]
    for offset, position in entries:
        index.add(offset, position)
    edges = [BASE, BASE + 1, entries[-1][0], entries[-1][0] + 1]
    around = data.draw(st.lists(st.integers(BASE, entries[-1][0] + 2), min_size=5, max_size=30))
    for target in edges + around:
        expected = (BASE, 0)
        for offset, position in entries:
            if offset <= target:
                expected = (offset, position)
        assert index.find(target) == expected


def test_truncate_to(path: str) -> None:
    index = offset_index(path)
    for offset in (1002, 1004, 1006):
        index.add(offset, offset)
    index.truncate_to(1007)
    assert index.entries == 3
    index.truncate_to(1006)
    assert index.entries == 2
    index.truncate_to(1003)
    assert (index.entries, index.last_offset) == (1, 1002)
    index.truncate_to(0)
    assert (index.entries, index.last_offset) == (0, BASE)
    index.add(1001, 1)
    assert index.find(1001) == (1001, 1)


def test_trim_map_keeps_what_is_there(path: str) -> None:
    index = offset_index(path, 80_000)
    for i in range(1, 1000):
        index.add(BASE + i, i)
    index.trim_map()
    assert index.mapped_bytes == 8192  # 7,992 bytes of entries, in whole pages
    assert index.find(BASE + 500) == (BASE + 500, 500)
    assert index.full()
    index.add(BASE + 2000, 2000)
    assert index.entries == 999
    index.trim_map()
    assert index.find(2**40) == (BASE + 999, 999)


def test_trim_map_of_an_empty_index(path: str) -> None:
    index = offset_index(path)
    index.trim_map()
    assert index.mapped_bytes == 0
    assert index.find(BASE + 5) == (BASE, 0)


def test_attach_again_with_more_room(path: str) -> None:
    index = offset_index(path, 8)
    index.add(1001, 11)
    index.trim_map()
    attach(index, 80, index.entries)
    index.add(1002, 12)
    assert [index.entry(i) for i in range(2)] == [(1001, 11), (1002, 12)]


def test_attach_checks_its_arguments(path: str) -> None:
    index = OffsetIndex(path, BASE)
    with pytest.raises(InvariantError):
        attach(index, 16, 3)
    with pytest.raises(InvariantError):
        attach(index, -8)


def test_room_is_reserved_before_a_store(path: str) -> None:
    """Blocks are taken page by page, not for the whole of the sparse file."""
    index = offset_index(path, 10 * 1024 * 1024)
    assert os.stat(path).st_blocks == 0
    index.add(1001, 1)
    assert 0 < os.stat(path).st_blocks * 512 <= 65_536
    assert os.stat(path).st_size == 10 * 1024 * 1024


def test_no_room_is_an_error_before_anything_changed(path: str) -> None:
    index = offset_index(path)
    os.unlink(path)  # reserve() cannot even open it
    with pytest.raises(OSError):
        index.add(1001, 1)
    assert (index.entries, index.last_offset) == (0, BASE)


@pytest.mark.parametrize(
    ("entries", "log_size"),
    [
        ([(5, 300), (0, 0)], 1000),  # not trimmed
        ([(0, 0)], 1000),
        ([(5, 300), (4, 400)], 1000),
        ([(5, 300), (6, 200)], 1000),
        ([(5, 300)], 300),
        ([(-5, 300)], 1000),
    ],
)
def test_sanity_check_of_bad_offset_indexes(
    path: str, entries: list[tuple[int, int]], log_size: int
) -> None:
    Path(path).write_bytes(b"".join(struct.pack(">ii", *entry) for entry in entries))
    index = OffsetIndex(path, BASE)
    attach(index, len(entries) * 8, len(entries))
    with pytest.raises(CorruptIndexError):
        index.sanity_check(len(entries) * 8, log_size)


def test_sanity_check_of_sizes(path: str) -> None:
    index = offset_index(path)
    index.sanity_check(0, 0)
    with pytest.raises(CorruptIndexError):
        index.sanity_check(12, 100)
    index.add(1005, 300)
    index.sanity_check(8, 301)


def test_check_ascending_sees_every_entry(path: str) -> None:
    pairs = [(1, 10), (3, 30), (2, 20), (4, 40)]
    Path(path).write_bytes(b"".join(struct.pack(">ii", *pair) for pair in pairs))
    index = OffsetIndex(path, BASE)
    attach(index, 32, 4)
    index.sanity_check(32, 100)
    with pytest.raises(CorruptIndexError):
        index.check_ascending()


# ---- time index


def test_time_entries_are_twelve_bytes_big_endian(path: str) -> None:
    index = time_index(path)
    index.add(1_700_000_000_000, 1005)
    assert Path(path).read_bytes()[:12] == struct.pack(">qi", 1_700_000_000_000, 5)
    assert (index.last_timestamp, index.last_offset) == (1_700_000_000_000, 1005)


def test_only_newer_timestamps_are_added(path: str) -> None:
    index = time_index(path)
    index.add(50, 1005)
    index.add(50, 1006)
    index.add(40, 1007)
    assert index.entries == 1
    index.add(51, 1008)
    assert [index.entry(i) for i in range(2)] == [(50, 1005), (51, 1008)]
    with pytest.raises(InvariantError):
        index.add(60, 1001)


def test_the_last_slot_is_kept_for_sealing(path: str) -> None:
    index = time_index(path, 36)
    for i in range(1, 5):
        index.add(i * 10, BASE + i)
    assert index.entries == 2
    assert index.full()
    index.add(90, 1009, True)
    index.add(95, 1010, True)
    assert [index.entry(i) for i in range(3)] == [(10, 1001), (20, 1002), (90, 1009)]


def test_negative_timestamps_are_never_indexed(path: str) -> None:
    index = time_index(path)
    index.add(-1, 1001)
    assert (index.entries, index.last_timestamp) == (0, -1)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 2000), step=st.integers(1, 4), data=st.data())
def test_time_find_agrees_with_a_linear_search(
    tmp_path_factory: pytest.TempPathFactory, count: int, step: int, data: st.DataObject
) -> None:
    path = str(tmp_path_factory.mktemp("index") / "t")
    index = time_index(path, (count + 1) * 12)
    entries = [(100 + i * step, BASE + i) for i in range(count)]
    for timestamp, offset in entries:
        index.add(timestamp, offset)
    targets = data.draw(st.lists(st.integers(98, entries[-1][0] + 2), min_size=5, max_size=30))
    for target in [99, 100, entries[-1][0], *targets]:
        expected = (-1, BASE)
        for timestamp, offset in entries:
            if timestamp <= target:
                expected = (timestamp, offset)
        assert index.find(target) == expected


def test_time_truncate_to(path: str) -> None:
    index = time_index(path)
    for i in (2, 4, 6):
        index.add(i, BASE + i)
    index.truncate_to(1005)
    assert (index.entries, index.last_timestamp, index.last_offset) == (2, 4, 1004)
    index.truncate_to(1002)
    assert (index.entries, index.last_timestamp, index.last_offset) == (0, -1, BASE)


@pytest.mark.parametrize(
    "entries", [[(10, 1), (0, 0)], [(10, 1), (10, 2)], [(10, -1)], [(0, 0), (0, 0)]]
)
def test_sanity_check_of_bad_time_indexes(path: str, entries: list[tuple[int, int]]) -> None:
    Path(path).write_bytes(b"".join(struct.pack(">qi", *entry) for entry in entries))
    index = TimeIndex(path, BASE)
    attach(index, len(entries) * 12, len(entries))
    with pytest.raises(CorruptIndexError):
        index.sanity_check(len(entries) * 12)


def test_time_sanity_check_of_sizes(path: str) -> None:
    index = time_index(path)
    index.sanity_check(0)
    index.add(5, 1001)
    index.sanity_check(12)
    with pytest.raises(CorruptIndexError):
        index.sanity_check(13)


@pytest.fixture(params=["offset", "time"])
def either(request: pytest.FixtureRequest, path: str) -> Iterator[OffsetIndex | TimeIndex]:
    yield offset_index(path) if request.param == "offset" else time_index(path)


def test_entry_out_of_bounds(either: OffsetIndex | TimeIndex) -> None:
    either.add(1001, 1002)
    for i in (-1, 1, 2**40):
        with pytest.raises(IndexError):
            either.entry(i)


def test_detach_leaves_an_empty_index(either: OffsetIndex | TimeIndex) -> None:
    either.add(1001, 1002)
    either.detach()
    assert (either.entries, either.max_entries, either.mapped_bytes) == (0, 0, 0)
    either.add(1003, 1003)  # full: ignored
    assert either.entries == 0


def test_stores_are_in_the_file_at_once(either: OffsetIndex | TimeIndex) -> None:
    """A killed process loses nothing: the mapping is shared."""
    either.add(1001, 1002)
    assert Path(either.path).read_bytes()[: either.size_bytes] != bytes(either.size_bytes)

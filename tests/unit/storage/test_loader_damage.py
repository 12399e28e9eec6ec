"""Tests of opening a log that is damaged below what was synced: told, kept, and not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.storage.loader_fixtures import bases, flip, load, log_path, write_log
from tidelog._native import segments
from tidelog._native.segment import CorruptSegmentError
from tidelog.storage.loader import LoadedLog
from tidelog.storage.segment_files import path_of


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path)


def test_damage_that_was_synced_is_told_and_kept(directory: str) -> None:
    written = write_log(directory, clean=False)
    last = bases(directory)[-1]
    with open(log_path(directory, last), "r+b") as file:
        file.seek(80)
        file.write(b"\xff")
    loaded = load(directory, recovery_point=30)
    assert loaded.log_end_offset == 30
    assert [str(last) in text for text in loaded.report.damaged] == [True]
    assert os.path.getsize(log_path(directory, last)) == sum(map(len, written[last:]))


def read(loaded: LoadedLog, offset: int) -> tuple[int, int]:
    """(error code, bytes) of a read of everything from the offset on."""
    code, _, _, size, _ = segments.read(loaded.segments, offset, 10**6, loaded.log_end_offset)
    return code, size


def test_what_is_damaged_is_an_error_to_read(directory: str) -> None:
    written = write_log(directory, clean=False)
    starts = bases(directory)
    flip(log_path(directory, starts[-1]), len(written[0]) + 70)
    bad = starts[-1] + 1
    loaded = load(directory, recovery_point=30)
    assert read(loaded, starts[-1]) == (0, len(written[0]))
    assert read(loaded, bad) == (2, 0)
    assert read(loaded, bad + 1) == (0, sum(map(len, written[bad + 1 :])))


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("index", [True, False])
def test_a_lost_end_of_a_full_segment_is_damage(directory: str, clean: bool, index: bool) -> None:
    """Whole batches are missing: nothing in the file says so, but its digest does."""
    written = write_log(directory)
    starts = bases(directory)
    lost = sum(map(len, written[starts[2] - 2 : starts[2]]))
    path = log_path(directory, starts[1])
    os.truncate(path, os.path.getsize(path) - lost)
    if not index:
        os.unlink(path_of(directory, starts[1], ".index"))
    loaded = load(directory, clean=clean, recovery_point=30)
    first_lost = starts[2] - 2
    assert loaded.report.damaged == [
        f"segment {starts[1]}: {lost} bytes are missing at its end, from offset {first_lost} on"
    ]
    assert read(loaded, first_lost - 1) == (0, len(written[0]))
    assert read(loaded, first_lost) == (2, 0)
    assert read(loaded, starts[2])[0] == 0
    assert loaded.log_end_offset == 30


def test_a_hole_is_told_where_no_digest_explains_it(directory: str) -> None:
    """It may be what compaction left before the config was changed."""
    written = write_log(directory)
    starts = bases(directory)
    path = log_path(directory, starts[1])
    os.truncate(path, os.path.getsize(path) - len(written[0]))
    os.unlink(path_of(directory, starts[1], ".digest"))
    loaded = load(directory, clean=True)
    (note,) = loaded.report.notes
    assert f"segment {starts[1]} ends before offset {starts[2] - 1}" in note
    assert loaded.report.eventful
    assert not load(directory, clean=True, gaps_allowed=True).report.eventful


def test_a_whole_segment_that_is_missing_is_told(directory: str) -> None:
    write_log(directory)
    starts = bases(directory)
    os.unlink(log_path(directory, starts[1]))
    loaded = load(directory, clean=True)
    (note,) = loaded.report.notes
    assert f"segment 0 ends before offset {starts[1]}" in note
    assert f"begins at {starts[2]}" in note
    assert loaded.log_end_offset == 30


def test_a_digest_that_cannot_be_read_is_told(directory: str) -> None:
    write_log(directory)
    Path(path_of(directory, 0, ".digest")).write_text("?")
    (note,) = load(directory, clean=True).report.notes
    assert note.startswith("segment digest not used")


def test_only_full_segments_have_a_digest(directory: str) -> None:
    """One that goes on taking appends would only be said to be longer than it was."""
    write_log(directory)
    starts = bases(directory)
    for base in starts[2:]:
        os.unlink(log_path(directory, base))
    loaded = load(directory, clean=True)
    assert loaded.log_end_offset == starts[2]
    digests = sorted(int(n[:20]) for n in os.listdir(directory) if n.endswith(".digest"))
    assert digests == starts[:1]


def test_without_a_checkpoint_damage_does_not_cost_the_segments_behind_it(directory: str) -> None:
    """Nobody knows then what was synced; only the last segment can end torn."""
    written = write_log(directory, clean=False)
    starts = bases(directory)
    for base in (starts[0], starts[1]):
        with open(log_path(directory, base), "r+b") as file:
            file.seek(80)
            file.write(b"\xff")
    loaded = load(directory, recovery_point_known=False, gaps_allowed=True)
    assert (loaded.log_end_offset, bases(directory)) == (30, starts)
    assert len(loaded.report.damaged) == 2
    assert loaded.report.cut_at_offset == -1
    with open(log_path(directory, starts[-1]), "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\xff")
    again = load(directory, recovery_point_known=False, gaps_allowed=True)
    assert (again.log_end_offset, again.report.cut_bytes) == (29, len(written[-1]))


def test_damage_in_a_believed_segment_does_not_stop_the_opening(directory: str) -> None:
    written = write_log(directory)
    starts = bases(directory)
    os.unlink(path_of(directory, starts[0], ".index"))
    with open(log_path(directory, starts[0]), "r+b") as file:
        file.seek(len(written[0]) + 8)
        file.write(b"\xff\xff\xff\xff")
    size = os.path.getsize(log_path(directory, starts[0]))
    loaded = load(directory, clean=True)
    assert loaded.log_end_offset == 30
    assert len(loaded.report.damaged) == 1
    assert os.path.getsize(log_path(directory, starts[0])) == size


def test_a_clean_log_with_a_bad_end_gets_a_definite_one(directory: str) -> None:
    write_log(directory)
    last = bases(directory)[-1]
    with open(log_path(directory, last), "ab") as file:
        file.write(b"x" * 100)
    loaded = load(directory, clean=True)
    assert (loaded.log_end_offset, loaded.report.cut_bytes) == (30, 100)
    assert loaded.report.lost_synced_bytes


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("in_last", [True, False])
def test_an_unreadable_header_costs_its_own_range(
    directory: str, clean: bool, in_last: bool
) -> None:
    """It was synced, so it is damage: what stands behind it is served, its range is an error."""
    written = write_log(directory, clean=clean)
    base = bases(directory)[-1 if in_last else 0]
    bad = base + 1
    position = len(written[base])
    with open(log_path(directory, base), "r+b") as file:
        file.seek(position + 8)
        file.write(b"\xff\xff\xff\xff")
    os.unlink(path_of(directory, base, ".index"))
    size = os.path.getsize(log_path(directory, base))
    for _ in range(2):  # the second time with the indexes that the first one wrote
        loaded = load(directory, clean=clean, recovery_point=30)
        assert (loaded.log_end_offset, loaded.report.cut_bytes) == (30, 0)
        assert os.path.getsize(log_path(directory, base)) == size
        segment = next(s for s in loaded.segments if s.base_offset == base)
        assert segment.find(base) == (0, len(written[base]), base)
        with pytest.raises(CorruptSegmentError):
            segment.find(bad)
        for offset in range(bad + 1, segment.next_offset):
            found = segment.find(offset)
            assert found is not None
            assert segment.read_at(found[0], found[1]) == written[offset]
        entry = loaded.producers.entry(5)
        assert entry is not None
        assert entry.retained[-1][1] == 29
        for one in loaded.segments:
            one.close()

"""Tests of the look-ups over several segments, against plain lists of batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, SETTINGS, batch, filled_segment, new_segment
from tidelog._native.segment import Segment
from tidelog._native.segments import available, find_slot, read
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.segment_files import open_segment, trim_segment


def segments_with_gaps(tmp_path: Path) -> tuple[list[Segment], list[tuple[int, int, int, int]]]:
    """Three segments with holes at the ends, as compaction leaves them, and every batch as
    (segment, first offset, last offset, size)."""
    plan = {10: [(12, 13), (15, 15)], 20: [(20, 22), (23, 23)], 40: [(41, 41)]}
    segments, batches = [], []
    for slot, (base, ranges) in enumerate(plan.items()):
        segment = new_segment(tmp_path, base)
        for first, last in ranges:
            data = batch(last - first + 1, base_offset=first, size=first)
            segment.append_batch(data, last, NOW, NOW)
            batches.append((slot, first, last, len(data)))
        segments.append(segment)
    return segments, batches


def test_find_slot(tmp_path: Path) -> None:
    segments, _ = segments_with_gaps(tmp_path)
    wanted = {0: -1, 9: -1, 10: 0, 19: 0, 20: 1, 39: 1, 40: 2, 10**9: 2}
    assert {offset: find_slot(segments, offset) for offset in wanted} == wanted
    assert find_slot([], 5) == -1


@pytest.mark.parametrize("many", [1, 2, 3, 7, 8])
def test_find_slot_among_many(tmp_path: Path, many: int) -> None:
    segments = [new_segment(tmp_path, i * 10) for i in range(many)]
    for offset in range(many * 10 + 5):
        assert find_slot(segments, offset) == min(offset // 10, many - 1)


def test_read_agrees_with_a_walk(tmp_path: Path) -> None:
    segments, batches = segments_with_gaps(tmp_path)
    for offset in range(8, 44):
        for upper in range(offset + 1, 44):
            code, segment, position, size, start = read(segments, offset, 10**6, upper)
            hits = [entry for entry in batches if entry[2] >= offset]
            below = [entry for entry in hits if entry[0] == hits[0][0] and entry[2] < upper]
            # Everything before the first batch that reaches `upper`.
            if not hits or not below:
                assert (code, segment) == (0, None), (offset, upper)
                continue
            slot, first, _, _ = hits[0]
            before = sum(e[3] for e in batches if e[0] == slot and e[1] < first)
            assert (code, position, start) == (0, before, first)
            assert size == sum(entry[3] for entry in below)
            assert segment is segments[slot]


def test_available_agrees_with_a_walk(tmp_path: Path) -> None:
    segments, batches = segments_with_gaps(tmp_path)
    for offset in range(8, 44):
        for upper in range(offset + 1, 46):
            wanted = sum(e[3] for e in batches if e[2] >= offset and e[2] < upper)
            assert available(segments, offset, upper) == wanted, (offset, upper)


def test_nothing_in_no_segments() -> None:
    assert read([], 0, 100, 10)[:2] == (0, None)
    assert available([], 0, 10) == 0


def test_a_limit_below_the_first_batch(tmp_path: Path) -> None:
    segments, batches = segments_with_gaps(tmp_path)
    size = batches[0][3]
    assert read(segments, 10, size - 1, 44, True)[3] == size
    assert read(segments, 10, size - 1, 44, False)[:2] == (0, None)
    assert read(segments, 10, size, 44, False)[3] == size
    assert read(segments, 10, size + 1, 44, False)[3] == size + 1


def test_a_closed_segment_is_a_storage_error(tmp_path: Path) -> None:
    segment = new_segment(tmp_path)
    for i in range(100):
        segment.append_batch(batch(base_offset=i), i, NOW, NOW)
    segment.close()
    assert read([segment], 5, 100, 100)[:2] == (56, None)


# ---- what is known to be damaged


def test_reading_ends_before_damage_and_fails_at_it(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 5, count=2)
    size = len(written[0])
    segment.set_damaged([3 * size, size])
    assert segment.damaged == (size, 3 * size)
    for offset, wanted in {
        0: (0, 0, size),
        2: (2, 0, 0),
        3: (2, 0, 0),
        4: (0, 2 * size, size),
        6: (2, 0, 0),
        8: (0, 4 * size, size),
    }.items():
        code, found, position, n, _ = read([segment], offset, 10**6, 10)
        assert (code, position, n) == wanted, offset
        assert (found is None) == bool(code)
    # A limit or an upper offset before the damage holds as ever.
    assert read([segment], 0, 10**6, 1)[:3:2] == (0, 0)
    segment.set_damaged([])
    assert segment.damaged is None
    assert read([segment], 0, 10**6, 10)[3] == 5 * size


def test_a_lost_end_is_no_gap(tmp_path: Path) -> None:
    """Without the mark, a reader would be led on to the next segment."""
    first, _ = filled_segment(tmp_path, 3)
    trim_segment(SYSTEM_FILES, first)
    second, written = filled_segment(tmp_path, 2, base_offset=10)
    reopened = open_segment(SYSTEM_FILES, str(tmp_path), 0, SETTINGS, NOW, next_offset=10)
    segments = [reopened, second]
    assert read(segments, 5, 10**6, 12)[:2] == (0, second)
    reopened.set_damaged([reopened.size])
    for offset in (3, 5, 9):
        assert read(segments, offset, 10**6, 12)[0] == 2
    assert read(segments, 0, 10**6, 12)[3] == first.size
    assert read(segments, 10, 10**6, 12)[3] == 2 * len(written[0])

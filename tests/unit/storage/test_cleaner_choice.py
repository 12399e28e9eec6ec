"""How far a log may be cleaned, which log is next, which segments become one: as tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tidelog.storage.cleaner_choice import (
    Cleanable,
    CleaningView,
    cleanable,
    dirtiest,
    first_dirty_offset,
    group,
)

NOW = 1_000_000
LONG_MAX = 2**63 - 1


@dataclass
class Config:
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = LONG_MAX
    min_cleanable_dirty_ratio: float = 0.5


def views(*sizes: int, offsets: int = 10, timestamp: int = NOW - 100) -> list[CleaningView]:
    """Segments of so many bytes and `offsets` offsets each; the last one is active."""
    return [
        CleaningView(
            base_offset=i * offsets,
            next_offset=(i + 1) * offsets,
            size_bytes=size,
            offset_index_bytes=8,
            time_index_bytes=12,
            largest_timestamp=timestamp,
            first_timestamp=timestamp,
            modified_ms=timestamp,
        )
        for i, size in enumerate(sizes)
    ]


def state(
    segments: list[CleaningView], config: Config | None = None, *, dirty: int = 0, stable: int = 999
) -> Cleanable:
    return cleanable(
        segments, config or Config(), first_dirty=dirty, stable_offset=stable, now_ms=NOW
    )


def span(found: Cleanable) -> tuple[int, int, int, int]:
    return (
        found.first_dirty_offset,
        found.first_uncleanable_offset,
        found.clean_bytes,
        found.cleanable_bytes,
    )


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [(None, 20), (5, 20), (20, 20), (35, 35), (90, 90), (91, 20)],
)
def test_a_checkpoint_that_does_not_fit_counts_as_none(
    checkpoint: int | None, expected: int
) -> None:
    assert first_dirty_offset(checkpoint, 20, 90) == expected


def test_the_active_segment_is_left_alone() -> None:
    assert span(state(views(100, 100, 100))) == (0, 20, 0, 200)
    assert span(state(views(100))) == (0, 0, 0, 0)
    assert span(state([])) == (0, 0, 0, 0)


def test_what_was_cleaned_counts_as_clean() -> None:
    found = state(views(300, 100, 100), dirty=10)
    assert span(found) == (10, 20, 300, 100)
    assert found.ratio == 0.25
    # A cleaning that found its map full ended within a segment.
    assert span(state(views(300, 100, 100), dirty=13)) == (13, 20, 300, 100)
    assert span(state(views(300, 100, 100), dirty=20)) == (20, 20, 400, 0)


@pytest.mark.parametrize(
    ("stable", "uncleanable"), [(0, 0), (9, 0), (10, 10), (15, 10), (20, 20), (25, 20), (99, 20)]
)
def test_nothing_from_the_stable_offset_on(stable: int, uncleanable: int) -> None:
    found = state(views(1, 1, 1), stable=stable)
    assert found.first_uncleanable_offset == uncleanable
    assert found.cleanable_bytes == uncleanable // 10


def test_records_that_are_too_young_bound_what_is_cleaned() -> None:
    segments = views(1, 2, 4, 8, 16)
    segments[2] = replace(segments[2], largest_timestamp=NOW - 50)
    config = Config(min_compaction_lag_ms=51)
    assert span(state(segments, config)) == (0, 20, 0, 3)
    config = Config(min_compaction_lag_ms=50)
    assert span(state(segments, config)) == (0, 40, 0, 15)
    # What is clean already does not matter.
    assert span(state(segments, Config(min_compaction_lag_ms=51), dirty=30)) == (30, 40, 7, 8)


def test_a_log_is_due_by_its_ratio() -> None:
    found = state(views(50, 50, 1), dirty=10)
    assert found.ratio == 0.5
    assert not found.is_due(0.5)
    assert found.is_due(0.49)
    assert not state(views(50, 1), dirty=10).is_due(0.0)


def test_a_log_is_overdue_by_its_oldest_dirty_record() -> None:
    segments = views(1, 1000, 1, 1)
    segments[2] = replace(segments[2], first_timestamp=NOW - 500)
    for dirty, lag, overdue in ((20, 499, 1), (20, 500, 0), (10, 100, 400), (30, 10, 0)):
        config = Config(max_compaction_lag_ms=lag)
        found = state(segments, config, dirty=dirty)
        assert found.overdue_ms == overdue
        assert found.is_due(1.0) == (overdue > 0 and found.cleanable_bytes > 0)
    nameless = [replace(view, first_timestamp=-1) for view in segments]
    assert state(nameless, Config(max_compaction_lag_ms=1)).overdue_ms == 0


def test_the_dirtiest_of_those_that_are_due_is_next() -> None:
    clean = Cleanable(0, 10, 90, 10, 0)
    dirty = Cleanable(0, 10, 30, 70, 0)
    overdue = Cleanable(0, 10, 99, 1, 5)
    assert dirtiest([("a", clean, 0.5), ("b", dirty, 0.8)]) is None
    assert dirtiest([("a", clean, 0.5), ("b", dirty, 0.6)]) == ("b", dirty)
    assert dirtiest([("a", clean, 0.05), ("b", dirty, 0.6)]) == ("b", dirty)
    assert dirtiest([("a", overdue, 0.9), ("b", clean, 0.9)]) == ("a", overdue)
    assert dirtiest([]) is None


def sizes(groups: list[list[CleaningView]]) -> list[list[int]]:
    return [[view.size_bytes for view in one] for one in groups]


def test_neighbours_become_one_segment_up_to_its_size() -> None:
    segments = views(40, 60, 1, 99, 100, 0, 0, 101, 5)
    found = group(segments, segment_bytes=100, index_bytes=1000)
    assert sizes(found) == [[40, 60], [1, 99], [100, 0, 0], [101], [5]]


def test_the_indexes_and_the_offsets_bound_a_group() -> None:
    segments = views(1, 1, 1)
    assert sizes(group(segments, segment_bytes=100, index_bytes=24)) == [[1, 1], [1]]
    far = views(1, 1, 1, offsets=2**30)
    assert sizes(group(far, segment_bytes=100, index_bytes=100)) == [[1, 1], [1]]
    # An empty segment brings no offset.
    far[2] = replace(far[2], size_bytes=0)
    assert sizes(group(far, segment_bytes=100, index_bytes=100)) == [[1, 1, 0]]

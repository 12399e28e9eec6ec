"""Tests of the retention rules as tables."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tidelog.storage.retention import NOTHING, RetentionPlan, SegmentView, plan

NOW = 10_000
END = 40


@dataclass(frozen=True)
class Config:
    delete: bool = True
    retention_ms: int = -1
    retention_bytes: int = -1


def segments(*sizes: int, ages: tuple[int, ...] = ()) -> list[SegmentView]:
    """Segments of ten offsets each."""
    ages = ages or (0,) * len(sizes)
    return [
        SegmentView(i * 10, (i + 1) * 10, size, NOW - age)
        for i, (size, age) in enumerate(zip(sizes, ages, strict=True))
    ]


def run(
    views: list[SegmentView], config: Config, *, log_start: int = 0, high_watermark: int = 10**9
) -> RetentionPlan:
    return plan(
        views, config, now_ms=NOW, log_start_offset=log_start, high_watermark=high_watermark
    )


def test_nothing_without_limits() -> None:
    assert run(segments(1, 1, ages=(9999, 9999)), Config()) == NOTHING
    assert run([], Config(retention_ms=0, retention_bytes=0)) == NOTHING


@pytest.mark.parametrize(
    ("ages", "count"),
    [
        ((100, 50, 0), 0),
        ((101, 50, 0), 1),
        ((101, 101, 0), 2),
        ((50, 101, 0), 0),  # only the oldest ones go
        ((101, 50, 101), 1),
    ],
)
def test_by_time(ages: tuple[int, ...], count: int) -> None:
    result = run(segments(10, 10, 10, ages=ages), Config(retention_ms=100))
    assert result == RetentionPlan(count, False, by_time=count)


def test_the_active_segment_is_rolled_when_it_is_too_old() -> None:
    result = run(segments(10, 10, ages=(500, 500)), Config(retention_ms=100))
    assert result == RetentionPlan(2, True, by_time=2)


def test_an_empty_active_segment_stays() -> None:
    result = run(segments(10, 0, ages=(500, 500)), Config(retention_ms=100))
    assert result == RetentionPlan(1, False, by_time=1)
    assert run(segments(0, ages=(500,)), Config(retention_ms=100)) == NOTHING


@pytest.mark.parametrize(
    ("sizes", "limit", "count"),
    [
        ((10, 10, 10), 30, 0),
        ((10, 10, 10), 29, 0),  # a segment goes only when it is in excess as a whole
        ((10, 10, 10), 21, 0),
        ((10, 10, 10), 20, 1),
        ((10, 10, 10), 10, 2),
        ((30, 1, 1), 10, 0),
        ((1, 30, 1), 10, 1),
    ],
)
def test_by_size(sizes: tuple[int, ...], limit: int, count: int) -> None:
    result = run(segments(*sizes), Config(retention_bytes=limit))
    assert result == RetentionPlan(count, False, by_size=count)


def test_no_bytes_at_all() -> None:
    assert run(segments(10, 10), Config(retention_bytes=0)) == RetentionPlan(2, True, by_size=2)


def test_size_counts_what_time_left() -> None:
    views = segments(10, 10, 10, ages=(500, 0, 0))
    result = run(views, Config(retention_ms=100, retention_bytes=20))
    assert result == RetentionPlan(1, False, by_time=1)
    result = run(views, Config(retention_ms=100, retention_bytes=10))
    assert result == RetentionPlan(2, False, by_time=1, by_size=1)


@pytest.mark.parametrize(
    ("log_start", "count"), [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (30, 2), (45, 2)]
)
def test_by_log_start(log_start: int, count: int) -> None:
    """The active segment stays, whatever the log start says."""
    result = run(segments(1, 1, 1), Config(delete=False), log_start=log_start)
    assert result == RetentionPlan(count, False, by_log_start=count)


def test_compaction_alone_does_not_delete_by_time_or_size() -> None:
    config = Config(delete=False, retention_ms=0, retention_bytes=0)
    assert run(segments(10, 10, ages=(500, 500)), config) == NOTHING


@pytest.mark.parametrize(("high_watermark", "count"), [(9, 0), (10, 1), (19, 1), (30, 3)])
def test_nothing_beyond_the_high_watermark(high_watermark: int, count: int) -> None:
    views = segments(10, 10, 10, ages=(500, 500, 500))
    for config in (Config(retention_ms=100), Config(retention_bytes=0)):
        result = run(views, config, high_watermark=high_watermark)
        assert result.count == count
        assert result.roll == (count == 3)

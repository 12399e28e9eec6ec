"""Which segments a log gives up, by age, size and log start offset. Pure.

Owned by no task: the log manager asks on the loop thread with a picture of the segments and the
time, and has the log do what the plan says. It never looks at files or clocks.

The rules are Kafka's: segments go oldest first and whole, never past the high watermark; the
active one may go too (it is rolled first, so that the log keeps its end offset), but not when it is
empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class RetentionConfig(Protocol):
    """The topic configs that matter here; negative limits mean none."""

    @property
    def delete(self) -> bool: ...

    @property
    def retention_ms(self) -> int: ...

    @property
    def retention_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class SegmentView:
    """What is known of one segment."""

    base_offset: int
    next_offset: int  # base offset of the following one, or the log's end offset
    size_bytes: int
    largest_timestamp: int  # ms; of a record, or when the file was written last if none has one


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """Take away the oldest `count` segments; roll first if the active one is among them."""

    count: int
    roll: bool
    by_time: int = 0
    by_size: int = 0
    by_log_start: int = 0


NOTHING = RetentionPlan(0, False)


def plan(
    segments: Sequence[SegmentView],
    config: RetentionConfig,
    *,
    now_ms: int,
    log_start_offset: int,
    high_watermark: int,
) -> RetentionPlan:
    """What to remove now. `segments` oldest first, the last one active."""
    by_time = by_size = 0
    rest = list(segments)
    if config.delete:
        by_time = _expired(rest, config.retention_ms, now_ms, high_watermark)
        rest = rest[by_time:]
        by_size = _too_much(rest, config.retention_bytes, high_watermark)
        rest = rest[by_size:]
    by_log_start = _before(rest, log_start_offset, high_watermark)
    count = by_time + by_size + by_log_start
    if count == 0:
        return NOTHING
    return RetentionPlan(count, count == len(segments), by_time, by_size, by_log_start)


def _expired(
    segments: Sequence[SegmentView], retention_ms: int, now_ms: int, high_watermark: int
) -> int:
    if retention_ms < 0:
        return 0
    return _leading(
        segments, high_watermark, lambda view: now_ms - view.largest_timestamp > retention_ms
    )


def _too_much(segments: Sequence[SegmentView], retention_bytes: int, high_watermark: int) -> int:
    if retention_bytes < 0:
        return 0
    excess = sum(view.size_bytes for view in segments) - retention_bytes

    def fits(view: SegmentView) -> bool:
        nonlocal excess
        if excess < view.size_bytes:
            return False
        excess -= view.size_bytes
        return True

    return _leading(segments, high_watermark, fits) if excess > 0 else 0


def _before(segments: Sequence[SegmentView], log_start_offset: int, high_watermark: int) -> int:
    # Without a following segment nothing says that the log goes on: the active one stays.
    return _leading(
        segments[:-1], high_watermark, lambda view: view.next_offset <= log_start_offset
    )


def _leading(
    segments: Sequence[SegmentView], high_watermark: int, goes: Callable[[SegmentView], bool]
) -> int:
    """How many from the oldest on may go; an empty active segment never does."""
    count = 0
    for i, view in enumerate(segments):
        empty_active = i == len(segments) - 1 and view.size_bytes == 0
        if empty_active or view.next_offset > high_watermark or not goes(view):
            break
        count += 1
    return count

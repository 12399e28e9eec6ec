"""What the log cleaner works on: how far a log may be cleaned, which one is next, which segments
become one.

Pure: offsets, sizes and times in, a decision out, as Kafka's LogCleanerManager and Cleaner make it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

INT32_MAX = 2**31 - 1

Key = TypeVar("Key")


class CleaningConfig(Protocol):
    """The topic configs that matter here."""

    @property
    def min_compaction_lag_ms(self) -> int: ...
    @property
    def max_compaction_lag_ms(self) -> int: ...
    @property
    def min_cleanable_dirty_ratio(self) -> float: ...


@dataclass(frozen=True, slots=True)
class CleaningView:
    """What is known of one segment. Times in ms."""

    base_offset: int
    next_offset: int  # base offset of the following one, or the log's end offset
    size_bytes: int
    offset_index_bytes: int
    time_index_bytes: int
    largest_timestamp: int  # of a record, or when the file was written last if none has one
    first_timestamp: int  # largest of the first batch; negative: none
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Cleanable:
    """How a log stands. Offsets: [first_dirty, first_uncleanable) is what may be cleaned next;
    both are bases of segments but for a `first_dirty` that lies within one."""

    first_dirty_offset: int
    first_uncleanable_offset: int
    clean_bytes: int
    cleanable_bytes: int
    overdue_ms: int  # for how long a dirty segment has been older than max.compaction.lag.ms

    @property
    def total_bytes(self) -> int:
        return self.clean_bytes + self.cleanable_bytes

    @property
    def ratio(self) -> float:
        """The dirty share, 0 of a log without anything."""
        return self.cleanable_bytes / self.total_bytes if self.total_bytes else 0.0

    def is_due(self, min_ratio: float) -> bool:
        """min.cleanable.dirty.ratio or max.compaction.lag.ms asks for a cleaning."""
        if self.cleanable_bytes == 0:
            return False
        return self.overdue_ms > 0 or self.ratio > min_ratio


def first_dirty_offset(
    cleaned_offset: int | None, log_start_offset: int, log_end_offset: int
) -> int:
    """Where the next cleaning begins: the checkpoint, or the log start when that does not fit."""
    if cleaned_offset is None or not log_start_offset <= cleaned_offset <= log_end_offset:
        return log_start_offset
    return cleaned_offset


def cleanable(
    segments: Sequence[CleaningView],
    config: CleaningConfig,
    *,
    first_dirty: int,
    stable_offset: int,
    now_ms: int,
) -> Cleanable:
    """How the log stands. `segments` oldest first, the last one active; `stable_offset`: nothing
    from there on may be touched (last stable offset, high watermark, what is durable)."""
    sealed = segments[:-1]
    active_base = segments[-1].base_offset if segments else first_dirty
    dirty = [view for view in sealed if view.next_offset > first_dirty]
    limit = min(active_base, stable_offset)
    if config.min_compaction_lag_ms > 0:
        youngest = now_ms - config.min_compaction_lag_ms
        too_young = [view.base_offset for view in dirty if view.largest_timestamp > youngest]
        limit = min([limit, *too_young])
    limit = max(limit, first_dirty)
    # A segment goes whole: one that reaches behind the limit is left alone.
    uncleanable = next(
        (view.base_offset for view in dirty if view.next_offset > limit), active_base
    )
    uncleanable = max(uncleanable, min(first_dirty, active_base))
    clean = sum(view.size_bytes for view in sealed if view.next_offset <= first_dirty)
    cleanable_bytes = sum(view.size_bytes for view in dirty if view.next_offset <= uncleanable)
    return Cleanable(
        first_dirty, uncleanable, clean, cleanable_bytes, _overdue(dirty, config, now_ms)
    )


def _overdue(dirty: Sequence[CleaningView], config: CleaningConfig, now_ms: int) -> int:
    first = [view.first_timestamp for view in dirty if view.first_timestamp > 0]
    if not first:
        return 0
    return max(now_ms - config.max_compaction_lag_ms - min(first), 0)


def dirtiest(
    logs: Iterable[tuple[Key, Cleanable, float]],
) -> tuple[Key, Cleanable] | None:
    """Of (log, how it stands, its min.cleanable.dirty.ratio) the one to clean now, if any."""
    due = [(state.ratio, key, state) for key, state, min_ratio in logs if state.is_due(min_ratio)]
    if not due:
        return None
    _, key, state = max(due, key=lambda entry: entry[0])
    return key, state


def group(
    segments: Sequence[CleaningView], *, segment_bytes: int, index_bytes: int
) -> list[list[CleaningView]]:
    """Neighbours that become one segment: together within the sizes, and within 31 bits of
    offsets."""
    groups: list[list[CleaningView]] = []
    for view in segments:
        if groups and _fits(groups[-1], view, segment_bytes, index_bytes):
            groups[-1].append(view)
        else:
            groups.append([view])
    return groups


def _fits(
    together: Sequence[CleaningView], view: CleaningView, segment_bytes: int, index_bytes: int
) -> bool:
    def total(size: Callable[[CleaningView], int]) -> int:
        return sum(map(size, together)) + size(view)

    return (
        total(lambda one: one.size_bytes) <= segment_bytes
        and total(lambda one: one.offset_index_bytes) <= index_bytes
        and total(lambda one: one.time_index_bytes) <= index_bytes
        and (view.size_bytes == 0 or view.next_offset - 1 - together[0].base_offset <= INT32_MAX)
    )

"""What the deciding modules are shown of a log's segments.

Loop thread; reads attributes of the segments and no file.
"""

from __future__ import annotations

from tidelog._native.batch import parse
from tidelog._native.log import LogCore
from tidelog.errors import KafkaError
from tidelog.storage.cleaner_choice import CleaningView
from tidelog.storage.retention import (
    NOTHING,
    RetentionConfig,
    RetentionPlan,
    SegmentView,
    plan,
)
from tidelog.storage.timestamps import largest_timestamp


def plan_retention(
    core: LogCore, config: RetentionConfig, now_ms: int, high_watermark: int
) -> RetentionPlan:
    """What retention takes away of the log now."""
    segments = core.segment_list
    if not segments:
        return NOTHING
    ends = [segment.base_offset for segment in segments[1:]] + [core.log_end_offset]
    views = [
        SegmentView(segment.base_offset, end, segment.size, largest_timestamp(segment))
        for segment, end in zip(segments, ends, strict=True)
    ]
    return plan(
        views,
        config,
        now_ms=now_ms,
        log_start_offset=core.log_start_offset,
        high_watermark=high_watermark,
    )


def cleaning_views(core: LogCore) -> list[CleaningView]:
    segments = core.segment_list
    if not segments:
        return []
    ends = [segment.base_offset for segment in segments[1:]] + [core.log_end_offset]
    return [
        CleaningView(
            base_offset=segment.base_offset,
            next_offset=end,
            size_bytes=segment.size,
            offset_index_bytes=segment.offset_index.size_bytes,
            time_index_bytes=segment.time_index.size_bytes,
            largest_timestamp=largest_timestamp(segment),
            first_timestamp=segment.rolling_based_timestamp,
            modified_ms=segment.last_modified_ms,
        )
        for segment, end in zip(segments, ends, strict=True)
    ]


def figures_of(core: LogCore) -> dict[str, int]:
    """What a log holds, in numbers."""
    return {
        "segments": len(core.segment_list),
        "size_bytes": core.size_bytes,
        "log_start_offset": core.log_start_offset,
        "log_end_offset": core.log_end_offset,
        "recovery_point": core.recovery_point,
        "leader_epoch": core.leader_epoch,
        "producers": len(core.producers),
    }


def read_bytes(core: LogCore, offset: int, max_bytes: int, upper_offset: int | None) -> bytes:
    """As PartitionLog.read_bytes, which reads the log's end at once."""
    upper = core.log_end_offset if upper_offset is None else upper_offset
    code, segment, position, size, _ = core.read_region(offset, max_bytes, upper, True)
    if code:
        raise KafkaError(code)
    if segment is None:
        return b""
    data = segment.read_at(position, size)
    whole = 0
    while (header := parse(data, whole)) is not None and whole + header.size <= len(data):
        whole += header.size
    return data[:whole]

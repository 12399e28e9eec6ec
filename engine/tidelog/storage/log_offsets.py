"""What the checkpoints of a log directory shall say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidelog.storage.directory import Offsets, TopicPartition
from tidelog.storage.log import PartitionLog


def offsets_of(
    logs: Iterable[PartitionLog],
    written: Offsets,
    recovery_points: Mapping[TopicPartition, int],
    log_start: Mapping[TopicPartition, int],
) -> Offsets:
    """Of the open logs; of those that are not open (yet) what was read is kept, and of offline
    ones the last word. written: the checkpoints as they are; the others: of logs that are not open.
    """
    recovery_points, log_start = dict(recovery_points), dict(log_start)
    for log in logs:
        key, core = (log.topic, log.index), log.core
        if log.failure is not None:
            if key in written.recovery_points:
                recovery_points[key] = written.recovery_points[key]
            if key in written.log_start:
                log_start[key] = written.log_start[key]
            continue
        recovery_points[key] = core.recovery_point
        segments = core.segment_list
        first = segments[0].base_offset if segments else 0
        if core.log_start_offset > first:
            log_start[key] = core.log_start_offset
    return Offsets(recovery_points, log_start, recovery_points_known=True)

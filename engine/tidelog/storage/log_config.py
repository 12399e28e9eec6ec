"""What a log needs from others: its topic's configs, and the services of its log directory.

Data only, shared by every task that opens logs. Kafka's names; a TopicConfig fits LogConfig.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from tidelog._native.segment import Segment
from tidelog._native.written import WrittenSlot
from tidelog.clock import Clock
from tidelog.storage.files import Files
from tidelog.storage.segment_files import SegmentSettings

LONG_MAX: Final = 2**63 - 1
#: A segment of that size which was filled in that time is followed by one with reserved blocks.
FAST_FILLED_BYTES: Final = 256 * 1024 * 1024
FAST_FILLED_MS: Final = 30_000
_TARGET_CODECS: Final = {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


class LogConfig(Protocol):
    """The topic configs that a log works with; see the reference for their meaning."""

    @property
    def compact(self) -> bool: ...
    @property
    def delete(self) -> bool: ...
    @property
    def log_append_time(self) -> bool: ...
    @property
    def compression_level(self) -> int | None: ...
    @property
    def compression_type(self) -> str: ...
    @property
    def delete_retention_ms(self) -> int: ...
    @property
    def file_delete_delay_ms(self) -> int: ...
    @property
    def flush_messages(self) -> int: ...
    @property
    def flush_ms(self) -> int: ...
    @property
    def index_interval_bytes(self) -> int: ...
    @property
    def internal_segment_bytes(self) -> int | None: ...
    @property
    def max_compaction_lag_ms(self) -> int: ...
    @property
    def max_message_bytes(self) -> int: ...
    @property
    def message_timestamp_after_max_ms(self) -> int: ...
    @property
    def message_timestamp_before_max_ms(self) -> int: ...
    @property
    def min_cleanable_dirty_ratio(self) -> float: ...
    @property
    def min_compaction_lag_ms(self) -> int: ...
    @property
    def min_insync_replicas(self) -> int: ...
    @property
    def preallocate(self) -> bool: ...
    @property
    def retention_bytes(self) -> int: ...
    @property
    def retention_ms(self) -> int: ...
    @property
    def segment_bytes(self) -> int: ...
    @property
    def segment_index_bytes(self) -> int: ...
    @property
    def segment_jitter_ms(self) -> int: ...
    @property
    def segment_ms(self) -> int: ...


def segment_settings(config: LogConfig) -> SegmentSettings:
    return SegmentSettings(
        max_index_bytes=config.segment_index_bytes,
        index_interval_bytes=config.index_interval_bytes,
        reserve_bytes=segment_bytes(config) if config.preallocate else 0,
    )


def next_settings(config: LogConfig, full: Segment | None, now_ms: int) -> SegmentSettings:
    """Of the segment after `full`. A log that fills large segments within seconds has blocks
    reserved for the next one, as with preallocate=true: they are taken in few large pieces then,
    which saves the file system work for every page (ADR 0023, 0037).
    """
    settings = segment_settings(config)
    if (
        full is None
        or full.size < FAST_FILLED_BYTES
        or not 0 <= now_ms - full.created_ms < FAST_FILLED_MS
    ):
        return settings
    return replace(
        settings,
        reserve_bytes=segment_bytes(config),
        reserve_entries=full.offset_index.entries,
    )


@dataclass(frozen=True, slots=True)
class LogServices:
    """What every log of a directory shares."""

    files: Files
    executor: Executor
    clock: Clock
    rng: random.Random
    verify_transactions: bool = True
    #: Where the files of new segments are made: an append waits for it, so it should not stand in
    #: line behind syncs and cold reads. None: the ordinary helpers.
    roll_executor: Executor | None = None
    #: Opens stored batches: each may need much memory, so one thread does it for the whole node.
    #: None: the ordinary helpers.
    open_executor: Executor | None = None
    #: Writes the directory's recovery points down; a truncation waits for it.
    checkpoint: Callable[[], Awaitable[None]] | None = None
    #: (topic id, partition) to where the log leaves its written position, see written_positions.
    written_slot: Callable[[bytes, int], WrittenSlot | None] | None = None

    @property
    def opener(self) -> Executor:
        """Where stored batches are opened."""
        return self.open_executor or self.executor


def segment_bytes(config: LogConfig) -> int:
    """How large a segment may get."""
    return config.internal_segment_bytes or config.segment_bytes


def segment_ms(config: LogConfig) -> int:
    """How long a segment takes records: what is never rolled is never compacted, so a compacted
    log rolls by max.compaction.lag.ms, too."""
    if config.compact and config.max_compaction_lag_ms > 0:
        return min(config.segment_ms, config.max_compaction_lag_ms)
    return config.segment_ms


def core_settings(config: LogConfig) -> dict[str, Any]:
    """The arguments of LogCore.configure()."""
    return {
        "max_message_bytes": config.max_message_bytes,
        "timestamp_before_max_ms": config.message_timestamp_before_max_ms,
        "timestamp_after_max_ms": config.message_timestamp_after_max_ms,
        "log_append_time": config.log_append_time,
        "compacted": config.compact,
        "target_codec": _TARGET_CODECS.get(config.compression_type, -1),
        "segment_bytes": segment_bytes(config),
        "segment_ms": segment_ms(config),
        "flush_messages": config.flush_messages,
    }

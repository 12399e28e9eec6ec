"""Stub of the native log module (ext/tidelog/_native/log.pyx)."""

from typing_extensions import Buffer

from tidelog._native.producer_state import ProducerStates
from tidelog._native.segment import Segment
from tidelog._native.written import WrittenSlot

STATUS_APPENDED: int
STATUS_REFUSED: int
STATUS_DUPLICATE: int
STATUS_NEEDS_ROLL: int
STATUS_NEEDS_RECOMPRESS: int

class LogCore:
    owner: object | None
    segment_bytes: int
    segment_ms: int
    roll_jitter_ms: int
    flush_messages: int
    producers: ProducerStates
    log_start_offset: int
    log_end_offset: int
    recovery_point: int
    flushed_offset: int
    leader_epoch: int
    offline_error: int
    rolling: bool
    roll_wanted: bool
    def __init__(self, producers: ProducerStates, owner: object | None = None) -> None: ...
    def configure(
        self,
        *,
        max_message_bytes: int = ...,
        timestamp_before_max_ms: int = ...,
        timestamp_after_max_ms: int = ...,
        log_append_time: bool = False,
        compacted: bool = False,
        target_codec: int = -1,
        segment_bytes: int = ...,
        segment_ms: int = ...,
        flush_messages: int = ...,
    ) -> None: ...
    def install(
        self,
        segments: list[Segment],
        *,
        log_start_offset: int,
        log_end_offset: int,
        recovery_point: int,
        leader_epoch: int = -1,
        roll_jitter_ms: int = 0,
        producers: ProducerStates | None = None,
    ) -> None: ...
    def keep_written(self, slot: WrittenSlot) -> None: ...
    def retire(self) -> None: ...
    def begin_roll(self) -> int: ...
    def end_roll(self) -> None: ...
    def install_segment(self, segment: Segment, roll_jitter_ms: int = 0) -> Segment | None: ...
    def remove_first_segments(self, count: int) -> list[Segment]: ...
    def increment_log_start_offset(self, offset: int) -> bool: ...
    def limit_end(self, offset: int) -> None: ...
    def on_flushed(self, offset: int) -> None: ...
    def set_leader_epoch(self, epoch: int) -> None: ...
    def fence(self) -> None: ...
    def is_flush_due(self) -> bool: ...
    def would_roll(
        self, batch_size: int, max_timestamp: int, last_offset: int, now_ms: int
    ) -> bool: ...
    @property
    def segment_list(self) -> list[Segment]: ...
    @property
    def active_segment(self) -> Segment | None: ...
    @property
    def size_bytes(self) -> int: ...
    def produce(
        self, data: Buffer, leader_epoch: int, api_version: int, now_ms: int
    ) -> tuple[int, int, int, int, int, int, int]: ...
    def append_batch(
        self, data: Buffer, leader_epoch: int, now_ms: int
    ) -> tuple[int, int, int, int]: ...
    def append_fetched(self, data: Buffer, now_ms: int) -> tuple[int, int, int, int, int]: ...
    def read_region(
        self, offset: int, max_bytes: int, upper_offset: int, min_one_batch: bool = True
    ) -> tuple[int, Segment | None, int, int, int]: ...
    def bytes_available(self, offset: int, upper_offset: int) -> int: ...

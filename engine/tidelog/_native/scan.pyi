"""Stub of the native scan module (ext/tidelog/_native/scan.pyx)."""

from collections.abc import Callable

from typing_extensions import Buffer

from tidelog._native.index import OffsetIndex, TimeIndex
from tidelog._native.log_file import LogFile
from tidelog._native.producer_state import ProducerStates

REASONS: tuple[str, ...]

class SegmentScanner:
    fd: int
    file: LogFile | None
    base_offset: int
    end: int
    verify_from: int
    index_interval_bytes: int
    valid_bytes: int
    batches: int
    next_offset: int
    first_timestamp: int
    max_timestamp: int
    offset_of_max_timestamp: int
    bytes_since_index_entry: int
    keep_below: int
    damaged: list[tuple[int, int]]
    aborted: list[tuple[int, int, int, int]]
    reason: int
    io_errno: int
    def __init__(
        self,
        fd: int,
        base_offset: int,
        end: int,
        *,
        index_interval_bytes: int = 4096,
        verify_from: int = 0,
        keep_below: int = 0,
        file: LogFile | None = None,
    ) -> None: ...
    def run(
        self,
        offset_index: OffsetIndex | None = None,
        time_index: TimeIndex | None = None,
        producers: ProducerStates | None = None,
        producers_from: int = 0,
        epochs: list[tuple[int, int]] | None = None,
        on_heads: Callable[[bytes], object] | None = None,
    ) -> SegmentScanner: ...
    def start_at(self, position: int) -> None: ...
    @property
    def reason_text(self) -> str: ...

def find_batch_by_timestamp(
    fd: int, position: int, end: int, base_offset: int, timestamp: int, offset: int
) -> tuple[int, int] | None: ...
def find_record(
    payload: Buffer, base_timestamp: int, timestamp: int, offset_delta: int
) -> tuple[int, int] | None: ...

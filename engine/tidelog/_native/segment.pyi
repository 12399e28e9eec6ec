"""Stub of the native segment module (ext/tidelog/_native/segment.pyx)."""

from collections.abc import Iterable
from typing import Protocol

from typing_extensions import Buffer

from tidelog._native.index import OffsetIndex, TimeIndex
from tidelog._native.log_file import FileHolder
from tidelog.errors import StorageError

class CorruptSegmentError(StorageError): ...

class WriteHook(Protocol):
    def pwrite(self, fd: int, data: bytes, position: int) -> int: ...
    def truncate(self, fd: int, size: int) -> None: ...

class Segment(FileHolder):
    base_offset: int
    directory: str
    size: int
    next_offset: int
    created_ms: int
    offset_index: OffsetIndex
    time_index: TimeIndex
    index_interval_bytes: int
    bytes_since_index_entry: int
    rolling_based_timestamp: int
    max_timestamp: int
    offset_of_max_timestamp: int
    last_modified_ms: int
    sealed: bool
    trimmed: bool
    torn: bool
    txn_index: object
    write_hook: WriteHook | None
    allocated_bytes: int
    damaged: tuple[int, ...] | None
    def __init__(
        self,
        directory: str,
        base_offset: int,
        fd: int,
        offset_index: OffsetIndex,
        time_index: TimeIndex,
        *,
        size: int = 0,
        next_offset: int = -1,
        created_ms: int,
        index_interval_bytes: int,
        sealed: bool = False,
    ) -> None: ...
    def restore(
        self,
        *,
        rolling_based_timestamp: int,
        max_timestamp: int,
        offset_of_max_timestamp: int,
        last_modified_ms: int,
        bytes_since_index_entry: int = 0,
    ) -> None: ...
    def resize(self, size: int, next_offset: int) -> None: ...
    def seal(self) -> None: ...
    def unseal(self) -> None: ...
    def set_index_interval_bytes(self, index_interval_bytes: int) -> None: ...
    def set_trimmed(self, trimmed: bool) -> None: ...
    def set_damaged(self, positions: Iterable[int]) -> None: ...
    def set_allocated_bytes(self, allocated_bytes: int) -> None: ...
    def moved_to(self, directory: str) -> None: ...
    def append_batch(
        self, data: Buffer, last_offset: int, max_timestamp: int, now_ms: int = 0
    ) -> None: ...
    def offset_behind(self, position: int) -> int: ...
    def find(self, target: int) -> tuple[int, int, int] | None: ...
    def scan(self, target: int, position: int) -> tuple[int, int, int] | None: ...
    def read_at(self, position: int, n: int) -> bytes: ...

"""Stub of the native cleaner pass (ext/tidelog/_native/cleaner.pyx).

How it is driven: begin() with a segment, then index() or copy() until they answer END. SLICE: a
slice is done, call again. FULL: the map is. ASK: decide(), then call again. OPEN: give_payload()
what payload_bytes() holds, decompressed. PACK: pack() what packing_bytes() holds, compressed.
WRITE: take_output(), write it, call again. BAD: `problem`; IO: `io_errno`.
"""

from collections.abc import Iterable

from tidelog._native.log_file import LogFile
from tidelog._native.offset_map import OffsetMap

END: int
SLICE: int
FULL: int
ASK: int
OPEN: int
PACK: int
WRITE: int
BAD: int
IO: int
MEMORY: int

class CleanerPass:
    map: OffsetMap
    now_ms: int
    delete_retention_ms: int
    end_of_round: int
    position: int
    slice_bytes: int
    write_bytes: int
    records_read: int
    records_kept: int
    records_indexed: int
    keyless_records: int
    bytes_read: int
    bytes_kept: int
    io_errno: int
    problem: str
    def __init__(
        self,
        map: OffsetMap,
        *,
        chunk_bytes: int,
        slice_bytes: int = 0,
        write_bytes: int = 0,
        now_ms: int = 0,
        delete_retention_ms: int = 0,
        end_of_round: int = -1,
        producers: Iterable[tuple[int, int, int]] = (),
    ) -> None: ...
    def set_producers(self, producers: Iterable[tuple[int, int, int]]) -> None: ...
    def begin(self, file: LogFile, base_offset: int, size: int, position: int = 0) -> None: ...
    def index(self, start_offset: int) -> int: ...
    def copy(self) -> int: ...
    def told(self, step: int) -> int: ...
    @property
    def codec(self) -> int: ...
    @property
    def batch_bytes(self) -> bytes: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def producer_id(self) -> int: ...
    @property
    def last_offset(self) -> int: ...
    @property
    def is_control(self) -> bool: ...
    def decide(self, discard: bool) -> None: ...
    def payload_bytes(self) -> bytes: ...
    def give_payload(self, payload: bytes) -> None: ...
    def packing_bytes(self) -> bytes: ...
    def pack(self, records: bytes) -> None: ...
    def take_output(self) -> bytes: ...

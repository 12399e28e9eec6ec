from collections.abc import Sequence

from typing_extensions import Buffer

from tidelog._native.batch import BatchHeader, Limits

Headers = Sequence[tuple[bytes, bytes | None]]

class Record:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]
    def __init__(
        self,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[bytes, bytes | None], ...] = (),
    ) -> None: ...
    def __hash__(self) -> int: ...

def decode_records(payload: Buffer, header: BatchHeader) -> list[Record]: ...
def encode_records(
    records: Sequence[tuple[int, bytes | None, bytes | None, Headers]],
    base_timestamp: int,
    room: int = 0,
) -> bytearray: ...
def put_header(
    batch: bytearray,
    base_offset: int,
    partition_leader_epoch: int,
    attributes: int,
    last_offset_delta: int,
    base_timestamp: int,
    max_timestamp: int,
    producer_id: int,
    producer_epoch: int,
    base_sequence: int,
    records_count: int,
) -> None: ...
def record_errors(
    payload: Buffer, header: BatchHeader, now_ms: int, limits: Limits, at_most: int
) -> list[tuple[int, int, int]]: ...
def stamp_batch(
    batch: Buffer, header: BatchHeader | None, base_offset: int, partition_leader_epoch: int
) -> None: ...
def stamp_append_time(batch: Buffer, now_ms: int) -> None: ...
def control_type_of(batch: Buffer) -> tuple[int, int]: ...

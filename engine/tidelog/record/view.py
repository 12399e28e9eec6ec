"""Reading batches and records out of bytes: replay of internal topics, tools, tests.

Pure: bytes in, values out; owned by no process. It trusts nothing: whatever is not a whole, sound
batch is a CorruptBatchError. It never reads a file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from typing_extensions import Buffer

from tidelog._native.batch import BatchHeader, is_crc_ok, parse
from tidelog._native.records import Record, decode_records
from tidelog.errors import StorageError
from tidelog.record.compression import CompressionError, decompress

BATCH_OVERHEAD: Final = 61
LOG_OVERHEAD: Final = 12
#: Decompressed records of one batch; far above what max.message.bytes lets through in practice.
DECOMPRESSED_BYTES_MAX: Final = 256 * 1024 * 1024

_CONTROL_KEY: Final = struct.Struct(">hh")
_END_TXN_VALUE: Final = struct.Struct(">hi")


class CorruptBatchError(StorageError):
    """Bytes that should be a batch and are not. `position`: where in the bytes it begins."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"batch at position {position}: {problem}")
        self.position = position
        self.problem = problem


class BatchView:
    """One whole batch within a buffer, which it keeps alive and does not copy."""

    __slots__ = ("_data", "header", "position")

    def __init__(self, data: memoryview, header: BatchHeader, position: int) -> None:
        self._data = data
        self.header = header
        self.position = position

    @property
    def data(self) -> memoryview:
        """The batch's bytes."""
        return self._data

    @property
    def payload(self) -> memoryview:
        """The records as they are stored: compressed, if the batch is."""
        return self._data[BATCH_OVERHEAD:]

    @property
    def is_crc_ok(self) -> bool:
        return is_crc_ok(self._data)

    def records(self, limit_bytes: int = DECOMPRESSED_BYTES_MAX) -> list[Record]:
        """The records, decompressed if need be. Raises CorruptBatchError."""
        try:
            payload = decompress(self.header.codec, self.payload, limit_bytes)
            return decode_records(payload, self.header)
        except (CompressionError, ValueError) as error:
            raise CorruptBatchError(self.position, str(error)) from error

    def control(self) -> tuple[int, int] | None:
        """(type, coordinator epoch) of a control batch; the epoch is -1 for types without one. None
        when the cleaner took the record away. Raises CorruptBatchError."""
        records = self.records()
        if not records:
            return None
        key, value = records[0].key, records[0].value
        if key is None or len(key) < _CONTROL_KEY.size:
            raise CorruptBatchError(self.position, "a control record without a type")
        _, control_type = _CONTROL_KEY.unpack_from(key)
        if value is None or len(value) < _END_TXN_VALUE.size:
            return control_type, -1
        return control_type, _END_TXN_VALUE.unpack_from(value)[1]


def iterate_batches(data: Buffer, *, check_crc: bool = True) -> Iterator[BatchView]:
    """The batches that stand one behind the other. A last one that is cut off ends the iteration,
    since reads are bounded by bytes. Raises CorruptBatchError."""
    view = memoryview(data).cast("B")
    position = 0
    while len(view) - position >= LOG_OVERHEAD:
        size = LOG_OVERHEAD + int.from_bytes(view[position + 8 : position + 12], "big", signed=True)
        if size < BATCH_OVERHEAD:
            raise CorruptBatchError(position, f"a batch of {size} bytes")
        if size > len(view) - position:
            return
        batch = view[position : position + size]
        header = parse(batch)
        if header is None:
            raise CorruptBatchError(position, f"magic {batch[16]}, not 2")
        if check_crc and not is_crc_ok(batch):
            raise CorruptBatchError(position, "the checksum is wrong")
        yield BatchView(batch, header, position)
        position += size


def read_records(data: Buffer, *, with_control: bool = False) -> Iterator[Record]:
    """All records of all batches; those of control batches only if asked for. Raises
    CorruptBatchError."""
    for batch in iterate_batches(data):
        if with_control or not batch.header.is_control:
            yield from batch.records()

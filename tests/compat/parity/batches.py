"""Record batches (magic 2) built field by field, so that every field can also be wrong.

Independent of the broker's own builder: plain Python after the public format description.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

BASE_TIMESTAMP = 1_700_000_000_000

_CRC_TABLE: list[int] = []


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit table."""
    if not _CRC_TABLE:
        for n in range(256):
            for _ in range(8):
                n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
            _CRC_TABLE.append(n)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(value: int) -> bytes:
    """A zigzag variable-length number."""
    value = (value << 1) ^ (value >> 63)
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


@dataclass
class Record:
    """One record; deltas default to its place in the batch."""

    value: bytes | None = b"value"
    key: bytes | None = b"key"
    timestamp_delta: int = 0
    offset_delta: int | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = ()

    def encode(self, index: int) -> bytes:
        delta = index if self.offset_delta is None else self.offset_delta
        body = b"\0" + varint(self.timestamp_delta) + varint(delta)
        body += sized(self.key) + sized(self.value) + varint(len(self.headers))
        for name, value in self.headers:
            body += sized(name) + sized(value)
        return varint(len(body)) + body


@dataclass
class Batch:
    """A record batch. What is None is computed; anything given is written as it is."""

    records: Sequence[Record] = field(default_factory=lambda: [Record()])
    base_offset: int = 0
    partition_leader_epoch: int = -1
    magic: int = 2
    crc: int | None = None
    attributes: int = 0
    last_offset_delta: int | None = None
    base_timestamp: int = BASE_TIMESTAMP
    max_timestamp: int | None = None
    producer_id: int = -1
    producer_epoch: int = -1
    base_sequence: int = -1
    count: int | None = None
    length: int | None = None
    body: bytes | None = None

    def encode(self) -> bytes:
        body = self.body
        if body is None:
            body = b"".join(r.encode(i) for i, r in enumerate(self.records))
            if self.attributes & 7 == 1:
                body = gzip.compress(body, mtime=0)
        deltas = [r.timestamp_delta for r in self.records] or [0]
        last = len(self.records) - 1 if self.last_offset_delta is None else self.last_offset_delta
        newest = self.base_timestamp + max(deltas)
        after_crc = (
            struct.pack(
                ">hiqqqhii",
                self.attributes,
                last,
                self.base_timestamp,
                newest if self.max_timestamp is None else self.max_timestamp,
                self.producer_id,
                self.producer_epoch,
                self.base_sequence,
                len(self.records) if self.count is None else self.count,
            )
            + body
        )
        crc = crc32c(after_crc) if self.crc is None else self.crc
        rest = struct.pack(">ibI", self.partition_leader_epoch, self.magic, crc) + after_crc
        length = len(rest) if self.length is None else self.length
        return struct.pack(">qi", self.base_offset, length) + rest


def summary(records: bytes | None) -> list[dict[str, int]] | None:
    """The headers of the batches in a Fetch answer, None for null; a cut last batch is left out."""
    if records is None:
        return None
    found = []
    position = 0
    while position + 61 <= len(records):
        base, length, epoch, _, crc = struct.unpack_from(">qiibI", records, position)
        if position + 12 + length > len(records):
            break
        attributes, last, first_time, max_time, pid, pid_epoch, sequence, count = (
            struct.unpack_from(">hiqqqhii", records, position + 21)
        )
        found.append(
            {
                "base_offset": base,
                "length": length,
                "leader_epoch": epoch,
                "attributes": attributes,
                "last_offset_delta": last,
                "base_timestamp": first_time,
                "max_timestamp": max_time,
                "producer": int(pid >= 0),
                "producer_epoch": pid_epoch,
                "base_sequence": sequence,
                "count": count,
                "crc_is_right": int(crc == crc32c(records[position + 21 : position + 12 + length])),
            }
        )
        position += 12 + length
    return found

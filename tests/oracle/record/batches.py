"""Record batches for tests: right ones, and raw ones with every byte in the test's hand."""

from __future__ import annotations

import struct

from tests.oracle.record.crc_twin import crc32c
from tidelog.record.builder import NO_PRODUCER, NewRecord, Producer, build_batch

NOW_MS = 1_700_000_000_000


def make_batch(
    count: int = 3,
    timestamp: int = NOW_MS,
    *,
    codec: int = 0,
    producer: Producer = NO_PRODUCER,
    is_transactional: bool = False,
) -> bytes:
    """A batch as a client makes it; timestamps ascend by one."""
    records = [NewRecord(timestamp + i, b"key-%d" % i, b"value" * 2) for i in range(count)]
    return bytes(
        build_batch(records, codec=codec, producer=producer, is_transactional=is_transactional)
    )


def patched(data: bytes, position: int, form: str, value: int) -> bytes:
    """The bytes with one field written over; the checksum stays."""
    out = bytearray(data)
    struct.pack_into(form, out, position, value)
    return bytes(out)


def sealed(data: bytes) -> bytes:
    """The bytes with the checksum that they should have."""
    return patched(data, 17, ">I", crc32c(data[21:]))


def zigzag(value: int) -> bytes:
    """A varint as records have it."""
    raw = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while raw >= 0x80:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


def raw_record(
    *,
    attributes: int = 0,
    timestamp_delta: bytes = b"\x00",
    offset_delta: int = 0,
    key: bytes = b"\x02k",
    value: bytes = b"\x02v",
    headers: bytes = b"\x00",
    tail: bytes = b"",
    length_add: int = 0,
) -> bytes:
    """A record from its encoded parts (keys and values with their lengths)."""
    body = bytes([attributes]) + timestamp_delta + zigzag(offset_delta)
    body += key + value + headers + tail
    return zigzag(len(body) + length_add) + body


def raw_batch(*records: bytes, count: int | None = None, tail: bytes = b"") -> bytes:
    """A batch around encoded records, with a right checksum."""
    payload = b"".join(records) + tail
    number = len(records) if count is None else count
    header = struct.pack(
        ">qiibIhiqqqhii",
        0,
        49 + len(payload),
        -1,
        2,
        0,
        0,
        number - 1,
        NOW_MS,
        NOW_MS,
        -1,
        -1,
        -1,
        number,
    )
    return sealed(header + payload)

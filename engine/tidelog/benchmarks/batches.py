"""Record batches (format v2, KIP-98) of an exact size, to be encoded once and replayed.

Pure: the timestamp and the seed of the payload are arguments. Kept apart from the broker's own
record code on purpose (but for the codecs, which are libraries): a benchmark that built its batches
with the broker's builder could not tell when both are wrong in the same way.
"""

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tidelog._native.crc32c import crc32c_of
from tidelog.record.compression import compress

BATCH_OVERHEAD = 61
ATTR_TRANSACTIONAL = 0x10
_HEAD = struct.Struct(">qiibI")  # base_offset, batch_length, leader_epoch, magic, crc
_BODY = struct.Struct(">hiqqqhii")  # attributes .. base_sequence, records_count


@dataclass(frozen=True)
class Batch:
    """An encoded batch. base_sequence is -1 without a producer id."""

    data: bytes
    record_count: int
    base_sequence: int = -1


def varint(value: int) -> bytes:
    """Zigzag, base 128, least significant group first."""
    return unsigned_varint(value << 1 if value >= 0 else (-value << 1) - 1)


def unsigned_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_record(offset_delta: int, value: bytes, key: bytes | None = None) -> bytes:
    """A record without headers, with the batch's own timestamp."""
    keyed = varint(-1) if key is None else varint(len(key)) + key
    body = b"".join(
        (b"\x00\x00", varint(offset_delta), keyed, varint(len(value)), value, varint(0))
    )
    return varint(len(body)) + body


def record_size(offset_delta: int, value_bytes: int) -> int:
    body = 4 + len(varint(offset_delta)) + len(varint(value_bytes)) + value_bytes
    return len(varint(body)) + body


def encode_batch(
    values: Sequence[bytes],
    timestamp_ms: int,
    *,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    transactional: bool = False,
    keys: Sequence[bytes] = (),
    codec: int = 0,
) -> Batch:
    """A CreateTime batch with base offset 0; all records carry `timestamp_ms`, and the keys in
    turn. codec: its number in the attributes (0: none)."""
    records = compress(
        codec,
        b"".join(
            encode_record(delta, value, keys[delta % len(keys)] if keys else None)
            for delta, value in enumerate(values)
        ),
    )
    body = (
        _BODY.pack(
            (ATTR_TRANSACTIONAL if transactional else 0) | codec,
            len(values) - 1,
            timestamp_ms,
            timestamp_ms,
            producer_id,
            producer_epoch,
            base_sequence,
            len(values),
        )
        + records
    )
    head = _HEAD.pack(0, len(body) + 9, -1, 2, crc32c_of(body))
    return Batch(head + body, len(values), base_sequence)


def value_sizes(batch_bytes: int, record_bytes: int) -> list[int]:
    """Sizes of the values that make a batch of exactly `batch_bytes`: all of `record_bytes` but the
    last, which takes what is left. ValueError when that is impossible."""
    left = batch_bytes - BATCH_OVERHEAD
    sizes: list[int] = []
    while left >= 2 * record_size(len(sizes), record_bytes):
        sizes.append(record_bytes)
        left -= record_size(len(sizes) - 1, record_bytes)
    last = _fitting_value(len(sizes), left)
    if last is None and sizes:
        # The length prefix grows by a byte just there: give that byte to the last but one.
        sizes[-1] -= 1
        left += record_size(len(sizes) - 1, record_bytes)
        left -= record_size(len(sizes) - 1, record_bytes - 1)
        last = _fitting_value(len(sizes), left)
    if last is None:
        raise ValueError(f"no batch of exactly {batch_bytes} bytes")
    return [*sizes, last]


def _fitting_value(offset_delta: int, size: int) -> int | None:
    smallest = record_size(offset_delta, 0)
    for value_bytes in range(max(0, size - smallest - 8), size - smallest + 1):
        if record_size(offset_delta, value_bytes) == size:
            return value_bytes
    return None


def payloads(count: int, record_bytes: int, seed: int, random_share: float = 0.5) -> list[bytes]:
    """Values of which a share (0..1) is random bytes and the rest one and the same text."""
    noise = random.Random(seed)
    random_bytes = round(record_bytes * random_share)
    return [
        noise.randbytes(random_bytes) + bytes(record_bytes - random_bytes) for _ in range(count)
    ]


def sized_batch(
    batch_bytes: int,
    timestamp_ms: int,
    *,
    record_bytes: int = 1024,
    seed: int = 1,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
) -> Batch:
    """A batch of exactly `batch_bytes` whose values are random bytes (of a fixed seed)."""
    noise = random.Random(seed)
    values = [noise.randbytes(size) for size in value_sizes(batch_bytes, record_bytes)]
    return encode_batch(
        values,
        timestamp_ms,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )

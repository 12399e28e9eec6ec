"""The leader's checks of a produced batch in plain Python: the twin of check_produce_batch.

Written from the answers of the reference (tests/compat/record), not from the native code, and as
simple as can be: every integer is unbounded, every slice is checked by itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.oracle.record.crc_twin import crc32c
from tidelog.record.reasons import Reason

RECOMPRESS = -100
NO_LIMIT = 2**63 - 1


@dataclass(frozen=True)
class Limits:
    """In the order of CheckLimits; as_tuple() is what the native functions take."""

    max_message_bytes: int = 1_048_588
    timestamp_before_max_ms: int = NO_LIMIT
    timestamp_after_max_ms: int = 3_600_000
    log_append_time: bool = False
    compacted: bool = False
    target_codec: int = -1

    def as_tuple(self) -> tuple[int, int, int, bool, bool, int]:
        return (
            self.max_message_bytes,
            self.timestamp_before_max_ms,
            self.timestamp_after_max_ms,
            self.log_append_time,
            self.compacted,
            self.target_codec,
        )


@dataclass(frozen=True)
class Verdict:
    """`status` as the native check; with 0: what the batch has to say when it is stored."""

    status: int
    reason: Reason = Reason.NONE
    record_index: int = -1
    attributes: int = 0
    max_timestamp: int = -1
    offset_of_max_timestamp: int = -1


class Refused(Exception):
    def __init__(self, reason: Reason, record_index: int = -1) -> None:
        super().__init__(reason.name)
        self.reason = reason
        self.record_index = record_index


@dataclass
class Header:
    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int

    @classmethod
    def of(cls, data: bytes) -> Header:
        return cls(*struct.unpack_from(">qiibIhiqqqhii", data))


@dataclass(frozen=True)
class WalkedRecord:
    timestamp_delta: int
    has_key: bool


def check(data: bytes, api_version: int, now_ms: int, limits: Limits) -> Verdict:
    try:
        return _check(data, api_version, now_ms, limits)
    except Refused as refused:
        return Verdict(refused.reason.error_code, refused.reason, refused.record_index)


def _check(data: bytes, api_version: int, now_ms: int, limits: Limits) -> Verdict:
    batch = _only_batch(data, api_version)
    if batch[:8] != bytes(8):
        raise Refused(Reason.BASE_OFFSET)
    if len(batch) > limits.max_message_bytes:
        raise Refused(Reason.TOO_LARGE)
    if len(batch) < 61:
        raise Refused(Reason.SIZE_FIELD)
    header = Header.of(batch)
    if header.crc != crc32c(batch[21:]):
        raise Refused(Reason.CRC)
    _check_header(header)
    codec = header.attributes & 7
    if codec != 0:
        return _check_compressed(header, now_ms, limits)
    verdict = walk(batch[61:], header, now_ms, limits)
    if limits.target_codec > 0:
        return Verdict(RECOMPRESS)
    return verdict


def walk(payload: bytes, header: Header, now_ms: int, limits: Limits) -> Verdict:
    """The records of a batch that is not compressed. Raises Refused."""
    fixed = bool(header.attributes & 0x08)
    records = _records(payload, header.count)
    times = [
        header.max_timestamp if fixed else _signed64(header.base_timestamp + one.timestamp_delta)
        for one in records
    ]
    errors = [
        _record_error(one, time, fixed, now_ms, limits)
        for one, time in zip(records, times, strict=True)
    ]
    for wanted in (Reason.TIMESTAMP_RANGE, Reason.KEY_MISSING, Reason.TIMESTAMP_TYPE):
        if wanted in errors:
            raise Refused(wanted, errors.index(wanted))
    if limits.log_append_time:
        return Verdict(0, attributes=header.attributes | 0x08, max_timestamp=now_ms)
    highest = max([-1, *times])
    return Verdict(
        0,
        attributes=header.attributes & ~0x08,
        max_timestamp=highest,
        offset_of_max_timestamp=times.index(highest) if highest in times and highest > -1 else -1,
    )


def _only_batch(data: bytes, api_version: int) -> bytes:
    first = _next_batch(data)
    if first is None:
        raise Refused(Reason.NO_BATCH)
    if first[16] != 2:
        raise Refused(Reason.MAGIC_OLD)
    if api_version < 7 and len(first) >= 24 and first[22] & 7 == 4:
        raise Refused(Reason.ZSTD_VERSION)
    if _next_batch(data[len(first) :]) is not None:
        raise Refused(Reason.SEVERAL_BATCHES)
    return first


def _next_batch(data: bytes) -> bytes | None:
    if len(data) < 12:
        return None
    (length,) = struct.unpack_from(">i", data, 8)
    if length < 14:
        raise Refused(Reason.SIZE_FIELD)
    if len(data) < 17:
        return None
    if data[16] > 2:
        raise Refused(Reason.MAGIC_UNKNOWN)
    return data[: 12 + length] if len(data) >= 12 + length else None


def _check_header(header: Header) -> None:
    if header.attributes & 7 > 4:
        raise Refused(Reason.CODEC_UNKNOWN)
    if header.last_offset_delta < 0:
        raise Refused(Reason.OFFSET_RANGE)
    if header.count < 1:
        raise Refused(Reason.COUNT)
    if header.count != header.last_offset_delta + 1:
        raise Refused(Reason.COUNT_MISMATCH)
    if header.attributes & 0x20:
        raise Refused(Reason.CONTROL)
    if header.producer_id >= 0 and header.base_sequence < 0:
        raise Refused(Reason.SEQUENCE)


def _check_compressed(header: Header, now_ms: int, limits: Limits) -> Verdict:
    says_append_time = bool(header.attributes & 0x08)
    in_doubt = says_append_time or (
        not limits.log_append_time
        and (
            limits.timestamp_before_max_ms != NO_LIMIT
            or _out_of_range(header.max_timestamp, now_ms, limits)
        )
    )
    other_codec = limits.target_codec not in (-1, header.attributes & 7)
    if limits.compacted or in_doubt or other_codec:
        return Verdict(RECOMPRESS)
    if limits.log_append_time:
        return Verdict(0, attributes=header.attributes | 0x08, max_timestamp=now_ms)
    return Verdict(0, attributes=header.attributes, max_timestamp=header.max_timestamp)


def _record_error(
    record: WalkedRecord, timestamp: int, fixed: bool, now_ms: int, limits: Limits
) -> Reason:
    if limits.compacted and not record.has_key:
        return Reason.KEY_MISSING
    if not limits.log_append_time and timestamp != -1:
        if _out_of_range(timestamp, now_ms, limits):
            return Reason.TIMESTAMP_RANGE
    elif fixed:
        return Reason.TIMESTAMP_TYPE
    return Reason.NONE


def _out_of_range(timestamp: int, now_ms: int, limits: Limits) -> bool:
    age = _signed64(now_ms - timestamp)
    return timestamp != -1 and (
        age > limits.timestamp_before_max_ms or _signed64(-age) > limits.timestamp_after_max_ms
    )


def _signed64(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


class Bytes:
    """A cursor over one record or the whole payload."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size < 0 or size > len(self.data) - self.at:
            raise ValueError("short")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self, bits: int) -> int:
        raw = 0
        for position in range(-(-bits // 7)):
            byte = self.take(1)[0]
            raw |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                break
        else:
            raise ValueError("long varint")
        if raw >= 1 << bits:
            raise ValueError("varint out of range")
        return (raw >> 1) ^ -(raw & 1)

    def nullable(self) -> bytes | None:
        size = self.varint(32)
        return None if size < 0 else self.take(size)


def _records(payload: bytes, count: int) -> list[WalkedRecord]:
    cursor = Bytes(payload)
    records = []
    for index in range(count):
        try:
            body = Bytes(cursor.take(cursor.varint(32)))
            body.take(1)
            timestamp_delta = body.varint(64)
            offset_delta = body.varint(32)
            key = body.nullable()
            body.nullable()
            headers = body.varint(32)
            if headers < 0 or headers > len(body.data):
                raise ValueError("headers")
            for _ in range(headers):
                body.take(body.varint(32))
                body.nullable()
            if body.at != len(body.data):
                raise ValueError("left over")
        except ValueError:
            raise Refused(Reason.RECORD_FRAMING, index) from None
        if offset_delta != index:
            raise Refused(Reason.OFFSET_DELTA, index)
        records.append(WalkedRecord(timestamp_delta, key is not None))
    if cursor.at != len(payload):
        raise Refused(Reason.RECORDS_LEFT)
    return records

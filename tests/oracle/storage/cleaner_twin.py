"""The log cleaner in plain Python: the twin of the native pass and of the rules for transactions.

Written from Kafka's description of compaction (KIP-98, KIP-280's predecessor rules, KIP-534), not
from the native code: batches are objects, keys are kept as they are, nothing is bounded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from tests.oracle.record.crc_twin import crc32c
from tidelog.record.compression import compress, decompress

HEADER = ">qiibIhiqqqhii"
CODEC, APPEND_TIME, TRANSACTIONAL, CONTROL, HORIZON = 0x07, 0x08, 0x10, 0x20, 0x40
ABORT, COMMIT = 0, 1


@dataclass(frozen=True)
class TwinRecord:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: bytes  # as they stand in the batch, with their count


@dataclass(frozen=True)
class TwinBatch:
    base_offset: int
    last_offset: int
    leader_epoch: int
    attributes: int
    base_timestamp: int
    max_timestamp: int
    producer: tuple[int, int, int]
    records: tuple[TwinRecord, ...]
    original: bytes = field(repr=False, default=b"")

    def has(self, attribute: int) -> bool:
        return bool(self.attributes & attribute)

    @property
    def horizon(self) -> int | None:
        return self.base_timestamp if self.has(HORIZON) else None

    def encode(self) -> bytes:
        body = b"".join(self._record(record) for record in self.records)
        codec = self.attributes & CODEC if self.records else 0
        body = compress(codec, body)
        attributes = self.attributes & ~CODEC | codec
        tail = struct.pack(
            ">hiqqqhii",
            attributes,
            self.last_offset - self.base_offset,
            self.base_timestamp,
            self.max_timestamp,
            *self.producer,
            len(self.records),
        )
        crc = crc32c(tail + body)
        return (
            struct.pack(">qiibI", self.base_offset, 49 + len(body), self.leader_epoch, 2, crc)
            + tail
            + body
        )

    def _record(self, record: TwinRecord) -> bytes:
        timestamp = self.max_timestamp if self.has(APPEND_TIME) else record.timestamp
        body = (
            b"\0"
            + varint(timestamp - self.base_timestamp)
            + varint(record.offset - self.base_offset)
            + nullable(record.key)
            + nullable(record.value)
            + record.headers
        )
        return varint(len(body)) + body


def varint(value: int) -> bytes:
    raw = (value << 1) ^ (value >> 63)
    out = bytearray()
    while raw >= 0x80:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


def nullable(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    raw = shift = 0
    while True:
        byte = data[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), at


def parse_log(data: bytes) -> list[TwinBatch]:
    batches, at = [], 0
    while at < len(data):
        fields = struct.unpack_from(HEADER, data, at)
        size = 12 + fields[1]
        batches.append(_parse(data[at : at + size], fields))
        at += size
    return batches


def _parse(data: bytes, fields: tuple[int, ...]) -> TwinBatch:
    base, _, epoch, _, _, attributes, delta, base_time, max_time, *producer, count = fields
    body = decompress(attributes & CODEC, data[61:], 1 << 30) if count else b""
    records, at = [], 0
    for _ in range(count):
        length, at = read_varint(body, at)
        end = at + length
        time_delta, at = read_varint(body, at + 1)
        offset_delta, at = read_varint(body, at)
        values: list[bytes | None] = []
        for _ in range(2):
            size, at = read_varint(body, at)
            values.append(None if size < 0 else body[at : at + size])
            at += max(size, 0)
        timestamp = max_time if attributes & APPEND_TIME else base_time + time_delta
        records.append(
            TwinRecord(base + offset_delta, timestamp, values[0], values[1], body[at:end])
        )
        at = end
    return TwinBatch(
        base, base + delta, epoch, attributes, base_time, max_time,
        (producer[0], producer[1], producer[2]), tuple(records), data,
    )  # fmt: skip


def control_type(batch: TwinBatch) -> int | None:
    if not batch.records:
        return None
    key = batch.records[0].key
    assert key is not None
    return int(struct.unpack(">hh", key[:4])[1])


class TwinTransactions:
    """Which batches belong to aborted transactions (producer id, first offset, marker's offset)."""

    def __init__(self, aborted: list[tuple[int, int, int]]) -> None:
        self.aborted = aborted
        self.seen: set[tuple[int, int, int]] = set()
        self.committing: set[int] = set()

    def may_go(self, batch: TwinBatch) -> bool:
        producer = batch.producer[0]
        mine = [
            txn
            for txn in self.aborted
            if txn[0] == producer and txn[1] <= batch.last_offset <= txn[2]
        ]
        if not batch.has(CONTROL):
            if not batch.has(TRANSACTIONAL):
                return False
            self.seen.update(mine)
            if not mine:
                self.committing.add(producer)
            return bool(mine)
        kind = control_type(batch)
        if kind is None:
            return True
        if kind == ABORT:
            return not any(txn in self.seen for txn in mine)
        if kind == COMMIT:
            had = producer in self.committing
            self.committing.discard(producer)
            return not had
        return False


def read_keys(
    batches: list[TwinBatch],
    first_dirty: int,
    end: int,
    aborted: list[tuple[int, int, int]],
    most: int,
) -> tuple[dict[bytes, int], int]:
    """(last offset of every key in [first_dirty, end), offset behind the last one taken in)."""
    keys: dict[bytes, int] = {}
    transactions = TwinTransactions(aborted)
    reach = first_dirty
    for batch in batches:
        if not first_dirty <= batch.last_offset < end:
            continue
        may_go = transactions.may_go(batch) if batch.has(CONTROL | TRANSACTIONAL) else False
        for record in () if may_go or batch.has(CONTROL) else batch.records:
            if record.key is None or record.offset < first_dirty:
                continue
            if record.key not in keys and len(keys) == most:
                return keys, reach
            keys[record.key] = record.offset
            reach = record.offset + 1
        reach = batch.last_offset + 1
    return keys, end


def clean(
    batches: list[TwinBatch],
    keys: dict[bytes, int],
    reach: int,
    *,
    now_ms: int,
    delete_retention_ms: int,
    end_of_round: int,
    producers: dict[int, tuple[int, int]],
    aborted: list[tuple[int, int, int]],
) -> bytes:
    """What stays of the batches. `producers`: id to (last data offset or -1, epoch)."""
    transactions = TwinTransactions(aborted)
    out = []
    for batch in batches:
        may_go = transactions.may_go(batch) if batch.has(CONTROL | TRANSACTIONAL) else False
        gone = may_go
        if batch.has(CONTROL) and may_go:
            gone = batch.horizon is not None and batch.horizon <= now_ms
        kept = tuple(
            record
            for record in batch.records
            if not gone and (batch.has(CONTROL) or _stays(batch, record, keys, reach, now_ms))
        )
        if not kept:
            if _is_last(batch, producers) or batch.last_offset + 1 == end_of_round:
                empty = batch.attributes & (APPEND_TIME | TRANSACTIONAL | CONTROL)
                out.append(replace(batch, records=(), attributes=empty, base_timestamp=-1).encode())
            continue
        marked = any(record.value is None for record in kept) or (batch.has(CONTROL) and may_go)
        stamps = marked and batch.horizon is None
        if len(kept) == len(batch.records) and not stamps:
            out.append(batch.original)
            continue
        base_timestamp = batch.horizon if batch.horizon is not None else kept[0].timestamp
        attributes = batch.attributes
        if stamps:
            base_timestamp, attributes = now_ms + delete_retention_ms, attributes | HORIZON
        max_timestamp = max(record.timestamp for record in kept)
        if batch.has(APPEND_TIME):
            max_timestamp = batch.max_timestamp
        out.append(
            replace(
                batch,
                records=kept,
                attributes=attributes,
                base_timestamp=base_timestamp,
                max_timestamp=max_timestamp,
            ).encode()
        )
    return b"".join(out)


def _stays(
    batch: TwinBatch, record: TwinRecord, keys: dict[bytes, int], reach: int, now_ms: int
) -> bool:
    if record.offset >= reach:
        return True
    if record.key is None or record.offset < keys.get(record.key, -1):
        return False
    return record.value is not None or batch.horizon is None or now_ms < batch.horizon


def _is_last(batch: TwinBatch, producers: dict[int, tuple[int, int]]) -> bool:
    producer_id, epoch, _ = batch.producer
    if producer_id not in producers:
        return False
    last_data_offset, last_epoch = producers[producer_id]
    if last_data_offset >= 0:
        return batch.last_offset == last_data_offset
    return batch.has(CONTROL) and epoch == last_epoch

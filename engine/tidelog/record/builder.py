"""Building record batches: what coordinators, recompression, tools and tests append.

Pure: records and times come from the caller. Owned by no process. It does not check what a topic
allows; sizes and configs are the business of the log that the batch goes to.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from tidelog._native.batch import BatchHeader
from tidelog._native.records import encode_records, put_header
from tidelog.record.compression import Codec, compress
from tidelog.types import NO_EPOCH, NO_PRODUCER_ID

BATCH_OVERHEAD: Final = 61
NO_SEQUENCE: Final = -1

_CODEC_MASK: Final = 0x07
_LOG_APPEND_TIME: Final = 0x08
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20

_CONTROL_KEY: Final = struct.Struct(">hh")
_END_TXN_VALUE: Final = struct.Struct(">hi")
_CONTROL_VERSION: Final = 0


#: (key, value or None) in their order.
Headers = Sequence[tuple[bytes, bytes | None]]


class ControlType(IntEnum):
    """Key of a control record. Others exist in Kafka's own metadata log only."""

    ABORT = 0
    COMMIT = 1


class NewRecord(NamedTuple):
    """A record to be written. `timestamp` in ms since the epoch, -1 for none."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Producer(NamedTuple):
    """Whose batch it is, for idempotence and transactions."""

    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_EPOCH
    base_sequence: int = NO_SEQUENCE


NO_PRODUCER: Final = Producer()


def build_batch(
    records: Iterable[NewRecord],
    *,
    base_offset: int = 0,
    partition_leader_epoch: int = -1,
    codec: int = Codec.NONE,
    level: int | None = None,
    producer: Producer = NO_PRODUCER,
    is_transactional: bool = False,
    is_control: bool = False,
    log_append_time_ms: int | None = None,
) -> bytearray:
    """One batch of the records, with offset deltas 0, 1, ...

    `log_append_time_ms` makes it a batch of LogAppendTime; the records keep their timestamps in it,
    as in Kafka, but readers see that one time. Raises ValueError without records.
    """
    listed: list[NewRecord] = list(records)
    if not listed:
        raise ValueError("a batch has at least one record")
    base_timestamp = listed[0].timestamp
    attributes = codec & _CODEC_MASK
    attributes |= _TRANSACTIONAL if is_transactional else 0
    attributes |= _CONTROL if is_control else 0
    if log_append_time_ms is None:
        max_timestamp = max(record.timestamp for record in listed)
    else:
        attributes |= _LOG_APPEND_TIME
        max_timestamp = log_append_time_ms
    if codec == Codec.NONE:
        batch = encode_records(listed, base_timestamp, BATCH_OVERHEAD)
    else:
        batch = bytearray(BATCH_OVERHEAD)
        batch += compress(codec, encode_records(listed, base_timestamp), level)
    put_header(
        batch,
        base_offset,
        partition_leader_epoch,
        attributes,
        len(listed) - 1,
        base_timestamp,
        max_timestamp,
        *producer,
        len(listed),
    )
    return batch


def control_batch(
    control_type: int,
    value: bytes,
    timestamp: int,
    *,
    base_offset: int = 0,
    partition_leader_epoch: int = -1,
    producer: Producer = NO_PRODUCER,
    is_transactional: bool = False,
) -> bytearray:
    """A batch of one control record, never compressed."""
    key = _CONTROL_KEY.pack(_CONTROL_VERSION, control_type)
    return build_batch(
        [NewRecord(timestamp, key, value)],
        base_offset=base_offset,
        partition_leader_epoch=partition_leader_epoch,
        producer=producer,
        is_transactional=is_transactional,
        is_control=True,
    )


def end_txn_marker(
    *,
    producer_id: int,
    producer_epoch: int,
    is_commit: bool,
    coordinator_epoch: int,
    timestamp: int,
    base_offset: int = 0,
    partition_leader_epoch: int = -1,
) -> bytearray:
    """The marker that ends a transaction in one partition (KIP-98)."""
    return control_batch(
        ControlType.COMMIT if is_commit else ControlType.ABORT,
        _END_TXN_VALUE.pack(_CONTROL_VERSION, coordinator_epoch),
        timestamp,
        base_offset=base_offset,
        partition_leader_epoch=partition_leader_epoch,
        producer=Producer(producer_id, producer_epoch, NO_SEQUENCE),
        is_transactional=True,
    )


def rebuild_batch(
    header: BatchHeader, payload: bytes, *, codec: int, level: int | None
) -> bytearray:
    """The batch of `header` around the same records in another codec; `payload` holds them as they
    are without one. Attributes and timestamps are the header's, base offset 0, no leader epoch."""
    batch = bytearray(BATCH_OVERHEAD)
    batch += compress(codec, payload, level)
    put_header(
        batch,
        0,
        -1,
        (header.attributes & ~_CODEC_MASK) | codec,
        header.last_offset_delta,
        header.base_timestamp,
        header.max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.records_count,
    )
    return batch

"""Batches of kafka-python, aiokafka and kio pass our checks and are read here; ours by them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder as AioBuilder
from aiokafka.record.memory_records import MemoryRecords as AioRecords
from hypothesis import given
from hypothesis import strategies as st
from kafka.codec import has_snappy
from kafka.record.default_records import DefaultRecordBatchBuilder as PythonBuilder
from kafka.record.memory_records import MemoryRecords as PythonRecords
from kio.records import schema as kio
from kio.records.readers import read_batch
from kio.records.writers import write_batch
from kio.static.primitive import TZAwareMicros, i8, i16, i32, i64

from tests.oracle.record.batch_twin import Limits
from tests.oracle.record.batches import NOW_MS
from tidelog._native import batch as native
from tidelog._native.records import Record
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.record.compression import Codec
from tidelog.record.view import iterate_batches

LIMITS = Limits().as_tuple()
NAMES = st.text("abcdefgh-ü", max_size=8)
DATA = st.none() | st.binary(max_size=60)
HEADERS = st.lists(st.tuples(NAMES, DATA), max_size=3)
RECORDS = st.lists(
    st.builds(
        lambda delta, key, value, headers: NewRecord(
            NOW_MS + delta, key, value, tuple((name.encode(), data) for name, data in headers)
        ),
        st.integers(-(10**6), 10**6),
        DATA,
        DATA,
        HEADERS,
    ),
    min_size=1,
    max_size=12,
)
CODECS = st.sampled_from(list(Codec))


def built_by_aiokafka(records: list[NewRecord], codec: int, producer: Producer) -> bytes:
    builder = AioBuilder(
        2, codec, 0, producer.producer_id, producer.producer_epoch, *producer[2:], 10**6
    )
    for offset, one in enumerate(records):
        headers = [(name.decode(), data) for name, data in one.headers]
        assert builder.append(offset, one.timestamp, one.key, one.value, headers)
    return bytes(builder.build())


def built_by_kafka_python(records: list[NewRecord], codec: int, producer: Producer) -> bytes:
    builder = PythonBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=False,
        producer_id=producer.producer_id,
        producer_epoch=producer.producer_epoch,
        base_sequence=producer.base_sequence,
        batch_size=10**6,
    )
    for offset, one in enumerate(records):
        headers = [(name.decode(), data) for name, data in one.headers]
        assert builder.append(offset, one.timestamp, one.key, one.value, headers)
    return bytes(builder.build())


def built_by_kio(records: list[NewRecord], codec: int, producer: Producer) -> bytes:
    assert codec == Codec.NONE
    buffer = io.BytesIO()
    new = kio.NewRecordBatch(
        producer_id=i64(producer.producer_id),
        producer_epoch=i16(producer.producer_epoch),
        partition_leader_epoch=i32(-1),
        base_sequence=i32(producer.base_sequence),
        attributes=i16(0),
        records=tuple(
            kio.Record(
                attributes=i8(0),
                timestamp=micros(one.timestamp),
                offset=i64(offset),
                key=one.key,
                value=one.value,
                headers=tuple(kio.RecordHeader(key=n, value=v) for n, v in one.headers),
            )
            for offset, one in enumerate(records)
        ),
    )
    write_batch(buffer, new)
    return buffer.getvalue()


def micros(timestamp_ms: int) -> TZAwareMicros:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)
    return TZAwareMicros.parse(moment)


BUILDERS: dict[str, Callable[[list[NewRecord], int, Producer], bytes]] = {
    "aiokafka": built_by_aiokafka,
    "kafka-python": built_by_kafka_python,
    "kio": built_by_kio,
}


def can_build(client: str, codec: int) -> bool:
    if client == "kio":
        return codec == Codec.NONE
    return client != "kafka-python" or codec != Codec.SNAPPY or has_snappy()


@pytest.mark.parametrize("client", BUILDERS)
@given(RECORDS, CODECS, st.sampled_from([Producer(), Producer(4000, 3, 17)]))
def test_theirs_are_accepted_and_read(
    client: str, records: list[NewRecord], codec: Codec, producer: Producer
) -> None:
    codec = codec if can_build(client, codec) else Codec.NONE
    data = BUILDERS[client](records, codec, producer)
    status, header, reason, index = native.check(data, 9, NOW_MS, LIMITS)
    assert (status, reason, index) == (0, 0, -1)
    assert header is not None
    assert header.codec in (codec, Codec.NONE)  # small batches may stay as they are
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == producer
    assert not header.restamp
    (view,) = iterate_batches(data)
    assert view.records() == [
        Record(offset, one.timestamp, one.key, one.value, tuple(one.headers))
        for offset, one in enumerate(records)
    ]


@pytest.mark.parametrize("client", BUILDERS)
@given(RECORDS)
def test_uncompressed_batches_are_the_same_bytes(client: str, records: list[NewRecord]) -> None:
    mine = build_batch(records, producer=Producer(1, 2, 3))
    theirs = bytearray(BUILDERS[client](records, Codec.NONE, Producer(1, 2, 3)))
    theirs[12:16] = mine[12:16]  # the leader epoch is the broker's to say
    assert bytes(theirs) == bytes(mine)


def read_by(records_class: Any, data: bytes) -> list[tuple[Any, ...]]:
    reader = records_class(data)
    found = []
    while (batch := reader.next_batch()) is not None:
        assert batch.validate_crc()
        for one in batch:
            headers = tuple((name.encode(), value) for name, value in one.headers)
            found.append((one.offset, one.timestamp, one.key, one.value, headers))
    return found


@pytest.mark.parametrize(
    ("client", "records_class"), [("aiokafka", AioRecords), ("kafka-python", PythonRecords)]
)
@given(RECORDS, CODECS, st.integers(0, 2**40))
def test_ours_are_read_by_them(
    client: str, records_class: Any, records: list[NewRecord], codec: Codec, base_offset: int
) -> None:
    codec = codec if can_build(client, codec) else Codec.NONE
    first = build_batch(records, codec=codec, base_offset=base_offset)
    second = build_batch(records, codec=codec, base_offset=base_offset + len(records))
    assert read_by(records_class, bytes(first + second)) == [
        (base_offset + i, one.timestamp, one.key, one.value, tuple(one.headers))
        for i, one in enumerate(itertools.chain(records, records))
    ]


@given(RECORDS, st.integers(0, 2**40))
def test_ours_are_read_by_kio(records: list[NewRecord], base_offset: int) -> None:
    data = bytes(build_batch(records, base_offset=base_offset, producer=Producer(5, 6, 7)))
    batch, size = read_batch(memoryview(data), 0)
    assert size == len(data)
    assert (batch.base_offset, batch.producer_id, batch.base_sequence) == (base_offset, 5, 7)
    assert [(r.offset, r.key, r.value) for r in batch.records] == [
        (base_offset + i, one.key, one.value) for i, one in enumerate(records)
    ]


@pytest.mark.parametrize("records_class", [AioRecords, PythonRecords])
@pytest.mark.parametrize("is_commit", [True, False])
def test_markers_are_known_to_them(records_class: Any, is_commit: bool) -> None:
    marker = end_txn_marker(
        producer_id=1,
        producer_epoch=2,
        is_commit=is_commit,
        coordinator_epoch=3,
        timestamp=NOW_MS,
        base_offset=9,
    )
    batch = records_class(bytes(marker)).next_batch()
    assert batch.is_control_batch
    assert batch.is_transactional
    (record,) = list(batch)
    assert record.offset == 9
    # Both: int16 version, int16 type; 0 abort, 1 commit.
    assert bytes(record.key) == bytes([0, 0, 0, is_commit])

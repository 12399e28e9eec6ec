"""Records as Python objects: decoding, encoding, headers, stamps."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.record import batch_twin as twin
from tests.oracle.record.batches import NOW_MS, make_batch, raw_batch, raw_record
from tidelog._native import batch as native
from tidelog._native.records import (
    Record,
    control_type_of,
    decode_records,
    encode_records,
    put_header,
    record_errors,
    stamp_append_time,
    stamp_batch,
)
from tidelog.record.builder import NewRecord, build_batch, end_txn_marker
from tidelog.record.reasons import Reason


def header_of(batch: bytes | bytearray) -> native.BatchHeader:
    header = native.parse(batch)
    assert header is not None
    return header


DATA = st.one_of(st.none(), st.binary(max_size=300))
HEADERS = st.lists(st.tuples(st.binary(max_size=20), DATA), max_size=4).map(tuple)
RECORDS = st.lists(
    st.tuples(st.integers(-(2**61), 2**61), DATA, DATA, HEADERS), min_size=1, max_size=20
)


@given(RECORDS, st.integers(0, 2**60))
def test_what_is_encoded_is_decoded(
    records: list[tuple[int, bytes | None, bytes | None, tuple]], base_offset: int
) -> None:
    batch = encode_records(records, records[0][0], 61)
    count = len(records)
    put_header(batch, base_offset, 5, 0, count - 1, records[0][0], 0, -1, -1, -1, count)
    decoded = decode_records(memoryview(batch)[61:], header_of(batch))
    assert decoded == [
        Record(base_offset + i, timestamp, key, value, headers)
        for i, (timestamp, key, value, headers) in enumerate(records)
    ]


def test_encoded_bytes_are_the_formats() -> None:
    records = [(1000, b"k", b"v", ()), (1003, None, b"", ((b"h", None),))]
    assert encode_records(records, 1000) == (
        raw_record(key=b"\x02k", value=b"\x02v")
        + raw_record(
            timestamp_delta=b"\x06",
            offset_delta=1,
            key=b"\x01",
            value=b"\x00",
            headers=b"\x02\x02h\x01",
        )
    )


def test_room_is_left_in_front() -> None:
    assert encode_records([(0, None, None, ())], 0, 7)[:7] == bytes(7)
    assert encode_records([], 0, 3) == bytes(3)


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ((0, "text", None, ()), TypeError),
        ((0, None, 5, ()), TypeError),
        ((0, None, None, [(None, b"v")]), ValueError),
        ((0, None, None, [("h", b"v")]), TypeError),
        ((0, None, None), ValueError),
        (("0", None, None, ()), TypeError),
    ],
)
def test_encode_refuses(record: tuple, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode_records([record], 0)


def test_log_append_time_is_every_record_s_timestamp() -> None:
    batch = build_batch(
        [NewRecord(5, b"a", b"b"), NewRecord(9, b"a", b"b")], log_append_time_ms=NOW_MS
    )
    records = decode_records(bytes(batch[61:]), header_of(batch))
    assert [record.timestamp for record in records] == [NOW_MS, NOW_MS]


def test_a_cleaned_batch_has_gaps() -> None:
    batch = bytearray(raw_batch(raw_record(offset_delta=3), raw_record(offset_delta=7)))
    stamp_batch(batch, None, 100, 0)
    assert [r.offset for r in decode_records(bytes(batch[61:]), header_of(batch))] == [103, 107]


@pytest.mark.parametrize(
    "batch",
    [
        raw_batch(raw_record(), count=2),
        raw_batch(raw_record(), tail=b"x"),
        raw_batch(raw_record(key=b"\x7e")),
        raw_batch(raw_record(length_add=1)),
        raw_batch(count=-1),
    ],
)
def test_decode_refuses(batch: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|bytes follow"):
        decode_records(batch[61:], header_of(batch))


def test_decode_of_any_prefix_is_an_error_and_nothing_worse() -> None:
    batch = make_batch(count=4)
    for size in range(61, len(batch)):
        with pytest.raises(ValueError, match="malformed"):
            decode_records(batch[61:size], header_of(batch))


def test_record_is_a_value() -> None:
    one = Record(1, 2, b"k", None, ((b"h", b"v"),))
    same = Record(1, 2, b"k", None, ((b"h", b"v"),))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Record(1, 2, b"k", b"", ((b"h", b"v"),))
    assert one != (1, 2, b"k", None)
    assert "offset=1" in repr(one)


def test_put_header_writes_the_format() -> None:
    batch = bytearray(61) + b"payload"
    put_header(batch, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    fields = struct.unpack_from(">qiibIhiqqqhii", batch)
    assert fields[:4] == (1, 56, 2, 2)
    assert fields[5:] == (3, 4, 5, 6, 7, 8, 9, 10)
    assert native.is_crc_ok(batch)
    with pytest.raises(ValueError, match="cannot be a batch"):
        put_header(bytearray(60), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)


def test_stamps_leave_the_checksum_right() -> None:
    batch = bytearray(make_batch())
    stamp_batch(batch, None, 77, 5)
    assert native.is_crc_ok(batch)
    stamp_append_time(batch, NOW_MS + 9)
    assert native.is_crc_ok(batch)
    header = header_of(batch)
    assert (header.base_offset, header.partition_leader_epoch) == (77, 5)
    assert (header.is_log_append_time, header.max_timestamp) == (True, NOW_MS + 9)


def test_stamps_need_a_writable_whole_batch() -> None:
    with pytest.raises(BufferError):
        stamp_batch(make_batch(), None, 0, 0)
    with pytest.raises(ValueError, match="shorter"):
        stamp_batch(bytearray(60), None, 0, 0)
    with pytest.raises(ValueError, match="shorter"):
        stamp_append_time(bytearray(60), 0)
    header = header_of(make_batch())
    with pytest.raises(ValueError, match="shorter"):
        stamp_batch(bytearray(make_batch()[:-1]), header, 0, 0)


def test_control_type() -> None:
    def marker(is_commit: bool) -> bytearray:
        return end_txn_marker(
            producer_id=1, producer_epoch=2, is_commit=is_commit, coordinator_epoch=33, timestamp=4
        )

    assert control_type_of(marker(True)) == (1, 33)
    assert control_type_of(marker(False)) == (0, 33)
    assert control_type_of(marker(True)[:-1]) == (-1, -1)
    assert control_type_of(raw_batch(raw_record(key=b"\x06\x00\x00\x00"))) == (-1, -1)
    assert control_type_of(raw_batch(raw_record(key=b"\x08\x00\x00\x00\x04"))) == (4, -1)


def test_errors_of_single_records() -> None:
    limits = twin.Limits(compacted=True, timestamp_before_max_ms=1000).as_tuple()
    records = [
        NewRecord(NOW_MS, b"k", b"v"),
        NewRecord(NOW_MS, None, b"v"),
        NewRecord(NOW_MS - 5000, b"k", b"v"),
        NewRecord(NOW_MS + 10**9, None, b"v"),
        NewRecord(-1, b"k", b"v"),
    ]
    batch = build_batch(records)
    found = record_errors(bytes(batch[61:]), header_of(batch), NOW_MS, limits, 10)
    assert found == [
        (1, Reason.KEY_MISSING, NOW_MS),
        (2, Reason.TIMESTAMP_RANGE, NOW_MS - 5000),
        (3, Reason.KEY_MISSING, NOW_MS + 10**9),
    ]
    assert len(record_errors(bytes(batch[61:]), header_of(batch), NOW_MS, limits, 2)) == 2
    assert record_errors(bytes(batch[61:-1]), header_of(batch), NOW_MS, limits, 10) == found

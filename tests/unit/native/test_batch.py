"""The checks of a produced batch: case by case, and against their plain Python twin."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.record import batch_twin as twin
from tests.oracle.record.batches import NOW_MS, make_batch, patched, raw_batch, raw_record, sealed
from tests.oracle.record.crc_twin import crc32c as crc_twin
from tidelog._native import batch as native
from tidelog._native.records import stamp_batch
from tidelog.record.builder import NewRecord, Producer, build_batch
from tidelog.record.compression import Codec
from tidelog.record.reasons import REASONS, Reason

LIMITS = twin.Limits()
VERSION = 9


def check(
    data: bytes, limits: twin.Limits = LIMITS, version: int = VERSION
) -> tuple[int, str, int]:
    status, _, reason, index = native.check(data, version, NOW_MS, limits.as_tuple())
    return status, Reason(reason).name, index


# ---- header ------------------------------------------------------------------------------------


def test_parse_reads_every_field() -> None:
    data = struct.pack(">qiibIhiqqqhii", 11, 49, 22, 2, 33, 0x7C, 44, 55, 66, 77, 88, 99, 111)
    header = native.parse(data)
    assert header is not None
    assert (header.base_offset, header.size, header.partition_leader_epoch) == (11, 61, 22)
    assert (header.crc, header.attributes, header.last_offset_delta) == (33, 0x7C, 44)
    assert (header.base_timestamp, header.max_timestamp, header.records_count) == (55, 66, 111)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (77, 88, 99)
    assert header.codec == Codec.ZSTD
    assert header.is_log_append_time
    assert header.is_transactional
    assert header.is_control
    assert header.delete_horizon_ms == 55
    assert header.last_offset == 55


def test_parse_takes_negative_values_for_what_they_are() -> None:
    header = native.parse(
        struct.pack(">qiibIhiqqqhii", -1, 49, -1, 2, 0, 0, -1, -1, -1, -1, -1, -1, -1)
    )
    assert header is not None
    assert header.base_offset == header.last_offset_delta == header.records_count == -1
    assert header.delete_horizon_ms is None


@pytest.mark.parametrize("size", range(61))
def test_parse_needs_61_bytes(size: int) -> None:
    assert native.parse(make_batch()[:size]) is None


@pytest.mark.parametrize("change", [(8, ">i", 48), (8, ">i", -1), (16, ">b", 1), (16, ">b", 3)])
def test_parse_refuses(change: tuple[int, str, int]) -> None:
    assert native.parse(patched(make_batch(), *change)) is None


def test_parse_at_an_offset() -> None:
    data = b"xyz" + make_batch(count=4)
    header = native.parse(data, 3)
    assert header is not None
    assert header.records_count == 4
    with pytest.raises(ValueError, match="not within"):
        native.parse(data, len(data) + 1)


def test_crc_covers_everything_from_the_attributes_on() -> None:
    good = make_batch()
    assert native.is_crc_ok(good)
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 0x10
        assert native.is_crc_ok(damaged) is (position < 8 or 12 <= position < 16), position
    assert not native.is_crc_ok(good[:-1])


# ---- the checks, case by case ------------------------------------------------------------------

GOOD = make_batch()
GOOD_CASES: dict[str, bytes] = {
    "one record": make_batch(count=1),
    "several": GOOD,
    "idempotent": make_batch(producer=Producer(5, 0, 0)),
    "largest sequence": make_batch(producer=Producer(5, 0, 2**31 - 1)),
    "leader epoch is not looked at": patched(GOOD, 12, ">i", 77),
    "unknown attribute bits": sealed(patched(GOOD, 21, ">h", 0x7F00)),
    "no timestamps": make_batch(timestamp=-1),
    "null key and value": raw_batch(raw_record(key=b"\x01", value=b"\x01")),
    "any negative length is null": raw_batch(raw_record(key=b"\x09", value=b"\x13")),
    "a header": raw_batch(raw_record(headers=b"\x02\x02h\x02v")),
    "a header without value": raw_batch(raw_record(headers=b"\x02\x00\x01")),
    "record attributes": raw_batch(raw_record(attributes=7)),
    "a varint longer than need be": raw_batch(raw_record(key=b"\x82\x00k")),
    "up to 11 bytes behind": GOOD + bytes(11),
    "a cut batch behind": GOOD + GOOD[:40],
    "zstd": make_batch(codec=Codec.ZSTD),
}


@pytest.mark.parametrize("name", GOOD_CASES)
def test_accepted(name: str) -> None:
    data = GOOD_CASES[name]
    assert check(data) == (0, "NONE", -1)
    _, header, _, _ = native.check(data, VERSION, NOW_MS, LIMITS.as_tuple())
    assert header is not None
    assert header.size == 12 + int.from_bytes(data[8:12], "big")


BAD_CASES: dict[str, tuple[bytes, int, str, int]] = {
    "nothing": (b"", 87, "NO_BATCH", -1),
    "too short for a size": (GOOD[:11], 87, "NO_BATCH", -1),
    "too short for a magic": (GOOD[:16], 87, "NO_BATCH", -1),
    "cut": (GOOD[:-1], 87, "NO_BATCH", -1),
    "size -1": (patched(GOOD, 8, ">i", -1), 2, "SIZE_FIELD", -1),
    "size 13": (patched(GOOD, 8, ">i", 13), 2, "SIZE_FIELD", -1),
    "size 48": (patched(GOOD, 8, ">i", 48)[:60], 2, "SIZE_FIELD", -1),
    "largest size": (patched(GOOD, 8, ">i", 2**31 - 1), 87, "NO_BATCH", -1),
    "magic 1": (patched(GOOD, 16, ">b", 1), 87, "MAGIC_OLD", -1),
    "magic 0": (patched(GOOD, 16, ">b", 0), 87, "MAGIC_OLD", -1),
    "magic 3": (patched(GOOD, 16, ">b", 3), 2, "MAGIC_UNKNOWN", -1),
    "magic -1": (patched(GOOD, 16, ">b", -1), 2, "MAGIC_UNKNOWN", -1),
    "two batches": (GOOD + GOOD, 87, "SEVERAL_BATCHES", -1),
    "zeros behind": (GOOD + bytes(12), 2, "SIZE_FIELD", -1),
    "a strange magic behind": (GOOD + patched(GOOD, 16, ">b", 9), 2, "MAGIC_UNKNOWN", -1),
    "base offset": (patched(GOOD, 0, ">q", 1), 87, "BASE_OFFSET", -1),
    "crc": (patched(GOOD, 17, ">I", 1), 2, "CRC", -1),
    "codec 5": (sealed(patched(GOOD, 21, ">h", 5)), -1, "CODEC_UNKNOWN", -1),
    "codec 7": (sealed(patched(GOOD, 21, ">h", 7)), -1, "CODEC_UNKNOWN", -1),
    "delta -1": (sealed(patched(GOOD, 23, ">i", -1)), 87, "OFFSET_RANGE", -1),
    "largest delta": (sealed(patched(GOOD, 23, ">i", 2**31 - 1)), 87, "COUNT_MISMATCH", -1),
    "count 0": (sealed(patched(GOOD, 57, ">i", 0)), 87, "COUNT", -1),
    "count -1": (sealed(patched(GOOD, 57, ">i", -1)), 87, "COUNT", -1),
    "count too high": (sealed(patched(GOOD, 57, ">i", 4)), 87, "COUNT_MISMATCH", -1),
    "control": (sealed(patched(GOOD, 21, ">h", 0x20)), 87, "CONTROL", -1),
    "producer without sequence": (sealed(patched(GOOD, 43, ">q", 5)), 87, "SEQUENCE", -1),
    "one record missing": (raw_batch(raw_record(), count=2), 87, "RECORD_FRAMING", 1),
    "a record too many": (
        raw_batch(raw_record(), raw_record(offset_delta=1), count=1), 87, "RECORDS_LEFT", -1
    ),
    "a byte too many": (raw_batch(raw_record(), tail=b"x"), 87, "RECORDS_LEFT", -1),
    "offset delta 1": (raw_batch(raw_record(offset_delta=1)), 87, "OFFSET_DELTA", 0),
    "offset delta -1": (raw_batch(raw_record(offset_delta=-1)), 87, "OFFSET_DELTA", 0),
    "offset delta twice": (raw_batch(raw_record(), raw_record()), 87, "OFFSET_DELTA", 1),
    "key beyond its record": (raw_batch(raw_record(key=b"\x7e")), 87, "RECORD_FRAMING", 0),
    "largest key": (raw_batch(raw_record(key=b"\xfe\xff\xff\xff\x0f")), 87, "RECORD_FRAMING", 0),
    "value beyond": (raw_batch(raw_record(value=b"\x7e")), 87, "RECORD_FRAMING", 0),
    "-1 headers": (raw_batch(raw_record(headers=b"\x01")), 87, "RECORD_FRAMING", 0),
    "a header missing": (raw_batch(raw_record(headers=b"\x02")), 87, "RECORD_FRAMING", 0),
    "two thousand million headers": (
        raw_batch(raw_record(headers=b"\xfe\xff\xff\xff\x0f")), 87, "RECORD_FRAMING", 0
    ),
    "a header with null key": (
        raw_batch(raw_record(headers=b"\x02\x01\x01")), 87, "RECORD_FRAMING", 0
    ),
    "a byte behind the headers": (raw_batch(raw_record(tail=b"x")), 87, "RECORD_FRAMING", 0),
    "record length 0": (raw_batch(b"\x00"), 87, "RECORD_FRAMING", 0),
    "record length -1": (raw_batch(b"\x01" + raw_record()), 87, "RECORD_FRAMING", 0),
    "record length + 1": (raw_batch(raw_record(length_add=1)), 87, "RECORD_FRAMING", 0),
    "record length - 1": (raw_batch(raw_record(length_add=-1)), 87, "RECORD_FRAMING", 0),
    "a varint of six bytes": (
        raw_batch(raw_record(key=b"\x82\x80\x80\x80\x80\x00k")), 87, "RECORD_FRAMING", 0
    ),
    "a timestamp of eleven bytes": (
        raw_batch(raw_record(timestamp_delta=b"\x80" * 10 + b"\x00")), 87, "RECORD_FRAMING", 0
    ),
    "in the future": (make_batch(timestamp=NOW_MS + 3_600_001), 32, "TIMESTAMP_RANGE", 0),
    "the last one in the future": (
        make_batch(timestamp=NOW_MS + 3_599_999), 32, "TIMESTAMP_RANGE", 2
    ),
    "largest timestamp": (make_batch(timestamp=2**63 - 4), 32, "TIMESTAMP_RANGE", 0),
    "smallest timestamp": (make_batch(timestamp=-(2**63)), 32, "TIMESTAMP_RANGE", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CASES)
def test_refused(name: str) -> None:
    data, error_code, reason, index = BAD_CASES[name]
    assert check(data) == (error_code, reason, index)
    assert Reason[reason].error_code == error_code


def test_too_large() -> None:
    limits = twin.Limits(max_message_bytes=len(GOOD) - 1)
    assert check(GOOD, limits) == (10, "TOO_LARGE", -1)
    assert check(GOOD, twin.Limits(max_message_bytes=len(GOOD)))[0] == 0


def test_zstd_needs_version_7() -> None:
    data = make_batch(codec=Codec.ZSTD)
    assert check(data, version=6) == (76, "ZSTD_VERSION", -1)
    assert check(data, version=7)[0] == 0
    assert check(make_batch(codec=Codec.LZ4), version=3)[0] == 0


def test_keys_on_a_compacted_topic() -> None:
    limits = twin.Limits(compacted=True)
    records = [NewRecord(NOW_MS, key, b"v") for key in (b"k", None, b"k", None)]
    assert check(bytes(build_batch(records)), limits) == (87, "KEY_MISSING", 1)
    assert check(bytes(build_batch(records[:1])), limits)[0] == 0
    # One bad timestamp decides the code of the batch, wherever it is.
    late = NewRecord(NOW_MS + 10**9, b"k", b"v")
    assert check(bytes(build_batch([*records, late])), limits) == (32, "TIMESTAMP_RANGE", 4)


def test_old_timestamps_are_refused_only_if_the_topic_says_so() -> None:
    data = make_batch(timestamp=NOW_MS - 5000)
    assert check(data)[0] == 0
    limits = twin.Limits(timestamp_before_max_ms=1000)
    assert check(data, limits) == (32, "TIMESTAMP_RANGE", 0)


@pytest.mark.parametrize("limits", [LIMITS, twin.Limits(log_append_time=True)])
def test_producers_may_not_say_log_append_time(limits: twin.Limits) -> None:
    data = sealed(patched(patched(GOOD, 21, ">h", 8), 35, ">q", -1))
    assert check(data, limits) == (32, "TIMESTAMP_TYPE", 0)


RECOMPRESS_CASES: dict[str, tuple[bytes, twin.Limits]] = {
    "another codec": (make_batch(codec=Codec.GZIP), twin.Limits(target_codec=4)),
    "a codec for what has none": (GOOD, twin.Limits(target_codec=3)),
    "no codec": (make_batch(codec=Codec.GZIP), twin.Limits(target_codec=0)),
    "compacted": (make_batch(codec=Codec.GZIP), twin.Limits(compacted=True)),
    "a timestamp in doubt": (make_batch(codec=Codec.GZIP, timestamp=NOW_MS * 2), LIMITS),
    "a lower bound": (make_batch(codec=Codec.GZIP), twin.Limits(timestamp_before_max_ms=10**9)),
    "says LogAppendTime": (
        sealed(patched(make_batch(codec=Codec.GZIP), 21, ">h", 9)),
        twin.Limits(log_append_time=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECOMPRESS_CASES)
def test_opened_by_the_slow_lane(name: str) -> None:
    data, limits = RECOMPRESS_CASES[name]
    assert check(data, limits)[0] == twin.RECOMPRESS


def test_same_codec_is_not_opened() -> None:
    assert check(make_batch(codec=Codec.LZ4), twin.Limits(target_codec=3))[0] == 0
    assert check(GOOD, twin.Limits(target_codec=0))[0] == 0


# ---- what the batch has to say -------------------------------------------------------------------


def checked(data: bytes, limits: twin.Limits = LIMITS) -> native.BatchHeader:
    status, header, _, _ = native.check(data, VERSION, NOW_MS, limits.as_tuple())
    assert status == 0
    assert header is not None
    return header


def test_first_record_with_the_highest_timestamp() -> None:
    times = [NOW_MS, NOW_MS + 5, NOW_MS - 7, NOW_MS + 5]
    header = checked(bytes(build_batch([NewRecord(t, b"k", b"v") for t in times])))
    assert (header.max_timestamp, header.offset_of_max_timestamp) == (NOW_MS + 5, 1)
    assert not header.restamp


def test_a_wrong_max_timestamp_is_put_right() -> None:
    wrong = sealed(patched(GOOD, 35, ">q", 5))
    header = checked(wrong)
    assert header.restamp
    stored = bytearray(wrong)
    stamp_batch(stored, header, 40, 3)
    assert native.is_crc_ok(stored)
    again = native.parse(stored)
    assert again is not None
    assert (again.max_timestamp, again.base_offset, again.partition_leader_epoch) == (
        NOW_MS + 2,
        40,
        3,
    )
    assert bytes(stored[61:]) == wrong[61:]


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.SNAPPY])
def test_log_append_time(codec: Codec) -> None:
    data = make_batch(codec=codec, timestamp=5)
    header = checked(data, twin.Limits(log_append_time=True))
    assert (header.max_timestamp, header.is_log_append_time, header.restamp) == (NOW_MS, True, True)
    stored = bytearray(data)
    stamp_batch(stored, header, 7, 1)
    again = native.parse(stored)
    assert again is not None
    assert native.is_crc_ok(stored)
    assert again.is_log_append_time
    assert (again.max_timestamp, again.base_timestamp, again.codec) == (NOW_MS, 5, codec)


# ---- against the twin ----------------------------------------------------------------------------


@st.composite
def limits_of_topics(draw: st.DrawFn) -> twin.Limits:
    return twin.Limits(
        max_message_bytes=draw(st.sampled_from([80, 200, 1_048_588])),
        timestamp_before_max_ms=draw(st.sampled_from([1000, 2**62, 2**63 - 1])),
        timestamp_after_max_ms=draw(st.sampled_from([0, 3_600_000, 2**63 - 1])),
        log_append_time=draw(st.booleans()),
        compacted=draw(st.booleans()),
        target_codec=draw(st.sampled_from([-1, -1, -1, 0, 1, 4])),
    )


TIMES = st.one_of(
    st.integers(NOW_MS - 5000, NOW_MS + 5000),
    st.sampled_from([-1, -2, 0, NOW_MS + 3_600_000, NOW_MS + 3_600_001]),
    st.integers(-(2**62), 2**62 - 1),
)
DATA = st.one_of(st.none(), st.binary(max_size=80))


@st.composite
def produced(draw: st.DrawFn) -> bytes:
    """A batch, as it should be or with a few bytes changed, checksum right or not."""
    headers = st.lists(st.tuples(st.binary(max_size=5), DATA), max_size=3)
    record = st.builds(NewRecord, TIMES, DATA, DATA, headers)
    records = draw(st.lists(record, min_size=1, max_size=6))
    sequence = draw(st.sampled_from([Producer(), Producer(1, 0, 5), Producer(1, 0, -1)]))
    codec = draw(st.sampled_from([Codec.NONE, Codec.NONE, Codec.NONE, Codec.GZIP, Codec.ZSTD]))
    data = bytes(build_batch(records, codec=codec, producer=sequence))
    return draw(damaged(data))


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    changes = draw(
        st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=3)
    )
    out = bytearray(data)
    for position, value in changes:
        out[position] = value
    if draw(st.booleans()):
        out[17:21] = crc_twin(bytes(out[21:])).to_bytes(4, "big")
    cut = draw(st.sampled_from([0, 0, 0, 1, 5, 40]))
    tail = draw(st.sampled_from([b"", b"", bytes(3), bytes(20), data, data[:30]]))
    return bytes(out[: len(out) - cut]) + tail


@settings(max_examples=300)
@given(produced(), limits_of_topics(), st.sampled_from([3, 6, 7, 13]))
def test_equals_its_twin(data: bytes, limits: twin.Limits, version: int) -> None:
    status, header, reason, index = native.check(data, version, NOW_MS, limits.as_tuple())
    expected = twin.check(data, version, NOW_MS, limits)
    assert (status, Reason(reason), index) == (
        expected.status,
        expected.reason,
        expected.record_index,
    )
    if status == 0:
        assert header is not None
        assert (header.attributes, header.max_timestamp) == (
            expected.attributes,
            expected.max_timestamp,
        )
        if not limits.log_append_time and header.codec == Codec.NONE:
            assert header.offset_of_max_timestamp == expected.offset_of_max_timestamp


@given(produced(), st.sampled_from([bytes, bytearray, memoryview]))
def test_any_buffer_and_no_change(data: bytes, make: Callable[[bytes], bytes]) -> None:
    given_data = make(data)
    first = native.check(given_data, VERSION, NOW_MS, LIMITS.as_tuple())
    assert bytes(given_data) == data
    second = native.check(data, VERSION, NOW_MS, LIMITS.as_tuple())
    assert (first[0], first[2:]) == (second[0], second[2:])


def test_reasons_have_the_numbers_of_the_native_module() -> None:
    assert REASONS[Reason.CRC] == Reason.CRC.text
    tested_elsewhere = {Reason.ZSTD_VERSION, Reason.TOO_LARGE}
    of_batches = {one.name for one in Reason if 1 <= one <= 18 and one not in tested_elsewhere}
    assert {case[2] for case in BAD_CASES.values()} >= of_batches

"""The slow lane: what is opened, what is rebuilt, what is refused and how."""

from __future__ import annotations

import pytest

from tests.oracle.record import batch_twin as twin
from tests.oracle.record.batches import NOW_MS, make_batch, patched, raw_batch, raw_record, sealed
from tidelog._native import batch as native
from tidelog._native.records import Record
from tidelog.errors import InvariantError
from tidelog.record.builder import NewRecord, Producer, build_batch
from tidelog.record.compression import Codec, compress
from tidelog.record.reasons import InvalidBatchError, Reason
from tidelog.record.recompress import RECORD_ERRORS_MAX, explain, recompress
from tidelog.record.view import BatchView, iterate_batches


def run(data: bytes, limits: twin.Limits, level: int | None = None) -> BatchView:
    out = recompress(data, now_ms=NOW_MS, limits=limits.as_tuple(), level=level)
    (view,) = iterate_batches(out)
    assert view.header.size == len(out)
    return view


def records_of(data: bytes) -> list[Record]:
    (view,) = iterate_batches(data)
    return view.records()


def compressed(payload: bytes, count: int, codec: Codec = Codec.GZIP) -> bytes:
    """A sound batch around any payload, in any codec."""
    plain = raw_batch(count=count, tail=compress(codec, payload))
    return sealed(patched(plain, 21, ">h", codec))


@pytest.mark.parametrize("source", list(Codec))
@pytest.mark.parametrize("target", list(Codec))
def test_every_codec_to_every_other(source: Codec, target: Codec) -> None:
    data = make_batch(5, codec=source, producer=Producer(7, 1, 90))
    view = run(data, twin.Limits(target_codec=target))
    assert view.header.codec == target
    assert view.records() == records_of(data)
    assert view.header.producer_id == 7
    assert view.header.base_sequence == 90
    assert view.header.max_timestamp == NOW_MS + 4
    assert native.check(bytes(view.data), 9, NOW_MS, twin.Limits().as_tuple())[0] == 0
    if source == target:
        assert bytes(view.data) == data


def test_level() -> None:
    records = [NewRecord(NOW_MS, None, b"%d" % (i * 7919 % 10007)) for i in range(2000)]
    data = bytes(build_batch(records))
    limits = twin.Limits(target_codec=Codec.ZSTD)
    assert run(data, limits, 19).header.size < run(data, limits, -5).header.size


@pytest.mark.parametrize("target", [-1, Codec.GZIP, Codec.LZ4])
def test_log_append_time(target: int) -> None:
    data = make_batch(3, timestamp=5, codec=Codec.GZIP)
    view = run(data, twin.Limits(log_append_time=True, target_codec=target))
    assert view.header.is_log_append_time
    assert view.header.max_timestamp == NOW_MS
    assert {record.timestamp for record in view.records()} == {NOW_MS}
    assert view.header.base_timestamp == 5


def test_create_time_is_put_right() -> None:
    data = sealed(patched(make_batch(3, codec=Codec.GZIP), 35, ">q", 5))
    for target in (-1, Codec.ZSTD):
        view = run(data, twin.Limits(target_codec=target))
        assert view.header.max_timestamp == NOW_MS + 2


def test_keys_are_looked_for_on_a_compacted_topic() -> None:
    limits = twin.Limits(compacted=True)
    data = make_batch(3, codec=Codec.LZ4)
    assert bytes(run(data, limits).data) == data
    keyless = [NewRecord(NOW_MS, key, b"v") for key in (b"k", None, b"k", None)]
    data = bytes(build_batch(keyless, codec=Codec.LZ4))
    with pytest.raises(InvalidBatchError) as caught:
        run(data, limits)
    assert caught.value.error_code == 87
    assert caught.value.record_index == 1
    assert [error.batch_index for error in caught.value.record_errors] == [1, 3]
    assert caught.value.record_errors[0].message == Reason.KEY_MISSING.text


def test_timestamps() -> None:
    limits = twin.Limits(timestamp_before_max_ms=1000, timestamp_after_max_ms=10)
    assert run(make_batch(3, codec=Codec.GZIP), limits).header.records_count == 3
    data = make_batch(3, timestamp=NOW_MS + 9, codec=Codec.GZIP)
    with pytest.raises(InvalidBatchError) as caught:
        run(data, limits)
    assert caught.value.error_code == 32
    assert [error.batch_index for error in caught.value.record_errors] == [2]
    assert str(NOW_MS + 11) in caught.value.record_errors[0].message
    assert f"[{NOW_MS - 1000}, {NOW_MS + 10}]" in caught.value.record_errors[0].message


@pytest.mark.parametrize("log_append_time", [True, False])
def test_producers_may_not_say_log_append_time(log_append_time: bool) -> None:
    data = sealed(patched(make_batch(2, codec=Codec.GZIP), 21, ">h", 8 | Codec.GZIP))
    limits = twin.Limits(log_append_time=log_append_time)
    if log_append_time:
        with pytest.raises(InvalidBatchError) as caught:
            run(data, limits)
        assert caught.value.reason == Reason.TIMESTAMP_TYPE
        assert [error.batch_index for error in caught.value.record_errors] == [0, 1]
    else:
        # Its one time is within the limits; the bit goes.
        assert not run(data, limits).header.is_log_append_time


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (compressed(raw_record(), 2), Reason.RECORD_FRAMING),
        (compressed(raw_record() + b"x", 1), Reason.RECORDS_LEFT),
        (compressed(raw_record(offset_delta=3), 1), Reason.OFFSET_DELTA),
        (sealed(patched(make_batch(), 21, ">h", Codec.GZIP)), Reason.DECOMPRESSION),
        (sealed(patched(make_batch(), 21, ">h", Codec.ZSTD)), Reason.DECOMPRESSION),
    ],
)
def test_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(InvalidBatchError) as caught:
        run(data, twin.Limits(target_codec=Codec.LZ4))
    assert caught.value.reason == reason
    assert caught.value.error_code == reason.error_code
    assert caught.value.message is not None
    assert caught.value.message.startswith(reason.text)
    assert caught.value.record_errors == ()


def test_a_bomb_is_refused() -> None:
    bomb = compressed(bytes(50 * 1024 * 1024), 1)
    with pytest.raises(InvalidBatchError) as caught:
        recompress(
            bomb,
            now_ms=NOW_MS,
            limits=twin.Limits(compacted=True).as_tuple(),
            decompressed_bytes_max=1024 * 1024,
        )
    assert caught.value.reason == Reason.DECOMPRESSED_TOO_LARGE
    assert caught.value.error_code == 10


@pytest.mark.parametrize(
    ("max_message_bytes", "limit_bytes"), [(1000, 16 << 20), (2 << 20, 32 << 20)]
)
def test_how_large_a_batch_may_be_when_it_is_opened(
    max_message_bytes: int, limit_bytes: int
) -> None:
    limits = twin.Limits(max_message_bytes=max_message_bytes, compacted=True).as_tuple()
    reasons = []
    for size in (limit_bytes, limit_bytes + 1):
        with pytest.raises(InvalidBatchError) as caught:
            recompress(compressed(bytes(size), 1), now_ms=NOW_MS, limits=limits)
        reasons.append(caught.value.reason)
    assert reasons[0] != Reason.DECOMPRESSED_TOO_LARGE == reasons[1]


def test_too_large_once_it_is_rebuilt() -> None:
    data = bytes(build_batch([NewRecord(NOW_MS, b"k", bytes(10_000))], codec=Codec.ZSTD))
    assert len(data) < 5000
    with pytest.raises(InvalidBatchError) as caught:
        run(data, twin.Limits(max_message_bytes=5000, target_codec=Codec.NONE))
    assert caught.value.reason == Reason.TOO_LARGE


def test_trailing_bytes_are_cut() -> None:
    data = make_batch(2, codec=Codec.GZIP)
    assert bytes(run(data + b"abc", twin.Limits()).data) == data


@pytest.mark.parametrize("data", [b"", make_batch()[:-1], patched(make_batch(), 16, ">b", 1)])
def test_only_checked_batches_come_here(data: bytes) -> None:
    with pytest.raises(InvariantError):
        recompress(data, now_ms=NOW_MS, limits=twin.Limits().as_tuple())


def test_explain() -> None:
    limits = twin.Limits(compacted=True).as_tuple()
    data = bytes(build_batch([NewRecord(NOW_MS, None, b"v")] * 3))
    found = explain(data, now_ms=NOW_MS, limits=limits, place="t-3")
    assert [error.batch_index for error in found] == [0, 1, 2]
    assert found[1].message == f"{Reason.KEY_MISSING.text[:-1]} in topic partition t-3"
    assert explain(make_batch(), now_ms=NOW_MS, limits=limits) == ()
    assert explain(data[:-1], now_ms=NOW_MS, limits=limits) == ()
    many = bytes(build_batch([NewRecord(NOW_MS, None, b"")] * (RECORD_ERRORS_MAX + 5)))
    assert len(explain(many, now_ms=NOW_MS, limits=limits)) == RECORD_ERRORS_MAX

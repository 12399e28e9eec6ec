"""Built batches: every header field, every codec, control batches."""

from __future__ import annotations

import pytest

from tests.oracle.record import batch_twin as twin
from tests.oracle.record.batches import NOW_MS
from tidelog._native import batch as native
from tidelog._native.records import control_type_of
from tidelog.record.builder import (
    ControlType,
    NewRecord,
    Producer,
    build_batch,
    control_batch,
    end_txn_marker,
    rebuild_batch,
)
from tidelog.record.compression import Codec, decompress
from tidelog.record.view import BatchView, iterate_batches

RECORDS = [
    NewRecord(NOW_MS + 5, b"k1", b"v1", ((b"h", b"x"), (b"", None))),
    NewRecord(NOW_MS + 9, None, b"v2"),
    NewRecord(NOW_MS, b"k3", None),
]


def view_of(batch: bytes | bytearray) -> BatchView:
    (view,) = iterate_batches(batch)
    return view


@pytest.mark.parametrize("codec", list(Codec))
def test_every_field(codec: Codec) -> None:
    batch = build_batch(
        RECORDS,
        base_offset=1000,
        partition_leader_epoch=7,
        codec=codec,
        producer=Producer(11, 12, 13),
        is_transactional=True,
    )
    view = view_of(batch)
    header = view.header
    assert (header.base_offset, header.last_offset, header.records_count) == (1000, 1002, 3)
    assert (header.partition_leader_epoch, header.size) == (7, len(batch))
    assert (header.codec, header.is_transactional, header.is_control) == (codec, True, False)
    assert (header.base_timestamp, header.max_timestamp) == (NOW_MS + 5, NOW_MS + 9)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (11, 12, 13)
    assert [(r.timestamp, r.key, r.value, r.headers) for r in view.records()] == [
        (one.timestamp, one.key, one.value, tuple(one.headers)) for one in RECORDS
    ]
    assert [r.offset for r in view.records()] == [1000, 1001, 1002]


@pytest.mark.parametrize("codec", list(Codec))
def test_passes_the_leader_s_checks(codec: Codec) -> None:
    batch = bytes(build_batch(RECORDS, codec=codec))
    assert native.check(batch, 9, NOW_MS, twin.Limits().as_tuple())[0] == 0
    assert twin.check(batch, 9, NOW_MS, twin.Limits()).status == 0


def test_defaults_are_a_batch_without_a_producer() -> None:
    header = view_of(build_batch(RECORDS)).header
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (-1, -1, -1)
    assert (header.base_offset, header.partition_leader_epoch, header.attributes) == (0, -1, 0)


def test_log_append_time() -> None:
    header = view_of(build_batch(RECORDS, log_append_time_ms=NOW_MS + 100)).header
    assert (header.is_log_append_time, header.max_timestamp) == (True, NOW_MS + 100)
    assert header.base_timestamp == NOW_MS + 5


def test_records_may_come_from_a_generator() -> None:
    batch = build_batch(NewRecord(NOW_MS, None, b"%d" % i) for i in range(5))
    assert len(view_of(batch).records()) == 5


def test_no_records_no_batch() -> None:
    with pytest.raises(ValueError, match="at least one"):
        build_batch([])


def test_levels_reach_the_codec() -> None:
    records = [NewRecord(NOW_MS, None, b"%d" % (i * 7919 % 10007)) for i in range(3000)]
    small = build_batch(records, codec=Codec.ZSTD, level=19)
    assert len(small) < len(build_batch(records, codec=Codec.ZSTD, level=-5))


@pytest.mark.parametrize("is_commit", [True, False])
def test_end_txn_marker(is_commit: bool) -> None:
    batch = end_txn_marker(
        producer_id=5,
        producer_epoch=6,
        is_commit=is_commit,
        coordinator_epoch=7,
        timestamp=NOW_MS,
        base_offset=8,
        partition_leader_epoch=9,
    )
    view = view_of(batch)
    assert (view.header.is_control, view.header.is_transactional) == (True, True)
    assert (view.header.producer_id, view.header.producer_epoch) == (5, 6)
    assert (view.header.base_sequence, view.header.base_offset) == (-1, 8)
    kind = ControlType.COMMIT if is_commit else ControlType.ABORT
    assert view.control() == (kind, 7)
    assert control_type_of(batch) == (kind, 7)
    (record,) = view.records()
    assert record.key == bytes([0, 0, 0, kind])
    assert record.value == b"\0\0\0\0\0\7"
    assert len(batch) == 78


def test_control_batch() -> None:
    view = view_of(control_batch(2, b"voters", NOW_MS))
    assert (view.header.is_control, view.header.is_transactional) == (True, False)
    assert view.records()[0].value == b"voters"


@pytest.mark.parametrize("codec", list(Codec))
def test_rebuild_keeps_all_but_the_codec(codec: Codec) -> None:
    before = build_batch(
        RECORDS, codec=Codec.GZIP, producer=Producer(1, 2, 3), is_transactional=True
    )
    old = view_of(before)
    payload = decompress(Codec.GZIP, old.payload, 10_000)
    new = view_of(rebuild_batch(old.header, payload, codec=codec, level=None))
    assert new.header.codec == codec
    assert new.records() == old.records()
    for name in ("producer_id", "producer_epoch", "base_sequence", "max_timestamp"):
        assert getattr(new.header, name) == getattr(old.header, name)
    assert new.header.is_transactional

"""Reading batches out of bytes: whole, cut and damaged ones."""

from __future__ import annotations

import pytest

from tests.oracle.record.batches import make_batch, patched, raw_batch, raw_record, sealed
from tidelog.record.builder import control_batch, end_txn_marker
from tidelog.record.compression import Codec
from tidelog.record.view import CorruptBatchError, iterate_batches, read_records

ONE = make_batch(2)
TWO = make_batch(3, codec=Codec.ZSTD)
MARKER = end_txn_marker(
    producer_id=1, producer_epoch=0, is_commit=False, coordinator_epoch=0, timestamp=0
)


def test_one_behind_the_other() -> None:
    views = list(iterate_batches(ONE + TWO + ONE))
    assert [view.position for view in views] == [0, len(ONE), len(ONE) + len(TWO)]
    assert [view.header.records_count for view in views] == [2, 3, 2]
    assert bytes(views[1].data) == TWO
    assert all(view.is_crc_ok for view in views)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer(make: type) -> None:
    assert len(list(read_records(make(ONE + TWO)))) == 5


def test_a_cut_batch_ends_the_iteration() -> None:
    for size in range(len(ONE), len(ONE) + len(TWO)):
        assert len(list(iterate_batches((ONE + TWO)[:size]))) == 1
    assert list(iterate_batches(b"")) == []


def test_control_records_only_if_asked_for() -> None:
    data = ONE + bytes(MARKER)
    assert len(list(read_records(data))) == 2
    assert len(list(read_records(data, with_control=True))) == 3


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (patched(ONE, 8, ">i", 48), "60 bytes"),
        (patched(ONE, 8, ">i", -1), "11 bytes"),
        (patched(ONE, 16, ">b", 1), "magic 1"),
        (patched(ONE, 30, ">b", 99), "checksum"),
    ],
)
def test_damaged_batches(data: bytes, problem: str) -> None:
    views = iterate_batches(TWO + data)
    next(views)
    with pytest.raises(CorruptBatchError, match=problem) as caught:
        next(views)
    assert caught.value.position == len(TWO)


def test_the_checksum_may_be_left_out() -> None:
    (view,) = iterate_batches(patched(ONE, 17, ">I", 1), check_crc=False)
    assert not view.is_crc_ok


@pytest.mark.parametrize(
    "data",
    [
        raw_batch(raw_record(), count=2),
        raw_batch(raw_record(), tail=b"x"),
        sealed(patched(ONE, 21, ">h", Codec.GZIP)),
        sealed(patched(ONE, 21, ">h", 7)),
    ],
)
def test_damaged_records(data: bytes) -> None:
    (view,) = iterate_batches(data)
    with pytest.raises(CorruptBatchError, match="position 0"):
        view.records()


def test_decompression_is_limited() -> None:
    (view,) = iterate_batches(TWO)
    assert len(view.records(10_000)) == 3
    with pytest.raises(CorruptBatchError, match="10 bytes"):
        view.records(10)


def test_control() -> None:
    (view,) = iterate_batches(MARKER)
    assert view.control() == (0, 0)
    (view,) = iterate_batches(control_batch(4, b"", 0))
    assert view.control() == (4, -1)
    (view,) = iterate_batches(sealed(patched(raw_batch(raw_record()), 21, ">h", 0x20)))
    with pytest.raises(CorruptBatchError, match="without a type"):
        view.control()
    # The cleaner keeps an emptied batch for its header's sake.
    (view,) = iterate_batches(raw_batch(count=0))
    assert view.control() is None

"""Batches that are written anew with some of their records: times, lengths, headers of records."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.native.cleaner_harness import Bench
from tests.unit.native.log_harness import NOW
from tidelog.record.builder import NewRecord, build_batch


@pytest.mark.parametrize("first", [0, NOW, NOW - 2**40, -1])
def test_timestamps_stay_whatever_they_are_relative_to(tmp_path: Path, first: int) -> None:
    records = [
        NewRecord(first, b"gone", b""),
        NewRecord(first + 70, b"a", b"v" * 62, ((b"h", None), (b"i", b"2"))),
        NewRecord(first + 2**33, b"b", None),
        NewRecord(NOW, b"gone", b"x"),
    ]
    bench = Bench(tmp_path / "log", bytes(build_batch(records)))
    (left,) = bench.clean(now_ms=NOW * 2, delete_retention_ms=5)
    found = [(r.timestamp, r.key, r.value, r.headers) for r in left.records()]
    assert found == [
        (record.timestamp, record.key, record.value, record.headers) for record in records[1:]
    ]
    assert left.header.delete_horizon_ms == NOW * 2 + 5
    assert left.header.max_timestamp == max(record.timestamp for record in records[1:])


def test_the_time_of_the_append_stays(tmp_path: Path) -> None:
    records = [NewRecord(5, b"a", b"1"), NewRecord(9, b"b", b"2"), NewRecord(2, b"a", b"3")]
    batch = bytes(build_batch(records, log_append_time_ms=NOW))
    (left,) = Bench(tmp_path / "log", batch).clean()
    assert left.header.is_log_append_time
    assert (left.header.max_timestamp, left.header.base_timestamp) == (NOW, NOW)
    assert [record.timestamp for record in left.records()] == [NOW, NOW]


def test_a_record_of_many_kilobytes(tmp_path: Path) -> None:
    records = [NewRecord(NOW, b"a", b""), NewRecord(NOW + 1, b"b", b"x" * 70_000)]
    records.append(NewRecord(NOW + 2, b"a", None))
    (left,) = Bench(tmp_path / "log", bytes(build_batch(records))).clean()
    assert [(r.key, r.value) for r in left.records()] == [(b"b", b"x" * 70_000), (b"a", None)]

"""The native pass of the cleaner, case by case; tests/oracle holds it against its plain twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.native.cleaner_harness import Bench, keyed
from tests.unit.native.log_harness import NOW
from tidelog._native import cleaner as native
from tidelog._native.cleaner import CleanerPass
from tidelog._native.offset_map import OffsetMap
from tidelog.errors import InvariantError
from tidelog.record.builder import Producer, end_txn_marker
from tidelog.record.view import BatchView


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "segment.log"


def offsets(batches: list[BatchView]) -> list[int]:
    return [record.offset for batch in batches for record in batch.records()]


def marker(base_offset: int, *, is_commit: bool = True, producer_id: int = 7) -> bytes:
    return bytes(
        end_txn_marker(
            producer_id=producer_id,
            producer_epoch=2,
            is_commit=is_commit,
            coordinator_epoch=0,
            timestamp=NOW,
            base_offset=base_offset,
        )
    )


def test_the_last_record_of_each_key_stays_at_its_offset(path: Path) -> None:
    bench = Bench(
        path,
        keyed(0, (b"a", b"1"), (b"b", b"2")),
        keyed(2, (b"a", b"3")),
        keyed(3, (b"c", b"4"), (b"b", b"5")),
    )
    left = bench.clean()
    assert offsets(left) == [2, 3, 4]
    assert [record.value for batch in left for record in batch.records()] == [b"3", b"4", b"5"]
    passing = bench.passing
    assert (passing.records_read, passing.records_kept) == (5, 3)
    assert (passing.bytes_read, passing.bytes_kept) == (len(bench.data), len(bench.out))


@pytest.mark.parametrize("codec", range(5))
def test_a_batch_that_keeps_everything_stays_as_it_is(path: Path, codec: int) -> None:
    bench = Bench(path, keyed(0, (b"a", b"1" * 100), (b"b", b"2"), codec=codec))
    bench.clean()
    assert bench.out == bench.data


@pytest.mark.parametrize("codec", range(5))
def test_a_batch_that_loses_records_keeps_its_offsets_and_codec(path: Path, codec: int) -> None:
    producer = Producer(5, 1, 30)
    first = keyed(
        10, (b"a", b"1" * 100), (b"b", b"2" * 100), (b"a", b"3"),
        codec=codec, producer=producer, partition_leader_epoch=4,
    )  # fmt: skip
    (left,) = Bench(path, first).clean()
    header = left.header
    assert (header.base_offset, header.last_offset, header.codec) == (10, 12, codec)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (5, 1, 30)
    assert (header.records_count, header.partition_leader_epoch) == (2, 4)
    assert header.base_timestamp == NOW + 1
    assert [(r.offset, r.timestamp, r.value) for r in left.records()] == [
        (11, NOW + 1, b"2" * 100),
        (12, NOW + 2, b"3"),
    ]


def test_a_deletion_marker_gets_a_horizon_and_goes_behind_it(path: Path) -> None:
    bench = Bench(path, keyed(0, (b"a", b"1")), keyed(1, (b"a", None), (b"b", b"2")))
    (left,) = bench.clean(now_ms=NOW, delete_retention_ms=1000)
    assert left.header.delete_horizon_ms == NOW + 1000
    assert [(r.offset, r.timestamp, r.value) for r in left.records()] == [
        (1, NOW, None),
        (2, NOW + 1, b"2"),
    ]
    again = Bench(path, bench.out)
    again.clean(now_ms=NOW + 999)
    assert again.out == bench.out
    (left,) = again.copy(now_ms=NOW + 1000)
    assert offsets([left]) == [2]
    assert left.header.delete_horizon_ms == NOW + 1000


def test_what_the_map_does_not_reach_stays(path: Path) -> None:
    bench = Bench(path, keyed(0, (b"a", b"1"), (b"a", b"2")), keyed(2, (b"a", b"3"), (None, b"")))
    bench.map.add(b"a", 1)
    assert offsets(bench.copy()) == [1, 2, 3]
    bench.map.reach_to(3)
    assert offsets(bench.copy()) == [1, 2]
    assert bench.passing.keyless_records == 1


def test_the_last_batch_of_a_producer_and_of_the_round_stay_as_headers(path: Path) -> None:
    bench = Bench(
        path,
        keyed(0, (b"a", b"1"), producer=Producer(5, 3, 0)),
        keyed(1, (b"a", b"1"), producer=Producer(5, 3, 1)),
        keyed(2, (b"a", b"1"), producer=Producer(6, 0, 8), codec=4),
        keyed(3, (b"a", b"1")),
        keyed(4, (b"a", b"2")),
    )
    left = bench.clean()
    assert offsets(left) == [4]
    left = bench.copy(producers=[(5, 1, 3), (6, 2, 0), (9, 4, 0)], end_of_round=4)
    assert [batch.header.last_offset for batch in left] == [1, 2, 3, 4]
    for batch in left[:3]:
        header = batch.header
        assert (header.records_count, header.codec, header.size) == (0, 0, 61)
        assert header.max_timestamp == NOW
    assert (left[0].header.producer_epoch, left[0].header.base_sequence) == (3, 1)
    # Such a header is found again, and kept for as long as it is needed.
    again = Bench(path, bench.out)
    again.clean(end_of_round=4)
    assert [batch.header.last_offset for batch in again.copy(producers=[(5, 1, 3)])] == [1, 4]


def test_transactions_are_asked_for(path: Path) -> None:
    bench = Bench(
        path,
        keyed(0, (b"a", b"1"), producer=Producer(7, 2, 0), is_transactional=True),
        marker(1, is_commit=False),
        keyed(2, (b"b", b"1")),
    )
    bench.discards = True
    bench.index()
    assert bench.asked == [(7, 0, False), (7, 1, True)]
    assert bench.map.find(b"a") == -1
    left = bench.copy(now_ms=NOW, delete_retention_ms=10)
    assert offsets(left) == [1, 2]
    assert left[0].header.delete_horizon_ms == NOW + 10
    assert left[0].control() == (0, 0)
    again = Bench(path, bench.out)
    again.discards = True
    again.index()
    assert offsets(again.copy(now_ms=NOW + 9)) == [1, 2]
    assert offsets(again.copy(now_ms=NOW + 10)) == [2]
    # The marker that holds a producer's epoch stays as a header.
    kept = again.copy(now_ms=NOW + 10, producers=[(7, -1, 2)])
    assert [(b.header.last_offset, b.header.records_count) for b in kept] == [(1, 0), (2, 1)]
    assert kept[0].header.is_control


def test_a_marker_that_is_needed_stays_as_it_is(path: Path) -> None:
    bench = Bench(path, marker(0), keyed(1, (b"b", b"1")))
    bench.clean()
    assert bench.out == bench.data


def test_batches_larger_than_a_chunk_and_slices(path: Path) -> None:
    bench = Bench(path, *(keyed(i, (b"k%d" % i, b"v" * (i * 50))) for i in range(20)))
    passing = CleanerPass(bench.map, chunk_bytes=100)
    passing.begin(bench.file, 0, len(bench.data))
    steps = []
    while not steps or steps[-1] == native.SLICE:
        steps.append(passing.index(0))
    assert steps[-1] == native.END
    assert steps.count(native.SLICE) > 10
    assert offsets(bench.copy(chunk_bytes=100)) == list(range(20))


def test_only_what_stands_from_the_start_on_is_put_into_the_map(path: Path) -> None:
    bench = Bench(path, keyed(0, (b"a", b""), (b"b", b"")), keyed(2, (b"c", b"")))
    passing = CleanerPass(bench.map, chunk_bytes=1000)
    passing.begin(bench.file, 0, len(bench.data))
    assert passing.index(1) == native.END
    assert [bench.map.find(key) for key in (b"a", b"b", b"c")] == [-1, 1, 2]


def test_a_full_map_ends_where_its_next_key_would_stand(path: Path) -> None:
    bench = Bench(path, keyed(0, (b"a", b""), (b"b", b""), (b"a", b""), (b"c", b"")))
    bench.map = OffsetMap(2, 1.0)
    passing = CleanerPass(bench.map, chunk_bytes=1000)
    passing.begin(bench.file, 0, len(bench.data))
    assert passing.index(0) == native.FULL
    assert bench.map.latest_offset == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),  # a record's byte
        lambda data: data[:16] + b"\x01" + data[17:],  # the magic
        lambda data: data[:8] + b"\x7f\xff\xff\xff" + data[12:],  # a length beyond the file
        lambda data: data[:-3],
        lambda data: data + b"\0" * 10,
    ],
)
def test_what_is_no_good_batch_is_told(path: Path, damage: object) -> None:
    assert callable(damage)
    good = keyed(0, (b"a", b"1"))
    bench = Bench(path, good + damage(keyed(1, (b"b", b"1"))))
    for index in (True, False):
        passing = CleanerPass(bench.map, chunk_bytes=200)
        passing.begin(bench.file, 0, len(bench.data))
        step, _ = bench.run(passing, index=index)
        assert step == native.BAD
        assert "position" in passing.problem
        assert passing.position >= len(good)


def test_offsets_must_ascend(path: Path) -> None:
    bench = Bench(path, keyed(5, (b"a", b"1")), keyed(5, (b"b", b"1")))
    passing = CleanerPass(bench.map, chunk_bytes=200)
    passing.begin(bench.file, 0, len(bench.data))
    assert bench.run(passing, index=True)[0] == native.BAD


def test_records_that_do_not_parse_are_told(path: Path) -> None:
    bench = Bench(path, keyed(0, (b"a", b"1"), codec=4))
    passing = CleanerPass(bench.map, chunk_bytes=200)
    passing.begin(bench.file, 0, len(bench.data))
    assert passing.index(0) == native.OPEN
    passing.give_payload(b"\xff" * 30)
    assert passing.index(0) == native.BAD


def test_nothing_is_packed_unasked(path: Path) -> None:
    passing = CleanerPass(OffsetMap(1), chunk_bytes=100)
    with pytest.raises(InvariantError):
        passing.pack(b"")

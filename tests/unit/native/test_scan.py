"""Tests of the native walk over a .log: valid prefix, indexes, producer state, time search."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.native.log_harness import NOW, SETTINGS, batch, filled_segment, new_segment
from tidelog._native.batch import parse
from tidelog._native.producer_state import ProducerStates
from tidelog._native.scan import (
    REASONS,
    SegmentScanner,
    find_batch_by_timestamp,
    find_record,
)
from tidelog.errors import InvariantError, StorageError
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker


def scan_bytes(tmp_path: Path, data: bytes, **options: int) -> SegmentScanner:
    path = tmp_path / "some.log"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        base_offset = options.pop("base_offset", 0)
        return SegmentScanner(fd, base_offset, len(data), **options).run()
    finally:
        os.close(fd)


def batches(count: int, size: int = 10, first: int = 0) -> list[bytes]:
    return [bytes(batch(base_offset=first + i, timestamp=NOW + i, size=size)) for i in range(count)]


def test_a_whole_file(tmp_path: Path) -> None:
    written = batches(10)
    scan = scan_bytes(tmp_path, b"".join(written))
    assert (scan.reason, scan.batches, scan.next_offset) == (0, 10, 10)
    assert scan.valid_bytes == sum(map(len, written))
    assert (scan.first_timestamp, scan.max_timestamp) == (NOW, NOW + 9)
    assert scan.offset_of_max_timestamp == 9


def test_an_empty_file(tmp_path: Path) -> None:
    scan = scan_bytes(tmp_path, b"", base_offset=7)
    assert (scan.reason, scan.batches, scan.next_offset, scan.first_timestamp) == (0, 0, 7, -1)


def test_more_batches_than_one_round_notes(tmp_path: Path) -> None:
    written = batches(5000, size=0)
    scan = scan_bytes(tmp_path, b"".join(written))
    assert (scan.batches, scan.next_offset) == (5000, 5000)


@pytest.mark.parametrize("size", [60_000, 1_000_000, 1_048_576, 3_000_000])
def test_batches_larger_than_the_chunk(tmp_path: Path, size: int) -> None:
    written = [bytes(batch(base_offset=i, size=size)) for i in range(2)] + batches(1, first=2)
    data = b"".join(written)
    assert scan_bytes(tmp_path, data).batches == 3
    broken = bytearray(data)
    broken[len(written[0]) + len(written[1]) - 1] ^= 1
    scan = scan_bytes(tmp_path, bytes(broken))
    assert (scan.batches, REASONS[scan.reason]) == (1, "wrong checksum")
    assert scan.valid_bytes == len(written[0])


def test_cut_at_every_byte(tmp_path: Path) -> None:
    """Whatever is left of the last batch, the valid prefix is the whole ones."""
    written = batches(3)
    data = b"".join(written)
    ends = [0, len(written[0]), len(written[0]) * 2, len(data)]
    for size in range(len(data) + 1):
        scan = scan_bytes(tmp_path, data[:size])
        assert scan.valid_bytes == max(end for end in ends if end <= size)
        assert (scan.reason == 0) == (size in ends)


def test_every_flipped_bit_behind_the_stamps_is_found(tmp_path: Path) -> None:
    written = batches(2)
    size = len(written[0])
    for bit in range(8 * size):
        data = bytearray(b"".join(written))
        data[size + bit // 8] ^= 1 << (bit % 8)
        scan = scan_bytes(tmp_path, bytes(data))
        assert scan.valid_bytes >= size
        # Base offset and leader epoch are outside the checksum.
        if not (bit // 8 < 8 or 12 <= bit // 8 < 16):
            assert (scan.valid_bytes, scan.reason != 0) == (size, True), bit


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_garbage_behind_good_batches(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, count: int
) -> None:
    good = b"".join(batches(count))
    scan = scan_bytes(tmp_path_factory.mktemp("scan"), good + garbage)
    assert scan.valid_bytes == len(good)
    assert (scan.reason != 0) == bool(garbage)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (bytes(batch(base_offset=0)), "offsets do not ascend"),
        (bytes(batch(base_offset=2**31)), "offset out of the segment's range"),
        (bytes(200), "no batch header"),
        (batches(1, first=1)[0][:40], "less than a batch is left"),
        (b"\xff" * 100, "no batch header"),
    ],
)
def test_reasons(tmp_path: Path, second: bytes, reason: str) -> None:
    first = batches(1)[0]
    scan = scan_bytes(tmp_path, first + second)
    assert scan.reason_text == reason
    assert (scan.valid_bytes, scan.next_offset) == (len(first), 1)


def test_offsets_below_the_base_are_refused(tmp_path: Path) -> None:
    assert scan_bytes(tmp_path, batches(1)[0], base_offset=5).valid_bytes == 0


def test_gaps_are_allowed(tmp_path: Path) -> None:
    data = bytes(batch(base_offset=3)) + bytes(batch(base_offset=90))
    assert scan_bytes(tmp_path, data).next_offset == 91


def test_checksums_are_believed_before_verify_from(tmp_path: Path) -> None:
    written = batches(4)
    data = bytearray(b"".join(written))
    size = len(written[0])
    data[size - 1] ^= 1
    data[3 * size - 1] ^= 1
    assert scan_bytes(tmp_path, bytes(data), verify_from=len(data)).batches == 4
    assert scan_bytes(tmp_path, bytes(data), verify_from=size).batches == 2
    assert scan_bytes(tmp_path, bytes(data)).batches == 0


def test_damage_below_a_synced_offset_is_told_and_kept(tmp_path: Path) -> None:
    written = batches(4)
    size = len(written[0])
    data = bytearray(b"".join(written))
    data[2 * size - 1] ^= 1
    scan = scan_bytes(tmp_path, bytes(data), keep_below=4)
    assert (scan.batches, scan.reason, scan.damaged) == (4, 0, [(size, 1)])
    scan = scan_bytes(tmp_path, bytes(data), keep_below=1)
    assert (scan.batches, scan.damaged) == (1, [])
    # What follows a torn batch is no batch.
    scan = scan_bytes(tmp_path, bytes(data[: 2 * size]) + bytes(100), keep_below=4)
    assert (scan.batches, scan.damaged) == (1, [])


@pytest.mark.parametrize("where", [0, 8, 11, 16, 23, 60])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_a_bad_header_costs_no_more_than_itself(tmp_path: Path, where: int, first: int) -> None:
    """Below `keep_below` the scan goes on at the next batch with a good checksum."""
    written = batches(6, size=300)
    size = len(written[0])
    data = bytearray(b"".join(written))
    for broken in (first, first + 1):
        data[broken * size + where] ^= 0x41
    scan = scan_bytes(tmp_path, bytes(data), keep_below=6)
    assert (scan.reason, scan.next_offset, scan.valid_bytes) == (0, 6, len(data))
    assert scan.damaged[0][0] == first * size
    assert all(first <= position // size <= first + 1 for position, _ in scan.damaged)
    # What was never synced is a torn tail, and ends the log.
    scan = scan_bytes(tmp_path, bytes(data), keep_below=first)
    assert (scan.reason != 0, scan.next_offset, scan.damaged) == (True, first, [])


def test_nothing_good_behind_the_damage_ends_the_scan(tmp_path: Path) -> None:
    written = batches(3)
    data = b"".join(written[:2]) + b"\x02" * 5000 + written[2][: len(written[2]) - 1]
    scan = scan_bytes(tmp_path, data, keep_below=3)
    assert (scan.reason != 0, scan.valid_bytes) == (True, len(written[0]) * 2)
    # A batch whose offset was there already is an old copy of it.
    scan = scan_bytes(tmp_path, b"".join(written[:2]) + b"x" * 70 + written[1], keep_below=3)
    assert (scan.next_offset, scan.damaged) == (2, [])


def test_damage_larger_than_a_chunk(tmp_path: Path) -> None:
    written = batches(3, size=10)
    data = written[0] + b"\x02\x00" * 1_500_000 + written[1] + written[2]
    for verify_from in (0, len(data)):
        scan = scan_bytes(tmp_path, data, keep_below=3, verify_from=verify_from)
        assert (scan.next_offset, scan.damaged) == (3, [(len(written[0]), 1)])


def test_the_indexes_are_those_of_the_appends(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 80)
    again = new_segment(tmp_path / "again" if (tmp_path / "again").mkdir() is None else "")
    scan = SegmentScanner(
        segment.fd, 0, segment.size, index_interval_bytes=SETTINGS.index_interval_bytes
    )
    scan.run(again.offset_index, again.time_index)
    for one, other in (
        (segment.offset_index, again.offset_index),
        (segment.time_index, again.time_index),
    ):
        assert one.entries > 5
        assert [one.entry(i) for i in range(one.entries)] == [
            other.entry(i) for i in range(other.entries)
        ]
    assert scan.bytes_since_index_entry == segment.bytes_since_index_entry


def test_epochs_grow(tmp_path: Path) -> None:
    data = b"".join(
        bytes(batch(base_offset=i, epoch=epoch)) for i, epoch in enumerate([-1, 2, 2, 5, 3, 6])
    )
    path = tmp_path / "some.log"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    epochs: list[tuple[int, int]] = []
    SegmentScanner(fd, 0, len(data)).run(epochs=epochs)
    assert epochs == [(2, 1), (5, 3), (6, 5)]
    known = [(2, 0)]
    SegmentScanner(fd, 0, len(data)).run(epochs=known)
    assert known == [(2, 0), (5, 3), (6, 5)]
    os.close(fd)


def producer_log(tmp_path: Path) -> tuple[int, int]:
    parts = [
        batch(2, base_offset=0, producer=Producer(7, 0, 0)),
        batch(1, base_offset=2),
        batch(1, base_offset=3, producer=Producer(7, 0, 2)),
        build_batch(
            [NewRecord(NOW, None, b"t")],
            base_offset=4,
            producer=Producer(8, 1, 0),
            is_transactional=True,
        ),
        _marker(5),
        batch(1, base_offset=6, producer=Producer(7, 0, 3)),
    ]
    data = b"".join(bytes(part) for part in parts)
    path = tmp_path / "some.log"
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY), len(data)


def _marker(offset: int) -> bytearray:
    return end_txn_marker(
        producer_id=8,
        producer_epoch=1,
        is_commit=False,
        coordinator_epoch=3,
        timestamp=NOW,
        base_offset=offset,
    )


def test_producer_state_is_replayed(tmp_path: Path) -> None:
    fd, size = producer_log(tmp_path)
    producers = ProducerStates(verify_transactions=False)
    scan = SegmentScanner(fd, 0, size).run(producers=producers)
    assert producers.map_end_offset == 7
    first = producers.entry(7)
    assert first is not None
    assert [kept[:2] for kept in first.retained] == [(1, 1), (2, 3), (3, 6)]
    second = producers.entry(8)
    assert second is not None
    assert (second.current_txn_first_offset, second.coordinator_epoch) == (-1, 3)
    assert scan.aborted == [(8, 4, 5, 6)]
    os.close(fd)


@pytest.mark.parametrize(("start", "known"), [(6, [(3, 6)]), (2, [(2, 3), (3, 6)])])
def test_producer_state_is_replayed_from_an_offset(
    tmp_path: Path, start: int, known: list[tuple[int, int]]
) -> None:
    assert retained_from(tmp_path, start) == known


def test_the_batch_that_the_log_starts_within_counts(tmp_path: Path) -> None:
    """DeleteRecords may leave the log start between its records; the producer still goes on."""
    assert retained_from(tmp_path, 1) == [(1, 1), (2, 3), (3, 6)]


def retained_from(tmp_path: Path, start: int) -> list[tuple[int, int]]:
    fd, size = producer_log(tmp_path)
    producers = ProducerStates(verify_transactions=False)
    SegmentScanner(fd, 0, size).run(producers=producers, producers_from=start)
    os.close(fd)
    found = producers.entry(7)
    assert found is not None
    return [(kept[0], kept[1]) for kept in found.retained]


def test_a_hostile_control_batch_is_not_read_into_a_small_buffer(tmp_path: Path) -> None:
    large = build_batch(
        [NewRecord(NOW, b"\0\0\0\0", b"x" * 5000)], producer=Producer(1, 0), is_control=True
    )
    path = tmp_path / "some.log"
    path.write_bytes(large)
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(StorageError):
        SegmentScanner(fd, 0, len(large)).run(producers=ProducerStates())
    os.close(fd)


def test_start_at(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 5)
    scan = SegmentScanner(segment.fd, 0, segment.size)
    scan.start_at(len(written[0]) * 3)
    assert scan.run().batches == 2
    with pytest.raises(InvariantError):
        scan.start_at(segment.size + 1)


def test_a_read_error_is_told(tmp_path: Path) -> None:
    scan = SegmentScanner(10_000, 0, 100).run()
    assert (scan.reason_text, scan.io_errno != 0) == ("read error", True)


# ---- by time


def test_find_batch_by_timestamp(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 30)
    size = len(written[0])
    for target, offset, expected in [
        (NOW, 0, 0),
        (NOW + 1, 0, 1),
        (NOW + 290, 0, 29),
        (NOW + 291, 0, None),
        (NOW, 12, 12),
        (0, 30, None),
    ]:
        found = find_batch_by_timestamp(segment.fd, 0, segment.size, 0, target, offset)
        assert found == (None if expected is None else (expected * size, size))


def test_find_batch_by_timestamp_in_bad_bytes(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 2)
    with pytest.raises(ValueError):
        find_batch_by_timestamp(segment.fd, 5, segment.size, 0, 2**62, 0)
    with pytest.raises(OSError):
        find_batch_by_timestamp(10_000, 0, 100, 0, 0, 0)


@settings(max_examples=100, deadline=None)
@given(
    times=st.lists(st.integers(0, 50), min_size=1, max_size=20),
    target=st.integers(0, 60),
    delta=st.integers(0, 22),
)
def test_find_record_agrees_with_a_linear_search(times: list[int], target: int, delta: int) -> None:
    data = build_batch([NewRecord(1000 + t, b"k", b"v" * t) for t in times])
    header = parse(data)
    assert header is not None
    expected = None
    for i, t in enumerate(times):
        if i >= delta and 1000 + t >= 1000 + target:
            expected = (i, 1000 + t)
            break
    payload = memoryview(data)[61:]
    assert find_record(payload, header.base_timestamp, 1000 + target, delta) == expected


@given(st.binary(max_size=60))
def test_find_record_in_garbage(payload: bytes) -> None:
    try:
        find_record(payload, 0, 2**62, 0)
    except ValueError:
        pass

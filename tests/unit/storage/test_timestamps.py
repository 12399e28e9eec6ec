"""Tests of offsets by time against a linear search over all records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.storage.log_driver import LogDriver, make_batch
from tests.oracle.storage.log_twin import LogTwin, TwinBatch
from tests.unit.native.log_harness import NOW
from tidelog._native.batch import parse
from tidelog._native.records import put_header, stamp_batch
from tidelog._native.segment import CorruptSegmentError
from tidelog.limits import SEARCHED_BATCH_BYTES_MAX
from tidelog.record.builder import NewRecord, build_batch
from tidelog.storage.timestamps import (
    largest_timestamp,
    max_timestamp_offset,
    offset_for_timestamp,
)

CONFIG = {
    "internal.segment.bytes": "1200",
    "index.interval.bytes": "150",
    "message.timestamp.after.max.ms": str(2**62),
}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LogDriver]:
    made = LogDriver(str(tmp_path), CONFIG)
    yield made
    made.shut()


def fill(driver: LogDriver, batches: list[tuple[list[int], int]]) -> LogTwin:
    """Batches of (timestamps, codec) into the log and its twin."""
    driver.open()
    twin = LogTwin(1200)
    for times, codec in batches:
        batch = make_batch(times, 10, codec)
        assert driver.produce(batch.data)[0] == 0
        twin.append(batch, NOW)
    return twin


@settings(max_examples=40, deadline=None)
@given(
    batches=st.lists(
        st.tuples(
            st.lists(st.integers(-1, 60), min_size=1, max_size=5), st.sampled_from([0, 0, 1, 3, 4])
        ),
        min_size=1,
        max_size=30,
    ),
    start=st.integers(0, 40),
)
def test_the_first_record_that_is_not_older(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[list[int], int]], start: int
) -> None:
    driver = LogDriver(str(tmp_path_factory.mktemp("log")), CONFIG)
    try:
        twin = fill(driver, batches)
        assert driver.log is not None
        segments = driver.log.core.segment_list
        twin.log_start = min(start, twin.log_end)
        for target in range(62):
            found = offset_for_timestamp(segments, target, twin.log_start)
            assert found == twin.offset_for_timestamp(target), target
        assert max_timestamp_offset(segments, twin.log_start) == twin.max_timestamp()
    finally:
        driver.shut()


def test_nothing_in_an_empty_log(driver: LogDriver) -> None:
    driver.open()
    assert offset_for_timestamp([], 0, 0) is None
    assert max_timestamp_offset([], 0) is None


def test_the_newest_record_may_be_before_the_start(driver: LogDriver) -> None:
    fill(driver, [([NOW + 100], 0), ([NOW], 0), ([NOW + 50], 0)])
    assert driver.log is not None
    segments = driver.log.core.segment_list
    assert max_timestamp_offset(segments, 0) == (NOW + 100, 0, 0)
    assert offset_for_timestamp(segments, NOW + 51, 1) is None


def test_a_batch_of_the_brokers_time_has_one_timestamp(tmp_path: Path) -> None:
    driver = LogDriver(str(tmp_path), CONFIG | {"message.timestamp.type": "LogAppendTime"})
    log = driver.open()
    driver.produce(make_batch([1, 2, 3]).data)
    first = driver.clock.wall_ms()
    driver.clock.advance(10)
    driver.produce(make_batch([1, 2, 3], codec=1).data)
    found = log.offset_for_timestamp(first + 1)
    assert found == (first + 10, 3, 0)
    assert log.max_timestamp_offset() == (first + 10, 3, 0)
    driver.run(log.delete_records(5))
    assert log.offset_for_timestamp(first) == (first + 10, 5, 0)
    driver.shut()


def test_a_batch_that_cannot_be_opened_is_answered_by_its_bounds(driver: LogDriver) -> None:
    """Records that no codec opens: the batch is given whole, never skipped."""
    log = driver.open()
    driver.produce(make_batch([NOW]).data)
    data = build_batch([NewRecord(NOW, None, b"v")] * 3)
    gzip = 1
    put_header(data, 1, -1, gzip, 2, NOW, NOW + 7, -1, -1, -1, 3)
    assert log.core.active_segment is not None
    log.core.active_segment.append_batch(data, 3, NOW + 7, NOW)
    assert offset_for_timestamp(log.core.segment_list, NOW + 3, 0) == (NOW + 7, 1, -1)


def test_damage_is_an_error_not_a_wrong_answer(driver: LogDriver) -> None:
    fill(driver, [([NOW + i], 0) for i in range(4)])
    assert driver.log is not None
    segment = driver.log.core.segment_list[0]
    size = segment.size // 4
    os.pwrite(segment.fd, b"\xff" * 4, size + 8)
    with pytest.raises(CorruptSegmentError):
        offset_for_timestamp([segment], NOW + 1, 0)


def test_without_timestamps_the_file_tells_the_age(driver: LogDriver) -> None:
    fill(driver, [([-1], 0)])
    assert driver.log is not None
    segment = driver.log.core.segment_list[0]
    assert largest_timestamp(segment) == driver.clock.wall_ms()
    batch: TwinBatch = make_batch([NOW])
    driver.produce(batch.data)
    assert largest_timestamp(driver.log.core.segment_list[0]) == NOW


def test_a_batch_that_is_a_bomb_is_answered_by_its_bounds(driver: LogDriver) -> None:
    log = driver.open()
    driver.produce(make_batch([NOW]).data)
    value = bytes(SEARCHED_BATCH_BYTES_MAX + 1)
    data = build_batch([NewRecord(NOW, None, value), NewRecord(NOW + 5, None, b"")], codec=1)
    stamp_batch(data, parse(data), 1, -1)
    assert log.core.active_segment is not None and len(data) < 1 << 20
    log.core.active_segment.append_batch(data, 2, NOW + 5, NOW)
    assert offset_for_timestamp(log.core.segment_list, NOW + 3, 0) == (NOW + 5, 1, -1)

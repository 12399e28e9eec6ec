"""Tests of cutting the end off a log whose segments are still read from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oracle.storage.log_driver import LogDriver, make_batch
from tests.unit.native.log_harness import NOW
from tidelog._native.segment import Segment
from tidelog.record.builder import Producer
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.log_config import segment_settings
from tidelog.storage.segment_files import SegmentSettings, trim_segment
from tidelog.storage.truncation import Truncated, restart_log, truncate_log

CONFIG = {
    "internal.segment.bytes": "1500",
    "index.interval.bytes": "150",
    "segment.index.bytes": "2400",
    "message.timestamp.after.max.ms": str(2**62),
}
BATCHES = 40


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LogDriver]:
    made = LogDriver(str(tmp_path), CONFIG)
    log = made.open()
    for i in range(BATCHES):
        # The newest record is in the middle.
        timestamp = NOW + (i if i != 20 else 10_000)
        made.produce(make_batch([timestamp], 20, producer=Producer(4, 0, i)).data)
    made.run(log.flush())
    yield made
    made.shut()


def segments_of(driver: LogDriver) -> list[Segment]:
    assert driver.log is not None
    return driver.log.core.segment_list


def cut(driver: LogDriver, offset: int, log_start: int = 0) -> Truncated:
    assert driver.log is not None
    return truncate_log(
        SYSTEM_FILES,
        driver.directory,
        segments_of(driver),
        offset,
        log_start,
        driver_settings(driver),
        NOW,
        False,
    )


def driver_settings(driver: LogDriver) -> SegmentSettings:
    return segment_settings(driver.config)


@pytest.mark.parametrize("offset", [0, 1, 13, 14, 20, 21, 27, 39])
def test_what_is_below_stays(driver: LogDriver, offset: int) -> None:
    old = segments_of(driver)
    before = [segment.read_at(0, segment.size) for segment in old]
    batch = len(before[0]) // old[0].next_offset
    result = cut(driver, offset)
    data = b"".join(segment.read_at(0, segment.size) for segment in result.segments)
    assert data == b"".join(before)[: offset * batch]
    last = result.segments[-1]
    assert (last.next_offset, last.sealed) == (max(offset, last.base_offset), False)
    assert [s.base_offset for s in result.segments] == [
        s.base_offset for s in old if s.base_offset <= offset
    ]
    # The newest record was at offset 20.
    timestamps = [NOW + (i if i != 20 else 10_000) for i in range(last.base_offset, offset)]
    assert last.max_timestamp == max(timestamps, default=-1)
    for target in range(last.base_offset, offset):
        assert last.find(target) is not None
    assert last.find(offset) is None
    entry = result.producers.entry(4)
    assert (entry.retained[-1][0] if entry else -1) == offset - 1
    assert result.producers.map_end_offset == offset


def test_the_cut_segment_takes_appends(driver: LogDriver) -> None:
    result = cut(driver, 25)
    last = result.segments[-1]
    data = make_batch([NOW + 50_000]).data
    last.append_batch((25).to_bytes(8, "big") + data[8:], 25, NOW + 50_000, NOW)
    assert last.find(25) is not None
    assert last.offset_index.max_entries > last.offset_index.entries


def test_readers_of_the_old_segments_are_safe(driver: LogDriver) -> None:
    """The old objects still look up below the cut, also when their index was trimmed."""
    old = segments_of(driver)
    victim = next(segment for segment in old if segment.base_offset <= 20 < segment.next_offset)
    if victim.sealed:
        trim_segment(SYSTEM_FILES, victim)
    sizes = [os.stat(index.path).st_size for index in (victim.offset_index, victim.time_index)]
    cut(driver, victim.base_offset + 2)
    found = victim.find(victim.base_offset + 1)
    assert found is not None
    victim.time_index.find(2**60)
    victim.offset_index.find(2**60)
    for index, size in zip((victim.offset_index, victim.time_index), sizes, strict=True):
        assert os.stat(index.path).st_size >= size


def test_later_segments_are_marked_newest_first(driver: LogDriver) -> None:
    doomed = [s.base_offset for s in segments_of(driver) if s.base_offset > 5]
    result = cut(driver, 5)
    marked = [path for path in result.deleted_files if ".digest" not in path]
    found = [int(os.path.basename(path)[:20]) for path in marked]
    assert found == [base for base in reversed(doomed) for _ in range(3)]
    assert all(path.endswith(".deleted") and os.path.exists(path) for path in result.deleted_files)


def test_snapshots_beyond_the_end_go(driver: LogDriver) -> None:
    cut(driver, 30)
    offsets = [int(n[:20]) for n in os.listdir(driver.directory) if n.endswith(".snapshot")]
    assert offsets
    assert max(offsets) <= 30


def test_producers_before_the_log_start_are_forgotten(driver: LogDriver) -> None:
    assert cut(driver, 15, log_start=15).producers.dump() == []


def test_an_offset_before_the_log_is_refused(driver: LogDriver) -> None:
    kept = segments_of(driver)[1:]
    with pytest.raises(ValueError):
        truncate_log(
            SYSTEM_FILES, driver.directory, kept, 0, 0, driver_settings(driver), NOW, False
        )


def test_restart(driver: LogDriver) -> None:
    result = restart_log(
        SYSTEM_FILES,
        driver.directory,
        segments_of(driver),
        500,
        driver_settings(driver),
        NOW,
        False,
    )
    assert [(s.base_offset, s.size) for s in result.segments] == [(500, 0)]
    assert result.producers.map_end_offset == 500
    names = [n for n in os.listdir(driver.directory) if not n.endswith(".deleted")]
    assert sorted(n for n in names if n[:1].isdigit()) == [
        f"{500:020d}{suffix}" for suffix in (".index", ".log", ".timeindex")
    ]


def test_restart_at_the_same_offset(driver: LogDriver) -> None:
    """The new files take the names of the marked ones."""
    result = restart_log(
        SYSTEM_FILES,
        driver.directory,
        segments_of(driver),
        0,
        driver_settings(driver),
        NOW,
        False,
    )
    assert (result.segments[0].base_offset, result.segments[0].size) == (0, 0)
    assert os.path.getsize(result.segments[0].log_path) == 0
    assert os.path.getsize(result.segments[0].log_path + ".deleted") > 0

"""Tests of who keeps an open file: the last ones read, and whoever works with one."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.native.log_harness import filled_segment
from tidelog._native import log_file
from tidelog._native.segment import Segment
from tidelog._native.segments import available, read
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.segment_files import trim_segment

BATCHES = 20


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    log_file.set_limit(1)  # whatever other tests left open
    log_file.set_limit(3)
    yield
    log_file.set_limit(512)


def closed_segment(folder: Path, number: int) -> Segment:
    segment, _ = filled_segment(folder, BATCHES, base_offset=number * BATCHES)
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    return segment


def closed_segments(folder: Path, count: int) -> list[Segment]:
    folder.mkdir(exist_ok=True)
    return [closed_segment(folder, number) for number in range(count)]


def is_open(segment: Segment) -> bool:
    return segment.fd >= 0


def descriptors(folder: Path) -> int:
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    paths = [os.readlink(link) for link in links if os.path.lexists(link)]
    return sum(path.startswith(str(folder)) and path.endswith(".log") for path in paths)


def test_the_last_ones_stay_open(tmp_path: Path) -> None:
    segments = closed_segments(tmp_path, 6)
    assert [is_open(segment) for segment in segments] == [False] * 3 + [True] * 3
    assert descriptors(tmp_path) == 3


def test_reading_opens_and_counts_as_use(tmp_path: Path) -> None:
    segments = closed_segments(tmp_path, 4)  # 1, 2 and 3 are open
    assert segments[1].read_at(0, 10)
    assert segments[0].scan(5, 0) is not None
    assert [is_open(segment) for segment in segments] == [True, True, False, True]
    assert segments[2].scan(2 * BATCHES + 3, 0) is not None
    assert [is_open(segment) for segment in segments] == [True, True, True, False]


def test_a_look_up_over_closed_files(tmp_path: Path) -> None:
    segments = closed_segments(tmp_path, 6)
    end = 6 * BATCHES
    for offset in (3, end - 3, BATCHES, 2):
        error, found, _, size, start = read(segments, offset, 100, end)
        assert (error, start) == (0, offset)
        assert found is not None and is_open(found) and size > 0
    assert available(segments, 0, end) == sum(segment.size for segment in segments)
    assert descriptors(tmp_path) == 3


def test_who_works_with_a_file_keeps_it(tmp_path: Path) -> None:
    first = closed_segment(tmp_path, 0)
    file = first.take_file()
    others = closed_segments(tmp_path / "others", 4)
    assert not is_open(first) and is_open(others[-1])
    assert os.pread(file.fd, 8, 0) == bytes(8)
    fd = file.fd
    del file
    with pytest.raises(OSError):
        os.fstat(fd)


def test_an_active_segment_is_never_closed(tmp_path: Path) -> None:
    active, _ = filled_segment(tmp_path, 1, base_offset=1000)
    segments = closed_segments(tmp_path, 5)
    assert is_open(active)
    segments[0].set_trimmed(False)  # takes appends again
    assert is_open(segments[0])
    others = closed_segments(tmp_path / "others", 5)
    assert is_open(segments[0]) and is_open(others[-1])


def test_a_segment_that_goes_leaves_the_list(tmp_path: Path) -> None:
    segments = closed_segments(tmp_path, 3)
    assert log_file.stats()[0] == 3
    del segments[1]
    assert log_file.stats()[0] == 2
    segments.append(closed_segment(tmp_path, 3))
    assert all(is_open(segment) for segment in segments)


def test_a_closed_segment_is_not_opened_again(tmp_path: Path) -> None:
    segment = closed_segment(tmp_path, 0)
    segment.close()
    assert not is_open(segment)
    with pytest.raises(OSError, match="Bad file"):
        segment.take_file()
    with pytest.raises(OSError, match="Bad file"):
        segment.read_at(0, 10)


def test_a_file_that_is_gone_is_an_error_of_the_read(tmp_path: Path) -> None:
    segments = closed_segments(tmp_path, 4)
    os.unlink(segments[0].log_path)
    error, found, *_ = read(segments, 3, 100, 4 * BATCHES)
    assert (error, found) == (56, None)
    with pytest.raises(FileNotFoundError):
        segments[0].read_at(0, 10)


def test_without_descriptors_others_are_closed(tmp_path: Path) -> None:
    log_file.set_limit(100)
    segments = closed_segments(tmp_path, 8)
    log_file.set_limit(7)
    assert not is_open(segments[0])
    log_file.set_limit(100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            assert segments[0].read_at(0, 10)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert is_open(segments[0])
    assert sum(map(is_open, segments)) < 8


def test_the_limit_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least one"):
        log_file.set_limit(0)

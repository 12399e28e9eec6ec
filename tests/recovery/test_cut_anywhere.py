"""A log that is cut at any byte, or whose bytes rot, is opened as a prefix of what was written.

The files are those of a log that never synced anything: recovery has to look at all of it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.oracle.storage.log_driver import LogDriver, make_batch

CONFIG = {
    "internal.segment.bytes": "900",
    "index.interval.bytes": "100",
    "segment.index.bytes": "1200",
    "message.timestamp.after.max.ms": str(2**62),
}
BATCHES = 24


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A log of several segments, left as a killed process leaves it, and its batches."""
    folder = tmp_path_factory.mktemp("written") / "log"
    folder.mkdir()
    driver = LogDriver(str(folder), CONFIG)
    log = driver.open()
    batches = []
    for i in range(BATCHES):
        now = driver.clock.wall_ms() + i
        codec = (0, 0, 4, 1)[i % 4]
        batch = make_batch([now] * (1 + i % 3), 10 + i, codec)
        base = driver.produce(batch.data, i // 6)[2]
        batches.append(log.read_bytes(base, 1))
    driver.close(clean=False)
    driver.shut()
    return folder, batches


def logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def reopened(folder: Path, recovery_point: int = 0) -> tuple[bytes, int]:
    """Everything that can be read from the log, and its end offset. Appends must work, too."""
    driver = LogDriver(str(folder), CONFIG)
    try:
        log = driver.open(recovery_point=recovery_point)
        data, offset = b"", log.core.log_start_offset
        end = log.core.log_end_offset
        while offset < end:
            piece = log.read_bytes(offset, 2**31)
            data += piece
            offset = next(
                segment.next_offset
                for segment in log.core.segment_list
                if segment.next_offset > offset
            )
        assert driver.produce(make_batch([10**12]).data, 9)[2] == end
        assert log.core.log_end_offset == end + 1
    finally:
        driver.shut()
    return data, end


def copy_of(folder: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target


def prefix_ends(batches: list[bytes]) -> list[int]:
    ends = [0]
    for batch in batches:
        ends.append(ends[-1] + len(batch))
    return ends


def test_nothing_lost_without_damage(written: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    folder, batches = written
    assert len(logs(folder)) > 2
    data, _ = reopened(copy_of(folder, tmp_path))
    assert data == b"".join(batches)


def test_cut_at_any_byte(written: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    """As if the disk had kept the first N bytes of all that was appended, in order."""
    folder, batches = written
    ends = prefix_ends(batches)
    sizes = [path.stat().st_size for path in logs(folder)]
    for kept in range(0, sum(sizes) + 1, 7):
        target = copy_of(folder, tmp_path)
        left = kept
        for path, size in zip(logs(target), sizes, strict=True):
            os.truncate(path, min(size, left))
            left = max(left - size, 0)
        data, _ = reopened(target)
        assert len(data) == max(end for end in ends if end <= kept), kept
        assert data == b"".join(batches)[: len(data)]


def test_any_file_may_lose_its_end(written: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    """Also one in the middle: what follows it is not shown as if nothing were missing."""
    folder, batches = written
    whole = b"".join(batches)
    ends = prefix_ends(batches)
    start = 0
    for number, path in enumerate(logs(folder)):
        size = path.stat().st_size
        for kept in range(0, size, 41):
            target = copy_of(folder, tmp_path)
            os.truncate(logs(target)[number], kept)
            data, _ = reopened(target)
            assert data == whole[: max(end for end in ends if end <= start + kept)], (number, kept)
        start += size


def test_any_byte_may_rot(written: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    """The result is a prefix that ends at or before the rotten batch, or, where the byte is outside
    every checksum, the whole with that byte."""
    folder, batches = written
    whole = b"".join(batches)
    ends = prefix_ends(batches)
    start = 0
    for number, path in enumerate(logs(folder)):
        size = path.stat().st_size
        for at in range(0, size, 29):
            target = copy_of(folder, tmp_path)
            rotten = logs(target)[number]
            content = bytearray(rotten.read_bytes())
            content[at] ^= 0x41
            rotten.write_bytes(content)
            data, _ = reopened(target)
            before = max(end for end in ends if end <= start + at)
            inside = start + at - before
            if 12 <= inside < 16:  # the leader epoch
                assert len(data) == len(whole)
            elif inside < 8:  # the base offset: ascending ones cannot be told from a gap
                assert data[:before] == whole[:before]
            else:
                assert data == whole[:before], (number, at)
        start += size


def test_recovery_is_the_same_when_it_is_repeated(
    written: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    folder, _ = written
    target = copy_of(folder, tmp_path)
    last = logs(target)[-1]
    os.truncate(last, last.stat().st_size - 3)
    driver = LogDriver(str(target), CONFIG)
    log = driver.open()
    end = log.core.log_end_offset
    driver.close(clean=False)
    for _ in range(3):
        log = driver.open()
        assert log.core.log_end_offset == end
        assert driver.report is not None
        assert not driver.report.eventful
        driver.close(clean=False)
    driver.shut()

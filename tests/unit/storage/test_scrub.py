"""Tests of scrubbing: every kind of damage is named where it is, and nothing else is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.oracle.storage.log_driver import LogDriver, make_batch
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.scrub import Damage, Scrubbed, find_logs, find_segments, scrub_segment
from tidelog.storage.segment_files import mark_deleted

CONFIG = {"internal.segment.bytes": "1000", "message.timestamp.after.max.ms": str(2**62)}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three full segments and one more, nine equal batches in each."""
    folder = tmp_path / "topic-0"
    folder.mkdir()
    driver = LogDriver(str(folder), CONFIG)
    driver.open()
    for i in range(30):
        assert driver.produce(make_batch([i], 20).data)[0] == 0
    driver.close()
    driver.shut()
    return folder


def scrub(log: Path) -> list[Scrubbed]:
    found = [scrub_segment(SYSTEM_FILES, one) for one in find_segments(SYSTEM_FILES, str(log))]
    return [one for one in found if one is not None]


def damage(log: Path) -> list[Damage]:
    return [one for found in scrub(log) for one in found.damage]


def segments(log: Path) -> list[Path]:
    return sorted(log.glob("*.log"))


def batch_size(log: Path) -> int:
    return segments(log)[0].stat().st_size // int(segments(log)[1].stem)


def change(path: Path, position: int, value: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= value
    path.write_bytes(data)


def test_a_good_log(log: Path) -> None:
    found = scrub(log)
    assert [one.damage for one in found] == [()] * len(found)
    assert [one.digest for one in found] == [True] * (len(found) - 1) + [False]
    assert sum(one.batches for one in found) == 30
    assert [one.bytes_read for one in found] == [path.stat().st_size for path in segments(log)]
    assert [one.segment.last for one in found] == [False] * (len(found) - 1) + [True]


def test_a_segment_that_is_gone(log: Path) -> None:
    """Its digest tells of it. Who removes a segment renames its log first, then the rest."""
    path = segments(log)[1]
    kept = path.rename(path.with_suffix(".log.deleted"))
    assert damage(log) == []
    kept.unlink()
    assert damage(log) == [Damage(str(path), "the file is gone, its digest is there")]
    path.with_suffix(".digest").unlink()
    assert damage(log) == []


def test_a_changed_record(log: Path) -> None:
    size = batch_size(log)
    change(segments(log)[1], 2 * size + 70)
    base = int(segments(log)[1].stem)
    assert damage(log) == [Damage(str(segments(log)[1]), "wrong checksum", 2 * size, base + 2)]


def test_a_changed_header_without_a_checksum(log: Path) -> None:
    """Base offset and leader epoch stand before what a batch's checksum covers."""
    change(segments(log)[0], 15, 1)
    assert [one.problem for one in damage(log)] == [
        "headers of batches are not those that were written"
    ]


def test_a_header_that_is_none(log: Path) -> None:
    size = batch_size(log)
    change(segments(log)[0], size + 16)
    assert damage(log) == [Damage(str(segments(log)[0]), "no batch where one should be", size, 1)]


def test_a_lost_end(log: Path) -> None:
    path, size = segments(log)[0], batch_size(log)
    os.truncate(path, path.stat().st_size - 2 * size)
    left = path.stat().st_size
    assert damage(log) == [
        Damage(str(path), f"{2 * size} bytes are missing at its end", left, left // size)
    ]


def test_more_than_there_was(log: Path) -> None:
    path, last = segments(log)[0], segments(log)[-1]
    before = path.stat().st_size
    path.write_bytes(path.read_bytes() + last.read_bytes())
    assert damage(log) == [Damage(str(path), f"{last.stat().st_size} bytes too many", before)]


def test_a_torn_end_is_told_as_what_it_is(log: Path) -> None:
    path = segments(log)[-1]
    with path.open("ab") as file:
        file.write(b"torn")
    (found,) = damage(log)
    assert found.problem.startswith("less than a batch is left")
    assert "start cuts" in found.problem
    assert found.offset == 30


def test_a_digest_that_cannot_be_read(log: Path) -> None:
    segments(log)[0].with_suffix(".digest").write_text("?")
    assert [one.problem.split(":")[0] for one in damage(log)] == ["digest cannot be read"]


def test_without_digests_the_checksums_are_left(log: Path) -> None:
    for path in log.glob("*.digest"):
        path.unlink()
    assert [one.digest for one in scrub(log)] == [False] * len(segments(log))
    change(segments(log)[0], 70)
    assert [one.position for one in damage(log)] == [0]


def test_a_segment_that_goes_meanwhile(log: Path) -> None:
    first, second, *_ = find_segments(SYSTEM_FILES, str(log))
    mark_deleted(SYSTEM_FILES, str(log), [first.base_offset])
    assert scrub_segment(SYSTEM_FILES, first) is None
    segments(log)[0].unlink()
    lost = scrub_segment(SYSTEM_FILES, second)
    assert lost is not None
    assert [one.problem for one in lost.damage] == ["the file is gone, its digest is there"]


def test_find_logs(log: Path, tmp_path: Path) -> None:
    assert find_logs(SYSTEM_FILES, str(log)) == [str(log)]
    shutil.copytree(log, tmp_path / "topic-1")
    (tmp_path / "other").mkdir()
    assert find_logs(SYSTEM_FILES, str(tmp_path)) == [str(log), str(tmp_path / "topic-1")]

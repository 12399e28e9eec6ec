"""Tests of the checks of a segment with its indexes: each defect is found, a sound one has none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.native.log_harness import filled_segment
from tidelog.cli.log_checks import verify


@pytest.fixture
def log(tmp_path: Path) -> Path:
    segment, _ = filled_segment(tmp_path, 30)
    segment.seal()
    return Path(segment.log_path)


def problems(log: Path) -> list[str]:
    return [line.fields["problem"] for line in verify(log)]


def put(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_sound_segment(log: Path) -> None:
    assert problems(log) == []
    log.with_suffix(".index").unlink()
    log.with_suffix(".timeindex").unlink()
    assert problems(log) == []


def test_a_wrong_checksum(log: Path) -> None:
    put(log, 100, b"\xff")
    (problem,) = problems(log)
    assert "wrong checksum" in problem


def test_an_offset_twice(log: Path) -> None:
    size = log.stat().st_size // 30
    put(log, 5 * size, struct.pack(">q", 3))
    assert any("offset 3 follows 4" in problem for problem in problems(log))


@pytest.mark.parametrize(
    ("entry", "hint"),
    [((5, 7), "no batch at position 7"), ((3, 0), "the batch at position 0 ends at 0")],
)
def test_a_wrong_entry_of_the_offset_index(log: Path, entry: tuple[int, int], hint: str) -> None:
    put(log.with_suffix(".index"), 0, struct.pack(">ii", *entry))
    assert any(hint in problem for problem in problems(log))


def test_entries_that_do_not_ascend(log: Path) -> None:
    index = log.with_suffix(".index")
    put(index, 8, index.read_bytes()[:8])
    assert any("do not ascend" in problem for problem in problems(log))


def test_a_wrong_entry_of_the_time_index(log: Path) -> None:
    index = log.with_suffix(".timeindex")
    timestamp, offset = struct.unpack(">qi", index.read_bytes()[:12])
    put(index, 0, struct.pack(">qi", timestamp + 1, offset))
    assert any("largest timestamp" in problem for problem in problems(log))
    put(index, 0, struct.pack(">qi", timestamp, 1000))
    assert any("offset 1000 is not in the log" in problem for problem in problems(log))

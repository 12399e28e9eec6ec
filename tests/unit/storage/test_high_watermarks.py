"""The checkpoint of high watermarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidelog.storage.checkpoints import REPLICATION_CHECKPOINT, read_offsets, write_offsets
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.high_watermarks import HighWatermarks


class Log:
    def __init__(self, index: int, high_watermark: int | None, replicated: bool = True) -> None:
        self.topic, self.index = "t", index
        self.is_replicated = replicated
        self.high_watermark = None if high_watermark is None else lambda: high_watermark


async def run(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def over(directory: Path, *logs: Log) -> HighWatermarks:
    return HighWatermarks(SYSTEM_FILES, str(directory), run, lambda: logs)  # type: ignore[return-value, arg-type]


async def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / REPLICATION_CHECKPOINT
    marks = over(tmp_path, Log(0, 17), Log(1, 5, replicated=False), Log(2, None), Log(3, 0))
    await marks.load()
    assert not path.exists()
    await marks.write()
    assert read_offsets(str(path)) == {("t", 0): 17, ("t", 3): 0}
    again = over(tmp_path)
    await again.load()
    assert [again.take("t", index) for index in (0, 0, 1, 3)] == [17, -1, -1, 0]


async def test_only_changes_are_written(tmp_path: Path) -> None:
    path = tmp_path / REPLICATION_CHECKPOINT
    marks = over(tmp_path, Log(0, 17))
    await marks.load()
    await marks.write()
    path.unlink()
    await marks.write()
    assert not path.exists()


async def test_what_is_not_served_yet_keeps_its_entry(tmp_path: Path) -> None:
    path = str(tmp_path / REPLICATION_CHECKPOINT)
    write_offsets(path, {("t", 0): 1, ("late", 4): 9})
    marks = over(tmp_path, Log(0, 3))
    await marks.load()
    assert marks.take("t", 0) == 1
    await marks.write()
    assert read_offsets(path) == {("t", 0): 3, ("late", 4): 9}


async def test_a_damaged_file_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / REPLICATION_CHECKPOINT).write_text("0\n2\nt 0 1\n")
    marks = over(tmp_path)
    await marks.load()
    assert marks.take("t", 0) == -1
    assert "high watermarks not known" in caplog.text

"""Tests of the delayed removal of files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.removal import Removal

HOUR_MS = 3_600_000


@pytest.fixture
async def executor() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def files_in(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).write_bytes(b"")
    return [str(folder / name) for name in names]


async def until_gone(path: str) -> None:
    while Path(path).exists():
        await asyncio.sleep(0.001)


async def test_files_go_when_their_time_comes(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    removal = Removal(SYSTEM_FILES, executor)
    soon, late = files_in(tmp_path, "soon", "late")
    removal.unlink_later([late], HOUR_MS)
    removal.unlink_later([soon, str(tmp_path / "not there")], 0)
    assert set(removal.pending) == {soon, late, str(tmp_path / "not there")}
    await until_gone(soon)
    assert removal.pending == [late]
    await removal.close(unlink=False)
    assert Path(late).exists()
    assert removal.pending == []


async def test_a_clean_end_removes_at_once(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    removal = Removal(SYSTEM_FILES, executor)
    paths = files_in(tmp_path, "a", "b")
    removal.unlink_later(paths, HOUR_MS)
    await removal.close(unlink=True)
    assert not any(Path(path).exists() for path in paths)


async def test_a_file_that_cannot_be_removed_does_not_keep_the_others(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    class Failing(Files):
        def unlink(self, path: str) -> bool:
            if path.endswith("a"):
                raise OSError("held")
            return super().unlink(path)

    removal = Removal(Failing(), executor)
    held, other = files_in(tmp_path, "a", "b")
    removal.unlink_later([held, other], HOUR_MS)
    await removal.close(unlink=True)
    assert Path(held).exists()
    assert not Path(other).exists()

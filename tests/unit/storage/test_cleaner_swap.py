"""Every point at which a swap may be left: the start completes it or undoes it."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.native.log_harness import SETTINGS
from tests.unit.storage.cleaner_fixtures import Compacted, compacted
from tidelog.errors import StorageError
from tidelog.storage.cleaner_pass import copy_group
from tidelog.storage.cleaner_swap import new_names, replace, stage
from tidelog.storage.files import Files
from tidelog.storage.loader import LoadRequest, load_log
from tidelog.storage.segment_files import SEGMENT_SUFFIXES, path_of

#: .log, .index, .timeindex, .digest
FILES = 4


class CountingFiles(Files):
    """Ends by an error before the operation number `end`."""

    def __init__(self, end: int) -> None:
        self.left = end

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def unlink(self, path: str) -> bool:
        self._count()
        return super().unlink(path)

    def rename(self, old: str, new: str) -> None:
        self._count()
        super().rename(old, new)

    def sync_directory(self, path: str) -> None:
        self._count()
        super().sync_directory(path)


async def prepared(tmp_path: Path) -> tuple[Path, list[int], set[int], Compacted]:
    """A log before a cleaning, with the first segment's `.cleaned` files; the bases of what that
    replaces, and what stands in those."""
    async with compacted(tmp_path / "node", file_delete_delay_ms="3600000") as node:
        await node.fill(40, keys=30)
        await node.manager.cleaner.clean_next()
        await node.fill(20, keys=30)
        await node.manager.checkpoint()
        records = node.records()
        old = [segment.base_offset for segment in node.log.core.segment_list]
        before = tmp_path / "before"
        shutil.copytree(node.directory, before)
        await node.manager.cleaner.clean_next()
        left = [path_of(node.log.directory, 0, suffix) for suffix in SEGMENT_SUFFIXES]
        for path in filter(node.files.exists, left):
            shutil.copy(path, before / "t-0" / f"{Path(path).name}.cleaned")
        following = node.log.core.segment_list[1].base_offset
        bases = [base for base in old if base < following]
        assert len(bases) > 2
        return before, bases, {offset for offset in records if offset < following}, node


@pytest.mark.parametrize("end", range(30))
async def test_a_swap_that_ends_anywhere_is_completed_or_undone(tmp_path: Path, end: int) -> None:
    before, bases, standing, made = await prepared(tmp_path)
    folder = str(before / "t-0")
    files = CountingFiles(end)
    paths = new_names(folder, bases[0], has_txn_index=False)
    with suppress(KeyboardInterrupt):
        stage(files, folder, paths)
        replace(files, folder, paths, bases)
    node = Compacted(str(before), {"file.delete.delay.ms": "0"}, appended=made.appended)
    await node.start()
    try:
        found, expected = node.records(), node.expected()
        assert all(made.appended[offset] == value for offset, value in found.items())
        assert found.items() >= expected.items()
        # From the last `.cleaned` name on the new segment counts, and not before.
        following = max(standing) + 1
        below = {offset for offset in found if offset < following}
        left = {offset for offset in expected if offset < following}
        assert left < standing
        assert below == (standing if end < FILES else left)
        assert not [n for n in node.names() if n.endswith((".cleaned", ".swap", ".deleted"))]
        assert not node.log.report.eventful
    finally:
        await node.stop()


@pytest.mark.parametrize("end", range(10))
async def test_throwing_a_swap_away_may_be_interrupted(tmp_path: Path, end: int) -> None:
    before, bases, standing, made = await prepared(tmp_path)
    folder = str(before / "t-0")
    with suppress(KeyboardInterrupt):
        stage(CountingFiles(FILES - 1), folder, new_names(folder, bases[0], has_txn_index=False))
    first = CountingFiles(end)
    with suppress(KeyboardInterrupt):
        load_log(first, LoadRequest(folder, SETTINGS, 0, clean=True, compacted=True))
    node = Compacted(str(before), appended=made.appended)
    await node.start()
    try:
        assert {offset for offset in node.records() if offset <= max(standing)} == standing
        assert not [n for n in node.names() if n.endswith((".cleaned", ".swap"))]
    finally:
        await node.stop()


async def test_want_of_room_for_a_rename_undoes_the_swap(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        await node.manager.checkpoint()
        before = node.records()
        node.files.errors["rename"] = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert await node.manager.cleaner.clean_next() is False
        node.files.errors.clear()
        assert not node.log.offline
        assert node.records() == before
        assert not [name for name in node.names() if ".cleaned" in name or ".swap" in name]
        assert all(segment.trimmed for segment in node.log.core.segment_list[:-1])
        node.clock.advance(node.settings.log_cleaner_backoff_ms + 1)
        assert await node.manager.cleaner.clean_next()
        assert node.records() == node.expected()


async def test_a_segment_that_is_gone_is_not_replaced(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        cleaner = node.manager.cleaner
        copied = cleaner._work_on
        truncated = False

        async def then_truncate(function: object, *args: object) -> object:
            nonlocal truncated
            result = await copied(function, *args)  # type: ignore[arg-type]
            if function is copy_group and not truncated:
                truncated = True
                removed = node.log.core.remove_first_segments(1)
                assert removed
            return result

        cleaner._work_on = then_truncate  # type: ignore[method-assign,assignment]
        segments = node.log.core.segment_list[1:]
        assert await cleaner.clean_next() is False
        assert node.log.core.segment_list == segments
        assert not [name for name in node.names() if ".cleaned" in name]


async def test_an_offline_log_is_left_alone(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        chosen = await node.manager.cleaner.choose()
        assert chosen is not None
        node.log.fence(StorageError("the disk is gone"))
        assert await node.manager.cleaner.choose() is None
        assert await node.manager.cleaner._start(*chosen) is False
        assert not [name for name in node.names() if ".cleaned" in name]

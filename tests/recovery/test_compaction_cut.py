"""Power cuts at every operation of a compacted log's life, and a disk that fails at any of them.

Every rename, write and sync of a compaction is among them; so is every one of the recoveries that
complete it or throw it away.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recovery.disk.compaction import (
    CompactionScript,
    Marks,
    State,
    check,
    check_producer,
    started,
)
from tests.recovery.disk.disk import Disk, Image, write_image
from tests.recovery.disk.operations import Operation
from tests.recovery.disk.part import ONE_IN, part
from tests.recovery.disk.recording import RecordingFiles, UnsyncedFiles
from tests.recovery.disk.script import Halted
from tidelog.errors import KafkaError, StorageError, SyncError

MIXTURES = 2
EVERY_NTH_RECOVERY = 100


def life(folder: Path) -> tuple[list[Operation], Marks, CompactionScript]:
    folder.mkdir()
    files = RecordingFiles(str(folder))
    marks = Marks(lambda: len(files.journal))
    script = CompactionScript(str(folder), files, marks)
    try:
        asyncio.run(script.run())
    finally:
        files.close_watched()
    return files.journal, marks, script


def cuts(journal: list[Operation], marks: Marks) -> Iterator[tuple[str, Image, State]]:
    disk, seen, rng = Disk(), set(), random.Random(3)
    for i, operation in enumerate(journal):
        disk.apply(operation)
        state = marks.at(i + 1)
        for kept, image in disk.images(rng, MIXTURES):
            key = hash((tuple(sorted(image.items(), key=lambda item: item[0])), state))
            if key not in seen:
                seen.add(key)
                yield f"behind operation {i + 1} ({operation!r:.60}), {kept}", image, state


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def on(self, image: Image) -> Path:
        self.count += 1
        path = self.folder / f"disk-{self.count}"
        write_image(image, str(path))
        return path

    async def recover(self, image: Image, state: State, *, further: bool) -> dict[int, object]:
        path = self.on(image)
        try:
            async with started(str(path), UnsyncedFiles()) as manager:
                found = await check(manager, state)
            if further:
                async with started(str(path), UnsyncedFiles()) as manager:
                    assert await check(manager, state) == found
                    check_producer(manager)
                    log = manager.get("t", 0)
                    if log is not None and log.core.segment_list:
                        await log.roll(force=True)
                        await log.flush()
                        await manager.cleaner.clean_next()
                        end = log.core.log_end_offset
                        await check(
                            manager, State(state.records, state.durable_end, touched_end=end)
                        )
        finally:
            shutil.rmtree(path)
        return dict(found)

    async def recover_in_pieces(self, image: Image, state: State) -> int:
        """Cuts the recovery itself behind its every operation. Returns how many there were."""
        path = self.on(image)
        files = RecordingFiles(str(path))
        before = len(files.journal)
        try:
            async with started(str(path), files) as manager:
                found = await check(manager, state)
        finally:
            files.close_watched()
            shutil.rmtree(path)
        disk = Disk()
        for i, operation in enumerate(files.journal):
            disk.apply(operation)
            if i >= before:
                for kept, again in disk.images(random.Random(i), 1):
                    result = await self.recover(again, state, further=False)
                    assert result == found, f"recovery cut behind {operation!r}, {kept}"
        return len(files.journal) - before


def test_a_power_cut_at_any_point_of_a_compaction_loses_no_last_value(folder: Path) -> None:
    journal, marks, script = life(folder / "life")
    assert script.cleanings == 4
    world = World(folder)

    async def recover_all() -> tuple[int, int]:
        recovered = in_pieces = 0
        for where, image, state in part(cuts(journal, marks)):
            recovered += 1
            try:
                await world.recover(image, state, further=recovered % 6 == 0)
                if recovered % EVERY_NTH_RECOVERY == 0:
                    in_pieces += await world.recover_in_pieces(image, state)
            except Exception as error:
                raise AssertionError(where) from error
        return recovered, in_pieces

    recovered, in_pieces = asyncio.run(recover_all())
    print(f"{len(journal)} operations, {recovered} disks, {in_pieces} cuts of recoveries")
    assert recovered * ONE_IN > len(journal)
    assert in_pieces * ONE_IN > 50


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["io-error", "no-room"])
def test_a_disk_that_fails_during_a_compaction_loses_nothing(code: int, folder: Path) -> None:
    kinds: list[str] = []
    (folder / "untroubled").mkdir()
    files = RecordingFiles(str(folder / "untroubled"), lambda _, kind: kinds.append(kind))
    asyncio.run(
        CompactionScript(str(folder / "untroubled"), files, Marks(lambda: len(files.journal))).run()
    )
    files.close_watched()
    outcomes: Counter[str] = Counter()
    for at, kind in part(enumerate(kinds, 1)):
        if kind in ("read", "lock") or (
            code == errno.ENOSPC and kind in ("open", "unlink", "rmdir")
        ):
            continue
        path = folder / f"life-{at}"
        try:
            outcomes[asyncio.run(_troubled(path, at, code))] += 1
        except Exception as error:
            raise AssertionError(f"{os.strerror(code)} at operation {at} ({kind})") from error
        shutil.rmtree(path)
    print(f"{os.strerror(code)}: {dict(outcomes)}")
    assert outcomes["served"]
    assert outcomes["offline"] or code == errno.ENOSPC


async def _troubled(path: Path, at: int, code: int) -> str:
    def trouble(number: int, kind: str) -> None:
        if number == at:
            raise (SyncError if kind == "sync" else OSError)(code, os.strerror(code))

    path.mkdir()
    files = RecordingFiles(str(path), trouble)
    marks = Marks(lambda: len(files.journal))
    script = CompactionScript(str(path), files, marks)
    outcome = "served"
    try:
        await script.run()
    except (Halted, OSError, StorageError, KafkaError):
        manager = script.manager
        log = manager.get("t", 0) if manager is not None else None
        outcome = "offline" if log is not None and log.offline else "halted"
        if manager is not None:
            await manager.close(clean=False)
    finally:
        files.close_watched()
    # Only the process is gone: everything that was appended is there.
    state = marks.now
    async with started(str(path), UnsyncedFiles()) as manager:
        await check(manager, State(state.records, state.durable_end, state.touched_end))
    return outcome

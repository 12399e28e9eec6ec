"""Power cuts at every operation of a node's life, for every durability level.

After each operation of the script the disk may hold many things (disk/disk.py); on each of them a
node is started and must find a piece of what was written that ends not before what was synced.
That recovery is itself cut at its every operation, and must come to the same.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.recovery.disk.checks import check, check_appends
from tests.recovery.disk.disk import Disk, Image, write_image
from tests.recovery.disk.operations import Operation
from tests.recovery.disk.part import ONE_IN, part
from tests.recovery.disk.recording import RecordingFiles, UnsyncedFiles
from tests.recovery.disk.script import LEVELS, Batch, Expectation, Ledger, Script, started

MIXTURES = 2
#: Of that many recoveries one is cut at its every operation.
EVERY_NTH_RECOVERY = 25


@dataclass
class Cut:
    """One state that the disk may be in."""

    operations: int
    after: str
    kept: str
    image: Image
    expectation: Expectation

    def __str__(self) -> str:
        return f"cut behind operation {self.operations} ({self.after[:60]}), {self.kept}"


def life(folder: Path, level: str) -> tuple[list[Operation], Ledger]:
    """Runs the script; what it did to the disk, and what has to be left of it."""
    files = RecordingFiles(str(folder))
    ledger = Ledger(lambda: len(files.journal))
    try:
        asyncio.run(Script(str(folder), files, level, ledger).run())
    finally:
        files.close_watched()
    return files.journal, ledger


def cuts(journal: list[Operation], ledger: Ledger, rng: random.Random) -> Iterator[Cut]:
    """The states that differ, each once for what is expected of it."""
    disk, seen = Disk(), set()
    for i, operation in enumerate(journal):
        disk.apply(operation)
        expectation = ledger.at(i + 1)
        for kept, image in disk.images(rng, MIXTURES):
            key = (tuple(sorted(image.items(), key=lambda item: item[0])), expectation)
            if hash(key) not in seen:
                seen.add(hash(key))
                yield Cut(i + 1, repr(operation), kept, image, expectation)


class World:
    """Folders for one disk after the other."""

    def __init__(self, folder: Path, level: str) -> None:
        self.folder = folder
        self.level = level
        self.count = 0

    def on(self, image: Image) -> Path:
        self.count += 1
        path = self.folder / f"disk-{self.count}"
        write_image(image, str(path))
        return path

    async def recover(
        self, image: Image, expectation: Expectation, *, further: bool = False
    ) -> tuple[int, tuple[Batch, ...]]:
        """What a start finds; with `further` it is started once more, and written to."""
        path = self.on(image)
        try:
            async with started(str(path), UnsyncedFiles(), self.level) as manager:
                found = check(manager, expectation)
            if further:
                async with started(str(path), UnsyncedFiles(), self.level) as manager:
                    assert check(manager, expectation) == found
                    await check_appends(manager, found[1])
        finally:
            shutil.rmtree(path)
        return found

    async def recover_in_pieces(self, image: Image, expectation: Expectation) -> int:
        """Cuts the recovery itself behind its every operation. Returns how many there were."""
        path = self.on(image)
        files = RecordingFiles(str(path))
        before = len(files.journal)
        try:
            async with started(str(path), files, self.level) as manager:
                found = check(manager, expectation)
        finally:
            files.close_watched()
            shutil.rmtree(path)
        disk = Disk()
        for i, operation in enumerate(files.journal):
            disk.apply(operation)
            if i >= before:
                for kept, again in disk.images(random.Random(i), 1):
                    result = await self.recover(again, expectation)
                    assert result == found, f"recovery cut behind {operation!r}, {kept}"
        return len(files.journal) - before


@pytest.mark.parametrize("level", LEVELS)
def test_a_power_cut_loses_nothing_that_was_synced(level: str, folder: Path) -> None:
    (folder / "life").mkdir()
    journal, ledger = life(folder / "life", level)
    world = World(folder, level)

    async def recover_all() -> tuple[int, int]:
        recovered = in_pieces = 0
        for cut in part(cuts(journal, ledger, random.Random(level))):
            recovered += 1
            try:
                await world.recover(cut.image, cut.expectation, further=recovered % 5 == 0)
                if recovered % EVERY_NTH_RECOVERY == 0:
                    in_pieces += await world.recover_in_pieces(cut.image, cut.expectation)
            except Exception as error:
                raise AssertionError(str(cut)) from error
        return recovered, in_pieces

    recovered, in_pieces = asyncio.run(recover_all())
    print(f"{level}: {len(journal)} operations, {recovered} disks, {in_pieces} cuts of recoveries")
    assert recovered * ONE_IN > len(journal)
    assert in_pieces * ONE_IN > 50

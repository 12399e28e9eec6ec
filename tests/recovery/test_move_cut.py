"""Power cuts at every operation of a log's move to another log directory, with appends in between:
whatever was durable is served from one of the two, and the move ends after the next start.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.recovery.disk.compaction import Marks, State
from tests.recovery.disk.disk import Disk, Image, write_image
from tests.recovery.disk.part import part
from tests.recovery.disk.recording import RecordingFiles, UnsyncedFiles
from tests.recovery.disk.script import append, make_batch, node
from tests.unit.native.log_harness import NOW
from tests.unit.storage.test_log_directories import Throttle
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.record.builder import Producer
from tidelog.storage.files import Files
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_directories import LogDirectories
from tidelog.storage.manager import KnownLog

ID: Final = bytes(range(16))
CONFIG: Final = TopicConfig.resolve(
    {
        "message.timestamp.after.max.ms": str(2**62),
        "internal.segment.bytes": "260",
        "segment.index.bytes": "128",
        "file.delete.delay.ms": "0",
    }
)
BEFORE: Final = 7
MIXTURES: Final = 1


def directory(root: Path, name: str) -> str:
    return str(root / name / "node-1")


def made(root: Path, files: Files) -> LogDirectories:
    clock = ManualClock(NOW)
    managers = [node(directory(root, name), files, clock) for name in "ab"]
    return LogDirectories(managers, clock, Throttle())


@asynccontextmanager
async def started(root: Path, files: Files) -> AsyncIterator[tuple[LogDirectories, PartitionLog]]:
    logs = made(root, files)
    await logs.begin([KnownLog("t", ID, 0, CONFIG)], set_strays_aside=True)
    await logs.opened()
    try:
        held = logs.get("t", 0)
        yield logs, held or await logs.create("t", ID, 0, CONFIG)
    finally:
        await logs.close(clean=False)


async def end_of_moves(logs: LogDirectories) -> None:
    while any(view.moves for view in logs.views()):
        await asyncio.sleep(0)


def content(log: PartitionLog) -> bytes:
    return b"".join(segment.read_at(0, segment.size) for segment in log.core.segment_list)


class Life:
    """A log is filled, moves to b while it is filled further, and then back to a."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in "ab":
            Path(directory(root, name)).mkdir(parents=True)
        self.files = RecordingFiles(str(root))
        self.marks = Marks(lambda: len(self.files.journal))
        self.content = b""
        self.appended = 0

    async def run(self) -> None:
        async with started(self.root, self.files) as (logs, log):

            def progress() -> None:
                if log.core.flushed_offset > self.marks.now.durable_end:
                    self.marks.change(durable_end=log.core.flushed_offset)

            log.on_progress = progress
            for _ in range(BEFORE):
                await self._append(log)
            await log.flush()
            await self._append(log)
            for name in "ba":
                logs.move(log, directory(self.root, name))
                for _ in range(4):
                    await asyncio.sleep(0)
                    await self._append(log)
                await end_of_moves(logs)
                assert log.directory.startswith(directory(self.root, name))
                await self._append(log)
            await log.flush()
            self.content = content(log)
        self.files.close_watched()

    async def _append(self, log: PartitionLog) -> None:
        await append(log, make_batch(self.appended, 1, Producer(3, 0, self.appended)), 0)
        self.appended += 1


async def recover(root: Path, life: Life, state: State) -> None:
    """Starts on what was left, twice, and goes on."""
    found = b""
    for attempt in range(2):
        async with started(root, UnsyncedFiles()) as (logs, log):
            await end_of_moves(logs)
            assert logs.get("t", 0) is log and not log.offline
            assert log.core.log_end_offset >= state.durable_end
            now = content(log)
            if attempt:
                assert now == found
                # Its producer is known, and what comes next has its place.
                await append(log, make_batch(0, 1, Producer(3, 0, log.core.log_end_offset)), 0)
            assert life.content.startswith(now if not attempt else found)
            found = now
            names = [entry.name for name in "ab" for entry in Path(directory(root, name)).iterdir()]
            assert names.count("t-0") == 1
            assert not any(name.endswith("-future") for name in names)


def test_a_power_cut_at_any_point_of_a_move_loses_nothing(folder: Path) -> None:
    life = Life(folder / "life")
    asyncio.run(life.run())
    journal = life.files.journal

    def cuts() -> Iterator[tuple[str, Image, State]]:
        """The disks that differ, each once for what is expected of it."""
        disk, rng, seen = Disk(), random.Random(3), set()
        for i, operation in enumerate(journal):
            disk.apply(operation)
            state = life.marks.at(i + 1)
            for kept, image in disk.images(rng, MIXTURES):
                key = hash((tuple(sorted(image.items(), key=lambda item: item[0])), state))
                if key not in seen:
                    seen.add(key)
                    yield f"behind operation {i + 1} {operation!r:.80}, {kept}", image, state

    async def recover_all() -> int:
        count = 0
        for count, (where, image, state) in part(enumerate(cuts(), 1)):
            root = folder / f"disk-{count}"
            write_image(image, str(root))
            for name in "ab":
                Path(directory(root, name)).mkdir(parents=True, exist_ok=True)
            try:
                await recover(root, life, state)
            except Exception as error:
                raise AssertionError(where) from error
            shutil.rmtree(root)
        return count

    count = asyncio.run(recover_all())
    print(f"{len(journal)} operations, {count} disks")
    assert count > len(journal)

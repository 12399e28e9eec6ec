"""A disk that fails at any one operation of a node's life: with an I/O error, without room, without
descriptors.

Whatever it is: what was acknowledged is read as long as the log is served, and by the next start.
Without room a log is served on, takes appends again as soon as there is room, and is never offline
for want of room for an append. After an I/O error it may be offline, and says so.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.recovery.disk.checks import check, contents
from tests.recovery.disk.disk import Disk, write_image
from tests.recovery.disk.part import part
from tests.recovery.disk.recording import RecordingFiles, UnsyncedFiles
from tests.recovery.disk.script import (
    Expectation,
    Halted,
    Ledger,
    Script,
    append,
    make_batch,
    settle,
    started,
)
from tidelog.errors import NO_ROOM, KafkaError, StorageError, SyncError
from tidelog.record.builder import Producer
from tidelog.storage.log import PartitionLog

LEVEL = "flush-messages-4"
TAKES_A_DESCRIPTOR = ("open", "create", "open_or_create", "lock", "read", "sync_directory")
TAKES_ROOM = ("make_directory", "create", "open_or_create", "write", "rename", "reserve", "sync")
EVERYTHING = {*TAKES_A_DESCRIPTOR, *TAKES_ROOM, "truncate", "unlink", "rmdir", "sync_file_system"}
AFFECTED = {
    errno.EIO: EVERYTHING,
    errno.ENOSPC: {*TAKES_ROOM},
    errno.EMFILE: {*TAKES_A_DESCRIPTOR},
}


@dataclass
class Trouble:
    """Fails operation number `at` with `code`, and all that come after it while `lasting`."""

    at: int
    code: int
    lasting: bool
    over: bool = False

    def __call__(self, number: int, kind: str) -> None:
        if self.over or number < self.at or (number > self.at and not self.lasting):
            return
        if kind not in AFFECTED[self.code]:
            return
        raise (SyncError if kind == "sync" else OSError)(self.code, os.strerror(self.code))


@dataclass
class Life:
    """One run of the script with trouble in it."""

    script: Script
    files: RecordingFiles
    trouble: Trouble
    halted: BaseException | None = None
    outcome: str = "unnoticed"  # or "not started", "offline", "served"

    async def run(self) -> None:
        try:
            await self.script.run()
        except (Halted, OSError, StorageError, KafkaError) as error:
            self.halted = error
        manager = self.script.manager
        assert manager is not None
        log = manager.get("t", 0)
        if self.halted is not None:
            self.outcome = "not started"
            if log is not None:
                await settle(log)
                self.outcome = "offline" if log.offline else "served"
                await self.check_served(log)
        await manager.close(clean=False)

    async def check_served(self, log: PartitionLog) -> None:
        expectation = self.script.ledger.now
        if log.offline:
            assert log.failure is not None
            if self.trouble.code in NO_ROOM and self.script.doing == "produce":
                assert isinstance(log.failure, SyncError), log.failure
            with pytest.raises(KafkaError):
                log.read_bytes(log.core.log_start_offset, 100)
            with pytest.raises(Halted):
                await append(log, make_batch(1, 1, Producer()), log.core.leader_epoch)
            return
        assert contents(log)[-1:] == expectation.histories[-1][-1:]
        self.trouble.over = True
        if self.trouble.code in NO_ROOM:
            end = log.core.log_end_offset
            base, stored = await append(log, make_batch(1, 1, Producer()), log.core.leader_epoch)
            assert base == end
            assert contents(log)[-1].data == stored
            self.note_appended(log)
            await log.flush()
            await settle(log)
            assert not log.offline
            self.script.ledger.change(durable_end=log.core.log_end_offset)

    def note_appended(self, log: PartitionLog) -> None:
        ledger = self.script.ledger
        last = contents(log)[-1]
        ledger.change(histories=tuple((*h, last) for h in ledger.now.histories))


def all_acknowledged(expectation: Expectation) -> Expectation:
    """A process died, the machine did not: nothing that was appended is lost."""
    end = min((h[-1].last_offset + 1 if h else 0) for h in expectation.histories)
    return replace(expectation, durable_end=end)


def operations(folder: Path) -> list[str]:
    """The kinds of all operations of an untroubled life."""
    kinds: list[str] = []
    files = RecordingFiles(str(folder), lambda _, kind: kinds.append(kind))
    script = Script(str(folder), files, LEVEL, Ledger(lambda: len(files.journal)))
    asyncio.run(script.run())
    files.close_watched()
    return kinds


def live(folder: Path, trouble: Trouble) -> Life:
    folder.mkdir()
    files = RecordingFiles(str(folder), trouble)
    script = Script(str(folder), files, LEVEL, Ledger(lambda: len(files.journal)))
    life = Life(script, files, trouble)
    try:
        asyncio.run(life.run())
    finally:
        files.close_watched()
    return life


async def check_starts(life: Life, folder: Path) -> None:
    """After the process alone died, and after the power was cut."""
    expectation = life.script.ledger.now
    async with started(str(folder), UnsyncedFiles(), LEVEL) as manager:
        check(manager, all_acknowledged(expectation))
    disk = Disk()
    for operation in life.files.journal:
        disk.apply(operation)
    for i, (_, image) in enumerate(disk.images(random.Random(life.trouble.at), 1)):
        cut = folder.with_name(f"{folder.name}-cut-{i}")
        write_image(image, str(cut))
        async with started(str(cut), UnsyncedFiles(), LEVEL) as manager:
            check(manager, expectation)
        shutil.rmtree(cut)


@pytest.mark.parametrize(
    ("code", "lasting"),
    [(errno.EIO, False), (errno.ENOSPC, True), (errno.EMFILE, False)],
    ids=["one-io-error", "no-room-any-more", "one-open-without-descriptors"],
)
def test_trouble_at_any_operation_loses_nothing_acknowledged(
    code: int, lasting: bool, folder: Path
) -> None:
    (folder / "untroubled").mkdir()
    kinds = operations(folder / "untroubled")
    outcomes: Counter[str] = Counter()
    for at, kind in part(enumerate(kinds, 1)):
        assert kind in EVERYTHING
        if kind not in AFFECTED[code]:
            continue
        path = folder / f"life-{at}"
        try:
            life = live(path, Trouble(at, code, lasting))
            asyncio.run(check_starts(life, path))
        except Exception as error:
            raise AssertionError(f"{os.strerror(code)} at operation {at} ({kind})") from error
        outcomes[life.outcome] += 1
        shutil.rmtree(path)
    print(f"{os.strerror(code)}: {dict(outcomes)}")
    assert outcomes["served"] and outcomes["offline"]

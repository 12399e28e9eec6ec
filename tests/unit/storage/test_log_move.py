"""Tests of a log that moves to another directory while it is used: it is the same log afterwards,
and it is where it was when anything fails before.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, batch
from tests.unit.storage.cleaner_fixtures import DEFAULTS
from tests.unit.storage.log_fixtures import FaultyFiles, until
from tests.unit.storage.test_log_directories import ID, Disks, known, produce
from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog.config import TopicConfig
from tidelog.record.builder import NewRecord, Producer, build_batch
from tidelog.storage.checkpoints import read_offsets
from tidelog.storage.files import Entry
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_directories import LogDirectories
from tidelog.storage.manager import KnownLog


def config(**overrides: str) -> TopicConfig:
    names = {name.replace("_", "."): value for name, value in overrides.items()}
    settings = {"message.timestamp.after.max.ms": str(2**62), "file.delete.delay.ms": "0"}
    return TopicConfig.resolve(settings | names)


SMALL = config(internal_segment_bytes="300")


@pytest.fixture
async def disks(tmp_path: Path) -> AsyncIterator[Disks]:
    made = Disks(tmp_path, "ab")
    for name in made.names:
        os.makedirs(made.path(name))
    yield made
    made.throttle.wait = 0
    for files in made.files.values():
        files.errors.clear()
        files.held.clear()
        files.let_go.release(100)
    await made.close()


async def begin(
    disks: Disks, count: int = 10, settings: TopicConfig = SMALL
) -> tuple[LogDirectories, PartitionLog]:
    """A log of several segments in directory a."""
    logs = await disks.start()
    log = await logs.create("t", ID, 0, settings)
    for sequence in range(count):
        data = batch(producer=Producer(7, 0, sequence))
        while log.core.produce(data, 3, 9, NOW)[0] == STATUS_NEEDS_ROLL:
            await log.roll()
    assert log.directory == disks.path("a") + "/t-0"
    return logs, log


def records(log: PartitionLog) -> bytes:
    found, offset = b"", log.core.log_start_offset
    for segment in log.core.segment_list:
        found += segment.read_at(0, segment.size)
    assert offset <= log.core.log_end_offset
    return found


async def moved(log: PartitionLog, path: str) -> None:
    await until(lambda: log.directory.startswith(path))


async def test_it_is_the_same_log_elsewhere(disks: Disks, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logs, log = await begin(disks)
    before, bases = records(log), [s.base_offset for s in log.core.segment_list]
    assert len(bases) > 3
    progress: list[int] = []
    log.on_progress = lambda: progress.append(log.core.flushed_offset)
    core = log.core
    logs.move(log, disks.path("b"))
    await moved(log, disks.path("b"))
    # What is left to do is with the old files: nobody is told that it is still on its way.
    assert [view.moves for view in logs.views()] == [[], []]
    assert logs.get("t", 0) is log and log.core is core
    assert records(log) == before
    assert [s.base_offset for s in core.segment_list] == bases
    assert core.recovery_point == core.log_end_offset == 10
    await until(lambda: progress[-1:] == [10])
    assert [view.logs for view in logs.views()] == [[], [log]]
    point = read_offsets(disks.path("b") + "/recovery-point-offset-checkpoint")
    assert point == {("t", 0): 10}
    await until(lambda: disks.folders("a") == [])
    assert disks.folders("b") == ["t-0"]
    assert "log moved topic=t partition=0" in caplog.text
    # It takes appends, knows its producers and epochs, and is found there.
    assert core.produce(batch(producer=Producer(7, 0, 9)), 3, 9, NOW)[2] == 9  # a duplicate
    await produce(log, 5)
    assert log.end_offset_for_epoch(3) == (3, 15)
    await logs.close()
    logs = await disks.start(KnownLog("t", ID, 0, SMALL))
    found = logs.get("t", 0)
    assert found is not None
    assert (found.directory, found.core.log_end_offset) == (disks.path("b") + "/t-0", 15)
    assert records(found)[: len(before)] == before
    assert found.report.clean and not found.report.eventful
    assert found.end_offset_for_epoch(3) == (3, 15)


@pytest.mark.parametrize("count", [0, 1])
async def test_a_log_with_nothing_or_little_in_it(disks: Disks, count: int) -> None:
    logs, log = await begin(disks, count)
    logs.move(log, disks.path("b"))
    await moved(log, disks.path("b"))
    await produce(log)
    assert log.core.log_end_offset == count + 1
    logs.move(log, disks.path("a"))
    await moved(log, disks.path("a"))
    assert log.core.log_end_offset == count + 1


async def test_appends_and_truncations_go_on_meanwhile(disks: Disks) -> None:
    logs, log = await begin(disks)
    disks.throttle.wait = 1
    logs.move(log, disks.path("b"))
    await until(lambda: disks.throttle.asked > 3)
    (move,) = logs.views()[1].moves
    assert move.log is log and move.lag > 0
    disks.throttle.wait = 0
    for _ in range(20):
        await produce(log, 3)
        await asyncio.sleep(0)
        if log.core.log_end_offset > 20:
            await log.truncate_to(log.core.log_end_offset - 2)
    await moved(log, disks.path("b"))
    await produce(log, 3)
    end, data = log.core.log_end_offset, records(log)
    await logs.close()
    logs = await disks.start(KnownLog("t", ID, 0, SMALL))
    found = logs.get("t", 0)
    assert found is not None
    assert (found.core.log_end_offset, records(found)) == (end, data)


async def test_the_log_start_and_retention_go_along(disks: Disks) -> None:
    logs, log = await begin(disks)
    await log.flush()
    disks.throttle.wait = 1
    logs.move(log, disks.path("b"))
    await until(lambda: bool(disks.throttle.asked))
    disks.throttle.wait = 0
    await log.delete_records(7)
    assert await log.apply_retention(NOW) > 0
    await moved(log, disks.path("b"))
    assert log.core.log_start_offset == 7
    start = log.core.segment_list[0].base_offset
    names = sorted(os.listdir(log.directory))
    assert int(next(n for n in names if n.endswith(".log"))[:20]) == start > 0
    await logs.close()
    logs = await disks.start(KnownLog("t", ID, 0, SMALL))
    found = logs.get("t", 0)
    assert found is not None and found.core.log_start_offset == 7


async def test_a_compacted_log_stays_one(disks: Disks) -> None:
    settings = TopicConfig.resolve(DEFAULTS)
    logs, log = await begin(disks, 0, settings)
    for number in range(60):
        record = NewRecord(NOW, b"key-%d" % (number % 7), b"value-%d" % number * 10)
        while log.core.produce(build_batch([record]), 3, 9, NOW)[0] == STATUS_NEEDS_ROLL:
            await log.roll()
    await log.roll(force=True)
    await log.flush()
    assert await logs._managers[0].cleaner.clean_next()
    cleaned, before = log.cleaning.cleaned_offset, records(log)
    assert cleaned == 60
    logs.move(log, disks.path("b"))
    await moved(log, disks.path("b"))
    assert log.cleaning.cleaned_offset == cleaned
    assert records(log) == before
    await logs.close(clean=False)  # with its gaps, and without the cleaner's checkpoint
    logs = await disks.start(KnownLog("t", ID, 0, settings))
    found = logs.get("t", 0)
    assert found is not None
    assert records(found) == before
    assert not found.report.eventful


async def test_a_producer_waits_for_the_change_and_goes_on(disks: Disks) -> None:
    logs, log = await begin(disks)
    disks.throttle.wait = 1
    logs.move(log, disks.path("b"))
    await until(lambda: disks.throttle.asked > 2)
    disks.files["b"].held.add("rename")
    disks.throttle.wait = 0
    await until(lambda: log.core.rolling)
    assert log.core.produce(batch(), 3, 9, NOW)[0] == STATUS_NEEDS_ROLL
    writing = asyncio.ensure_future(produce(log))
    await asyncio.sleep(0.01)
    assert not writing.done()
    disks.files["b"].held.clear()
    disks.files["b"].let_go.release(10)
    await writing
    assert log.directory.startswith(disks.path("b"))
    assert log.core.log_end_offset == 11


# ---- what fails


class Counting(FaultyFiles):
    """Fails from operation number `at` on, one of those that change something."""

    def __init__(self) -> None:
        super().__init__()
        self.at = -1
        self.once = False
        self.done = 0

    def _step(self) -> None:
        self.done += 1
        if self.done == self.at or (self.done > self.at >= 0 and not self.once):
            raise OSError(errno.EIO, "bad disk")

    def open_to_read(self, path: str) -> int:
        self._step()
        return super().open_to_read(path)

    def list_directory(self, path: str) -> list[Entry]:
        self._step()
        return super().list_directory(path)

    def open_or_create(self, path: str) -> int:
        self._step()
        return super().open_or_create(path)

    def write_at(self, fd: int, position: int, data: bytes) -> None:
        self._step()
        super().write_at(fd, position, data)

    def sync(self, fd: int) -> None:
        self._step()
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self._step()
        super().sync_directory(path)

    def rename(self, old: str, new: str) -> None:
        self._step()
        super().rename(old, new)

    def write(self, path: str, data: bytes, *, durable: bool = True) -> None:
        self._step()
        super().write(path, data, durable=durable)


@pytest.mark.parametrize(("disk", "once"), [("b", True), ("b", False), ("a", True), ("a", False)])
async def test_whatever_fails_leaves_it_or_it_is_there(
    tmp_path: Path, disk: str, once: bool
) -> None:
    at, ended = 1, False
    while not ended:
        disks = Disks(tmp_path / str(at), "ab")
        failing = disks.files[disk] = Counting()
        for name in disks.names:
            os.makedirs(disks.path(name))
        logs, log = await begin(disks, 4)
        before = records(log)
        await log.flush()
        failing.done, failing.at, failing.once = 0, at, once
        logs.move(log, disks.path("b"))
        await until(lambda: not logs.views()[1].moves)  # noqa: B023
        ended = failing.done < at
        failing.at = -1
        appended = not log.offline
        if appended:
            assert records(log) == before
            await produce(log)
            await log.flush()
        await logs.close()
        logs = await disks.start(KnownLog("t", ID, 0, SMALL))
        found = logs.get("t", 0)
        assert found is not None
        assert records(found)[: len(before)] == before
        assert found.core.log_end_offset == 4 + appended
        await disks.close()
        at += 1
    assert at > (20 if disk == "b" else 5)


async def test_a_failed_target_is_offline_and_the_log_is_not(
    disks: Disks, caplog: pytest.LogCaptureFixture
) -> None:
    logs, log = await begin(disks)
    disks.fail("b")
    logs.move(log, disks.path("b"))
    await until(lambda: logs.views()[1].failure is not None)
    assert not log.offline
    await produce(log)
    assert "log not moved topic=t partition=0" in caplog.text


async def test_a_full_target_is_no_failed_one(disks: Disks) -> None:
    logs, log = await begin(disks)
    disks.files["b"].errors["sync_directory"] = OSError(errno.ENOSPC, "full")
    logs.move(log, disks.path("b"))
    await until(lambda: not logs.views()[1].moves)
    assert logs.views()[1].failure is None
    assert log.directory.startswith(disks.path("a"))
    disks.files["b"].errors.clear()
    assert disks.folders("b") == []
    logs.move(log, disks.path("b"))
    await moved(log, disks.path("b"))


async def test_an_old_copy_that_stays_is_not_taken(disks: Disks) -> None:
    class Keeping(FaultyFiles):
        def rename(self, old: str, new: str) -> None:
            if new.endswith("-delete"):
                raise OSError(errno.EROFS, "read only")
            super().rename(old, new)

    disks.files["a"] = Keeping()
    logs, log = await begin(disks)
    logs.move(log, disks.path("b"))
    await moved(log, disks.path("b"))
    await until(lambda: not logs.views()[1].moves)
    await produce(log)
    await logs.close()
    assert (disks.folders("a"), disks.folders("b")) == (["t-0"], ["t-0"])
    logs = await disks.start(KnownLog("t", ID, 0, SMALL))
    found = logs.get("t", 0)
    assert found is not None
    assert (found.directory, found.core.log_end_offset) == (disks.path("b") + "/t-0", 11)


# ---- what ends it, and what begins it again


async def test_another_wish_takes_its_place(tmp_path: Path) -> None:
    disks = Disks(tmp_path, "abc")
    for name in disks.names:
        os.makedirs(disks.path(name))
    logs, log = await begin(disks)
    disks.throttle.wait = 1
    logs.move(log, disks.path("b"))
    await until(lambda: disks.throttle.asked > 2)
    logs.move(log, disks.path("a"))
    logs.move(log, disks.path("b"))
    logs.move(log, disks.path("c"))
    logs.move(log, disks.path("c"))
    disks.throttle.wait = 0
    await moved(log, disks.path("c"))
    await until(lambda: disks.folders("a") == [])
    assert (disks.folders("b"), disks.folders("c")) == ([], ["t-0"])
    disks.throttle.wait = 1
    logs.move(log, disks.path("a"))
    await until(lambda: disks.folders("a") != [])
    logs.move(log, disks.path("c"))
    await until(lambda: not any(view.moves for view in logs.views()))
    assert disks.folders("a") == []
    await disks.close()


async def test_a_deleted_log_moves_no_more(disks: Disks) -> None:
    logs, log = await begin(disks)
    disks.throttle.wait = 1
    logs.move(log, disks.path("b"))
    await until(lambda: disks.throttle.asked > 2)
    await logs.delete(log)
    assert disks.folders("b") == []
    await until(lambda: disks.folders("a") == [])


async def test_a_move_goes_on_after_a_restart(disks: Disks) -> None:
    logs, log = await begin(disks)
    before = records(log)
    disks.throttle.wait = 1
    logs.move(log, disks.path("b"))
    await until(lambda: disks.throttle.asked > 2)
    await logs.close()
    (future,) = disks.folders("b")
    assert future.startswith("t-0.") and future.endswith("-future")
    disks.throttle.wait = 0
    logs = await disks.start(KnownLog("t", ID, 0, SMALL))
    found = logs.get("t", 0)
    assert found is not None
    await moved(found, disks.path("b"))
    assert records(found) == before
    await until(lambda: disks.folders("b") == ["t-0"])


async def test_futures_of_logs_that_are_there_or_gone_are_removed(disks: Disks) -> None:
    logs, _ = await begin(disks)
    await logs.close()
    for name in ("t-0", "gone-3"):
        os.makedirs(f"{disks.path('a')}/{name}.{'0' * 32}-future")
    logs = await disks.start(KnownLog("t", ID, 0, SMALL))
    await until(lambda: disks.folders("a") == ["t-0"])


async def test_a_future_of_a_log_on_a_lost_disk_stays(disks: Disks) -> None:
    logs = await disks.start()
    logs.wish("t", 0, disks.path("b"))
    await logs.create("t", ID, 0, SMALL)
    await logs.close()
    os.makedirs(f"{disks.path('a')}/t-0.{'0' * 32}-future")
    shutil.move(disks.path("b"), disks.path("b") + "-away")
    logs = await disks.start(known(0))
    await asyncio.sleep(0.01)
    assert disks.folders("a") == [f"t-0.{'0' * 32}-future"]

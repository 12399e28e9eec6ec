"""Tests of the log manager: starting, making, deleting, checkpoints, the end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, batch
from tests.unit.storage.log_fixtures import HOUR_MS, FaultyFiles, ManagerSettings, until
from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.errors import InvariantError, StorageError
from tidelog.record.builder import Producer
from tidelog.storage.checkpoints import read_offsets
from tidelog.storage.log import PartitionLog
from tidelog.storage.manager import KnownLog, LogManager

ID = bytes(range(16))
OTHER_ID = bytes(range(1, 17))


def topic(**overrides: str) -> TopicConfig:
    names = {name.replace("_", "."): value for name, value in overrides.items()}
    return TopicConfig.resolve({"message.timestamp.after.max.ms": str(2**62)} | names)


class Harness:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.executor = ThreadPoolExecutor(3)
        self.clock = ManualClock(NOW)
        self.files = FaultyFiles()
        self.config = ManagerSettings(num_recovery_threads_per_data_dir=2)
        self.managers: list[LogManager] = []

    def manager(self, node_id: int = 1, cluster_id: str = "c") -> LogManager:
        made = LogManager(
            str(self.directory),
            node_id,
            self.config,
            self.clock,
            self.executor,
            cluster_id=cluster_id,
            files=self.files,
        )
        self.managers.append(made)
        return made

    async def close(self) -> None:
        self.files.errors.clear()
        for manager in self.managers:
            await manager.close(clean=False)
        self.executor.shutdown()

    def names(self) -> list[str]:
        return sorted(os.listdir(self.directory))

    def checkpoint(self, name: str) -> dict[tuple[str, int], int]:
        return read_offsets(str(self.directory / name))


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path / "data")
    yield made
    await made.close()


async def produce(log: PartitionLog, count: int = 1, **options: object) -> None:
    for _ in range(count):
        while log.core.produce(batch(**options), 0, 9, NOW)[0] == STATUS_NEEDS_ROLL:  # type: ignore[arg-type]
            await log.roll()


def known(index: int = 0, topic_id: bytes = ID, **overrides: str) -> KnownLog:
    return KnownLog("t", topic_id, index, topic(**overrides))


# ---- starting


async def test_a_first_start(harness: Harness) -> None:
    manager = harness.manager()
    report = await manager.start()
    assert (report.clean, report.loaded, report.unknown, report.failed) == (False, 0, [], [])
    assert harness.names() == [
        ".lock",
        ".written",
        "meta.properties",
        "recovery-point-offset-checkpoint",
    ]
    assert manager.logs() == []
    assert manager.get("t", 0) is None


async def test_the_directory_is_locked_while_it_is_used(harness: Harness) -> None:
    first = harness.manager()
    await first.start()
    with pytest.raises(StorageError, match="in use"):
        await harness.manager().start()
    second = harness.manager()
    starting = asyncio.ensure_future(second.start(lock_timeout_ms=10_000))
    await asyncio.sleep(0)
    await first.close()
    assert (await starting).clean


async def test_the_directory_of_another_node_is_refused(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    await manager.close()
    with pytest.raises(StorageError):
        await harness.manager(node_id=2).start()
    with pytest.raises(StorageError):
        await harness.manager(cluster_id="other").start()
    await harness.manager().start()


async def test_a_clean_restart(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    for index in range(3):
        log = await manager.create("t", ID, index, topic())
        log.assign_epoch(4)
        await produce(log, index + 1, producer=Producer())
    await manager.close()
    assert ".kafka_cleanshutdown" in harness.names()
    assert harness.checkpoint("recovery-point-offset-checkpoint") == {
        ("t", 0): 1, ("t", 1): 2, ("t", 2): 3,
    }  # fmt: skip
    manager = harness.manager()
    report = await manager.start([known(i) for i in range(3)])
    assert (report.clean, report.loaded, report.reports) == (True, 3, [])
    assert ".kafka_cleanshutdown" not in harness.names()
    for index in range(3):
        log = manager.get("t", index)
        assert log is not None
        assert (log.core.log_end_offset, log.report.verified_bytes) == (index + 1, 0)
        assert log.core.leader_epoch == 4


async def test_a_restart_after_a_crash(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic())
    await produce(log, 3)
    await manager.close(clean=False)
    with open(harness.directory / "t-0" / f"{0:020d}.log", "ab") as file:
        file.write(b"torn")
    manager = harness.manager()
    with caplog.at_level(logging.WARNING):
        report = await manager.start([known()])
    assert not report.clean
    assert [one.cut_bytes for one in report.reports] == [4]
    assert "log recovered" in caplog.text
    found = manager.get("t", 0)
    assert found is not None
    assert found.core.log_end_offset == 3


async def test_logs_that_nobody_knows_are_left_alone(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    for index in range(2):
        await produce(await manager.create("t", ID, index, topic()))
    await manager.close()
    (harness.directory / "notes").mkdir()
    manager = harness.manager()
    report = await manager.start([known(0, OTHER_ID)])
    assert report.loaded == 0
    assert report.unknown == ["notes", "t-0", "t-1"]
    assert {"t-0", "t-1", "notes"} <= set(harness.names())
    # Their checkpoints are kept as well.
    await manager.close()
    assert harness.checkpoint("recovery-point-offset-checkpoint") == {("t", 0): 1, ("t", 1): 1}


async def test_logs_that_nobody_knows_are_set_aside(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    manager = harness.manager()
    await manager.start()
    for index in range(3):
        await produce(await manager.create("t", ID, index, topic()))
    await manager.close()
    for name in ("notes", "backup-2024"):
        (harness.directory / name).mkdir()
    before = (harness.directory / "t-0" / f"{0:020d}.log").read_bytes()
    manager = harness.manager()
    with caplog.at_level(logging.WARNING):
        # t-0 is now another topic's, t-2 nobody's.
        report = await manager.start([known(0, OTHER_ID), known(1)], set_strays_aside=True)
    assert (report.loaded, report.unknown, report.strays) == (1, ["backup-2024", "notes"], 2)
    strays = dict(report.set_aside)
    assert sorted(strays) == ["t-0", "t-2"]
    assert len(set(strays.values())) == 2
    for name, stray in strays.items():
        assert stray.startswith(f"{name}.") and stray.endswith("-stray")
        assert f"set aside folder={name} stray={stray}" in caplog.text
    assert (harness.directory / strays["t-0"] / f"{0:020d}.log").read_bytes() == before
    # The name is free, and nothing of the old log is taken for the new one's.
    log = await manager.create("t", OTHER_ID, 0, topic())
    assert (log.core.log_end_offset, log.report.eventful) == (0, False)
    await manager.close()
    assert harness.checkpoint("recovery-point-offset-checkpoint") == {("t", 0): 0, ("t", 1): 1}
    # They are kept, and no news any more.
    caplog.clear()
    report = await harness.manager().start([known(0, OTHER_ID), known(1)], set_strays_aside=True)
    assert (report.set_aside, report.strays) == ([], 2)
    assert set(strays.values()) <= set(harness.names())
    assert "-stray" not in caplog.text


async def test_a_clean_stop_does_not_speak_for_a_log_that_was_put_there_since(
    harness: Harness,
) -> None:
    """It was set aside with a torn tail: whoever takes it back gets it verified."""
    manager = harness.manager()
    await manager.start()
    for index in range(2):
        await produce(await manager.create("t", ID, index, topic()), 3)
    await manager.close(clean=False)
    with open(harness.directory / "t-0" / f"{0:020d}.log", "ab") as file:
        damaged = bytearray(batch())
        damaged[:8] = (3).to_bytes(8, "big")
        damaged[-1] ^= 1  # nothing but its checksum tells
        file.write(damaged)
    manager = harness.manager()
    report = await manager.start([known(1)], set_strays_aside=True)
    await manager.close()
    ((name, stray),) = report.set_aside
    os.rename(harness.directory / stray, harness.directory / name)
    manager = harness.manager()
    report = await manager.start([known(0), known(1)])
    assert report.clean
    assert [one.cut_bytes for one in report.reports] == [batch_size()]
    found, other = manager.get("t", 0), manager.get("t", 1)
    assert found is not None and other is not None
    assert found.core.log_end_offset == 3
    assert (other.report.clean, other.report.verified_bytes) == (True, 0)


async def test_a_log_that_cannot_be_set_aside_is_left(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    manager = harness.manager()
    await manager.start()
    await produce(await manager.create("t", ID, 0, topic()))
    await manager.close()
    manager = harness.manager()
    set_aside = "tidelog.storage.strays.set_stray_aside"
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(set_aside, lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        report = await manager.start(set_strays_aside=True)
    assert (report.unknown, report.set_aside) == (["t-0"], [])
    assert "log cannot be set aside folder=t-0" in caplog.text
    assert "t-0" in harness.names()


async def test_a_log_that_cannot_be_opened_does_not_keep_the_others(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    for index in range(2):
        await produce(await manager.create("t", ID, index, topic()), 2)
    await manager.close()
    path = harness.directory / "t-0" / f"{0:020d}.log"
    os.truncate(path, 2**31)
    manager = harness.manager()
    report = await manager.start([known(0), known(1)])
    assert (report.loaded, [name for name, _ in report.failed]) == (1, ["t-0"])
    assert list(manager.failed_logs()) == [("t", 0)]
    assert manager.get("t", 0) is None
    with pytest.raises(OSError):
        await manager.create("t", ID, 0, topic())
    os.truncate(path, batch_size() * 2)
    log = await manager.create("t", ID, 0, topic())
    assert log.core.log_end_offset == 2
    assert manager.failed_logs() == {}


def batch_size() -> int:
    return len(batch())


async def test_a_folder_without_its_id_is_accepted(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    await produce(await manager.create("t", ID, 0, topic()))
    await manager.close()
    os.unlink(harness.directory / "t-0" / "partition.metadata")
    report = await harness.manager().start([known()])
    assert report.loaded == 1
    assert (harness.directory / "t-0" / "partition.metadata").exists()


async def test_a_lost_recovery_checkpoint_costs_time_only(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic())
    await produce(log, 3)
    await manager.close(clean=False)
    os.unlink(harness.directory / "recovery-point-offset-checkpoint")
    manager = harness.manager()
    await manager.start([known()])
    found = manager.get("t", 0)
    assert found is not None
    assert found.core.log_end_offset == 3
    assert found.report.verified_bytes > 0


# ---- making and deleting


class SlowRecovery(FaultyFiles):
    """Opening the log of partition 1 takes until `let_go`."""

    def open(self, path: str) -> int:
        if "/t-1/" in path:
            self._enter("open of t-1")
        return super().open(path)


async def filled(harness: Harness, partitions: int) -> list[KnownLog]:
    manager = harness.manager()
    await manager.start()
    for index in range(partitions):
        await produce(await manager.create("t", ID, index, topic()))
    await manager.close(clean=False)
    harness.files = SlowRecovery()
    harness.files.held = {"open of t-1"}
    return [known(index) for index in range(partitions)]


async def test_logs_open_one_by_one(harness: Harness) -> None:
    logs = await filled(harness, 2)
    manager, heard = harness.manager(), []
    manager.on_opened = lambda topic, index: heard.append((topic, index))
    await manager.begin(logs)
    await until(lambda: manager.get("t", 0) is not None)
    assert (manager.is_opening("t", 0), manager.is_opening("t", 1)) == (False, True)
    assert (manager.opening_count, manager.get("t", 1)) == (1, None)
    made = asyncio.ensure_future(manager.create("t", ID, 1, topic()))
    everything = asyncio.ensure_future(manager.opened())
    everything.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not made.done()
    await manager.checkpoint()
    harness.files.let_go.release(100)
    report = await manager.opened()
    assert (report.loaded, report.failed, sorted(heard)) == (2, [], [("t", 0), ("t", 1)])
    assert await made is manager.get("t", 1)


async def test_a_stop_does_not_wait_for_all_recoveries(harness: Harness) -> None:
    """What was not verified is not called clean."""
    harness.config.num_recovery_threads_per_data_dir = 1
    logs = await filled(harness, 4)
    manager = harness.manager()
    await manager.begin(sorted(logs, key=lambda log: log.index != 1))
    await until(lambda: "open of t-1" in harness.files.calls)
    closing = asyncio.ensure_future(manager.close())
    await asyncio.sleep(0)
    harness.files.let_go.release(100)
    await closing
    assert not (harness.directory / ".kafka_cleanshutdown").exists()
    harness.files = FaultyFiles()
    report = await harness.manager().start(logs)
    assert (report.clean, report.loaded, report.failed) == (False, 4, [])


async def test_create_is_done_once(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    logs = await asyncio.gather(*(manager.create("t", ID, 0, topic()) for _ in range(5)))
    assert len({id(log) for log in logs}) == 1
    assert sorted(os.listdir(harness.directory / "t-0")) == ["partition.metadata"]
    with pytest.raises(InvariantError):
        await manager.create("t", OTHER_ID, 0, topic())


async def test_create_of_a_late_known_log_opens_it(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    await produce(await manager.create("t", ID, 0, topic()), 2)
    await manager.close()
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic())
    assert (log.core.log_end_offset, log.report.clean) == (2, True)


async def test_a_deleted_log_is_renamed_and_removed_later(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic(file_delete_delay_ms="0"))
    await produce(log, 2)
    _, segment, _, _, _ = log.core.read_region(0, 10**6, 2)
    await manager.delete(log)
    assert manager.get("t", 0) is None
    assert log.core.offline_error
    assert "t-0" not in harness.names()
    await until(lambda: not any(name.endswith("-delete") for name in harness.names()))
    assert segment is not None
    assert segment.read_at(0, 10)  # whoever still sends from it can
    with pytest.raises(InvariantError):
        await manager.delete(log)
    # A new topic of that name begins at 0.
    log = await manager.create("t", OTHER_ID, 0, topic())
    assert log.core.log_end_offset == 0
    await manager.close()
    assert harness.checkpoint("recovery-point-offset-checkpoint") == {("t", 0): 0}


async def test_what_a_crash_left_of_a_deletion_is_removed(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic(file_delete_delay_ms=str(HOUR_MS)))
    await produce(log)
    await manager.delete(log)
    await manager.close()
    assert any(name.endswith("-delete") for name in harness.names())
    await harness.manager().start()
    await until(lambda: not any(name.endswith("-delete") for name in harness.names()))


# ---- checkpoints and periodic work


async def test_checkpoints_hold_what_matters(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic())
    await manager.create("t", ID, 1, topic())
    await produce(log, 4)
    await manager.flush(log)
    await log.delete_records(2)  # writes the checkpoint by itself
    assert harness.checkpoint("recovery-point-offset-checkpoint") == {("t", 0): 4, ("t", 1): 0}
    assert harness.checkpoint("log-start-offset-checkpoint") == {("t", 0): 2}
    await manager.close(clean=False)
    manager = harness.manager()
    await manager.start([known(0), known(1)])
    found = manager.get("t", 0)
    assert found is not None
    assert (found.core.log_start_offset, found.core.log_end_offset) == (2, 4)


async def test_an_offline_log_keeps_its_last_checkpoint(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic())
    await produce(log, 2)
    await manager.flush(log)
    await manager.checkpoint()
    gone: list[PartitionLog] = []
    manager.on_offline = lambda one, _: gone.append(one)
    log.fence(OSError(errno.EIO, "bad disk"))
    assert gone == [log]
    await manager.close()
    assert harness.checkpoint("recovery-point-offset-checkpoint") == {("t", 0): 2}
    assert ".kafka_cleanshutdown" not in harness.names()


async def test_retention_runs_over_all_logs(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    for index in range(3):
        log = await manager.create("t", ID, index, topic(retention_ms="1000"))
        await produce(log, 2)
    harness.clock.advance(500)
    assert await manager.apply_retention() == 0
    harness.clock.advance(1000)
    assert await manager.apply_retention() == 3
    assert [log.core.log_start_offset for log in manager.logs()] == [2, 2, 2]


async def test_producers_expire(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic())
    await produce(log, producer=Producer(1, 0, 0))
    assert await manager.expire_producers() == 0
    harness.clock.advance(HOUR_MS)
    assert await manager.expire_producers() == 1


async def test_flush_by_time(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    assert manager.flush_by_time() == 1000
    log = await manager.create("t", ID, 0, topic(flush_ms="200"))
    await produce(log)
    harness.clock.advance(200)
    assert manager.flush_by_time() == 100
    await until(lambda: log.core.flushed_offset == 1)


async def test_periodic_work_runs_and_ends(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.config = ManagerSettings(1, 1, 1, 1, 1, 1)
    manager = harness.manager()
    await manager.start()
    log = await manager.create(
        "t", ID, 0, topic(retention_ms="1", file_delete_delay_ms="0", flush_ms="1")
    )
    await produce(log, 2, producer=Producer())
    manager.run()
    harness.clock.advance(10_000)
    await until(lambda: log.core.log_start_offset == 2)
    path = harness.directory / "recovery-point-offset-checkpoint"
    await until(lambda: b"t 0 2" in path.read_bytes())
    await manager.close()


async def test_a_failed_checkpoint_is_tried_again(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    log = await manager.create("t", ID, 0, topic())
    await produce(log)
    await manager.flush(log)
    harness.files.errors["rename"] = OSError(errno.EIO, "bad disk")
    with pytest.raises(OSError):
        await manager.checkpoint()
    harness.files.errors.clear()
    await manager.checkpoint()
    assert harness.checkpoint("recovery-point-offset-checkpoint") == {("t", 0): 1}


# ---- the end


async def test_a_clean_end_of_many_logs_is_one_sync(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    for index in range(20):
        await produce(await manager.create("t", ID, index, topic()))
    harness.files.calls.clear()
    await manager.close()
    assert harness.files.calls.count("sync_data") == 0
    points = harness.checkpoint("recovery-point-offset-checkpoint")
    assert points == {("t", index): 1 for index in range(20)}
    report = await harness.manager().start([known(index) for index in range(20)])
    assert (report.clean, report.loaded, report.reports) == (True, 20, [])


async def test_an_end_that_fails_leaves_no_marker(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    await produce(await manager.create("t", ID, 0, topic()))
    harness.files.errors["sync_data"] = OSError(errno.EIO, "bad disk")
    await manager.close()
    assert ".kafka_cleanshutdown" not in harness.names()
    harness.files.errors.clear()
    report = await harness.manager().start([known()])
    assert (report.clean, report.loaded) == (False, 1)


async def test_nothing_is_left_open(harness: Harness) -> None:
    manager = harness.manager()
    await manager.start()
    for index in range(5):
        await produce(await manager.create("t", ID, index, topic()))
    manager.run()
    await manager.close()
    await manager.close()

    def left_open() -> list[str]:
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        paths = [os.readlink(link) for link in links if os.path.lexists(link)]
        return [path for path in paths if path.startswith(str(harness.directory))]

    await until(lambda: not left_open())  # a helper lets go of its last work a moment later

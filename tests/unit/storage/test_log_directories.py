"""Tests of several log directories: where logs are made and found, and a directory that fails."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, batch
from tests.unit.storage.log_fixtures import FaultyFiles, ManagerSettings, until
from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.errors import StorageError
from tidelog.storage.checkpoints import read_offsets
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_directories import LogDirectories
from tidelog.storage.manager import KnownLog, LogManager

ID = bytes(range(16))
OTHER_ID = bytes(range(1, 17))
CONFIG = TopicConfig.resolve({"message.timestamp.after.max.ms": str(2**62)})


class Throttle:
    """Of moves. `wait`: for how long each piece waits, ms."""

    def __init__(self) -> None:
        self.wait = 0
        self.total_bytes = 0
        self.asked = 0

    def record(self, size: int) -> None:
        self.total_bytes += size

    def wait_ms(self) -> int:
        self.asked += 1
        return self.wait


class Disks:
    """Directories a, b, c of one node, each with a disk of its own that can fail."""

    def __init__(self, root: Path, names: str = "abc") -> None:
        self.root = root
        self.names = names
        self.files = {name: FaultyFiles() for name in names}
        self.executor = ThreadPoolExecutor(3)
        self.clock = ManualClock(NOW)
        self.throttle = Throttle()
        # One for all starts: a second one must not give a folder the name of an earlier one's.
        self.rng = random.Random(5)
        self.opened: list[LogDirectories] = []

    def path(self, name: str) -> str:
        return str(self.root / name / "node-1")

    def make(self) -> LogDirectories:
        made = LogDirectories(
            [
                LogManager(
                    self.path(name), 1, ManagerSettings(), self.clock, self.executor,
                    cluster_id="c", files=self.files[name], rng=self.rng,
                )
                for name in self.names
            ],
            self.clock,
            self.throttle,
        )  # fmt: skip
        self.opened.append(made)
        return made

    async def start(self, *known: KnownLog) -> LogDirectories:
        made = self.make()
        await made.begin(known, set_strays_aside=True)
        await made.opened()
        return made

    def fail(self, name: str) -> None:
        """From now on the disk takes nothing more."""
        error = OSError(errno.EIO, "bad disk")
        self.files[name].errors = dict.fromkeys(
            ("create", "sync_data", "sync_directory", "rename"), error
        )

    def folders(self, name: str) -> list[str]:
        found = (entry.name for entry in os.scandir(self.path(name)) if entry.is_dir())
        return sorted(found)

    async def close(self) -> None:
        for made in self.opened:
            await made.close(clean=False)
        self.executor.shutdown()


@pytest.fixture
async def disks(tmp_path: Path) -> AsyncIterator[Disks]:
    made = Disks(tmp_path)
    for name in made.names:
        os.makedirs(made.path(name))
    yield made
    await made.close()


def known(index: int, topic_id: bytes = ID) -> KnownLog:
    return KnownLog("t", topic_id, index, CONFIG)


async def create(logs: LogDirectories, *indexes: int) -> list[PartitionLog]:
    return [await logs.create("t", ID, index, CONFIG) for index in indexes]


async def produce(log: PartitionLog, count: int = 1) -> None:
    for _ in range(count):
        while log.core.produce(batch(), 0, 9, NOW)[0] == STATUS_NEEDS_ROLL:
            await log.roll()


# ---- placement


async def test_new_logs_go_where_there_are_the_fewest(disks: Disks) -> None:
    logs = await disks.start()
    await create(logs, *range(4))
    assert [disks.folders(name) for name in "abc"] == [["t-0", "t-3"], ["t-1"], ["t-2"]]
    held = logs.get("t", 3)
    assert held is not None
    await logs.delete(held)
    await logs.delete((await create(logs, 0))[0])
    await create(logs, 4)
    assert "t-4" in disks.folders("a")
    assert sorted((log.topic, log.index) for log in logs.logs()) == [("t", 1), ("t", 2), ("t", 4)]


async def test_a_wish_is_kept(disks: Disks) -> None:
    logs = await disks.start()
    for index in range(3):
        assert logs.wish("t", index, disks.path("c"))
    await create(logs, *range(4))
    assert disks.folders("c") == ["t-0", "t-1", "t-2"]
    assert disks.folders("a") == ["t-3"]
    with pytest.raises(StorageError, match="no log directory"):
        logs.wish("t", 9, "/nowhere")


async def test_wishes_are_bounded(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.storage.log_directories.WISHED_DIRECTORIES_MAX", 2)
    logs = await disks.start()
    assert [logs.wish("t", index, disks.path("c")) for index in range(3)] == [True, True, False]
    assert logs.wish("t", 0, disks.path("b"))


async def test_logs_are_found_where_they_are(disks: Disks) -> None:
    logs = await disks.start()
    for log in await create(logs, *range(5)):
        await produce(log, log.index)
    await logs.close(clean=True, broker_epoch=7)
    points = [read_offsets(f"{disks.path(name)}/recovery-point-offset-checkpoint")
              for name in "abc"]  # fmt: skip
    assert points == [{("t", 0): 0, ("t", 3): 3}, {("t", 1): 1, ("t", 4): 4}, {("t", 2): 2}]
    ids = {Path(disks.path(name), "meta.properties").read_text() for name in "abc"}
    assert len(ids) == 3
    disks.names = "cab"  # in another order
    logs = await disks.start(*(known(index) for index in range(5)))
    for index in range(5):
        found = logs.get("t", index)
        assert found is not None and found.core.log_end_offset == index
        assert found.report.clean


async def test_logs_that_nobody_knows_are_strays_everywhere(disks: Disks) -> None:
    logs = await disks.start()
    await create(logs, 0, 1)
    await logs.close()
    logs = await disks.start(known(1))
    assert disks.folders("a")[0].startswith("t-0.") and disks.folders("a")[0].endswith("-stray")
    assert disks.folders("b") == ["t-1"]


async def test_a_log_in_two_directories_is_the_one_that_goes_further(
    disks: Disks, caplog: pytest.LogCaptureFixture
) -> None:
    logs = await disks.start()
    (log,) = await create(logs, 0)
    await produce(log, 2)
    await log.flush()
    shutil.copytree(log.directory, disks.path("b") + "/t-0")
    await produce(log, 1)
    await logs.close()
    told: list[tuple[str, int]] = []
    logs = disks.make()
    logs.on_opened = lambda topic, index: told.append((topic, index))
    await logs.begin([known(0)], set_strays_aside=True)
    assert logs.is_opening("t", 0)
    assert logs.get("t", 0) is None
    await logs.end_of_opening("t", 0)
    found = logs.get("t", 0)
    assert found is not None
    assert (found.directory, found.core.log_end_offset) == (disks.path("a") + "/t-0", 3)
    assert told == [("t", 0)]
    (stray,) = disks.folders("b")
    assert stray.endswith("-stray")
    assert f"kept={disks.path('a')} set_aside={disks.path('b')}/{stray}" in caplog.text


# ---- a directory that fails


async def test_a_failed_directory_takes_its_logs_with_it(disks: Disks) -> None:
    logs = await disks.start()
    offline: list[int] = []
    directories: list[str] = []
    logs.on_offline = lambda log, _: offline.append(log.index)
    logs.on_directory_offline = directories.append
    made = await create(logs, *range(6))
    for log in made:
        await produce(log)
    disks.fail("b")
    with pytest.raises(StorageError):
        await made[1].flush()
    assert (sorted(offline), directories) == ([1, 4], [disks.path("b")])
    assert [view.failure is not None for view in logs.views()] == [False, True, False]
    assert [log.offline for log in made] == [False, True, False, False, True, False]
    assert logs.offline_replicas() == {(ID, 1), (ID, 4)}
    await made[0].flush()
    await create(logs, 6, 7)
    assert disks.folders("b") == ["t-1", "t-4"]
    # A topic that was deleted may be made anew elsewhere.
    await logs.delete(made[1])
    assert disks.folders("b") == ["t-1", "t-4"]
    anew = await logs.create("t", OTHER_ID, 1, CONFIG)
    assert not anew.directory.startswith(disks.path("b"))
    await logs.close()
    assert [os.path.exists(f"{disks.path(name)}/.kafka_cleanshutdown") for name in "abc"] == [
        True,
        False,
        True,
    ]


async def test_a_directory_that_takes_no_new_log_is_passed_over(disks: Disks) -> None:
    logs = await disks.start()
    disks.fail("a")
    disks.fail("b")
    (log,) = await create(logs, 0)
    assert log.directory.startswith(disks.path("c"))
    assert [view.failure is not None for view in logs.views()] == [True, True, False]
    disks.fail("c")
    with pytest.raises(StorageError, match="all log directories are offline"):
        await create(logs, 1)


async def test_want_of_room_is_no_failed_disk(disks: Disks) -> None:
    logs = await disks.start()
    disks.files["a"].errors["rename"] = OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full"):
        await create(logs, 0)
    assert all(view.failure is None for view in logs.views())


async def test_with_one_directory_a_log_fails_alone(disks: Disks) -> None:
    disks.names = "a"
    logs = await disks.start()
    first, second = await create(logs, 0, 1)
    first.fence(OSError(errno.EIO, "bad disk"))
    assert not second.offline
    assert logs.offline_replicas() == set()
    assert [view.failure for view in logs.views()] == [None]


async def test_a_missing_directory_keeps_its_logs(disks: Disks) -> None:
    logs = await disks.start()
    for log in await create(logs, 0, 1, 2):
        await produce(log)
    await logs.close()
    os.rename(disks.root / "b", disks.root / "away")
    logs = await disks.start(*(known(index) for index in range(3)))
    assert not os.path.exists(disks.path("b"))
    assert logs.offline_replicas() == {(ID, 1)}
    assert logs.get("t", 1) is None
    assert ("t", 1) in logs.failed_logs()
    with pytest.raises(StorageError, match="offline"):
        await create(logs, 1)
    assert (await logs.create("t", OTHER_ID, 1, CONFIG)).topic_id == OTHER_ID
    assert logs.offline_replicas() == set()
    await logs.close()
    os.rename(disks.root / "away", disks.root / "b")
    shutil.rmtree(next(Path(disks.path(name), "t-1") for name in "ac"
                       if Path(disks.path(name), "t-1").exists()))  # fmt: skip
    logs = await disks.start(*(known(index) for index in range(3)))
    found = logs.get("t", 1)
    assert found is not None and found.core.log_end_offset == 1


async def test_the_first_directory_has_to_be_there(disks: Disks) -> None:
    disks.fail("a")
    with pytest.raises(OSError, match="bad disk"):
        await disks.start()


async def test_a_directory_of_somebody_else_is_refused(disks: Disks) -> None:
    logs = await disks.start()
    await logs.close()
    file = Path(disks.path("b"), "meta.properties")
    file.write_text(file.read_text().replace("node.id=1", "node.id=2"))
    with pytest.raises(StorageError, match="belongs to node 2"):
        await disks.start()


async def test_work_from_time_to_time_sees_a_failed_disk(disks: Disks) -> None:
    disks.clock = ManualClock(NOW)
    logs = disks.make()
    logs.configure(ManagerSettings(log_flush_offset_checkpoint_interval_ms=1))
    await logs.begin()
    await logs.opened()
    made = await create(logs, 0, 1)
    logs.run()
    for log in made:
        await produce(log)
        await log.flush()
    disks.fail("b")
    await produce(made[1])
    made[1].core.on_flushed(2)  # a checkpoint has something to write
    await until(lambda: made[1].offline)
    assert not made[0].offline
    assert logs.cleaner_stats().cleanings == 0

"""Fewer workers than before: the logs of the nodes that go are moved, whatever is killed meanwhile.

First the files alone, with the power cut behind every operation; then the whole change, killed
before and after every operation and every commit, and begun again with the same or another number
of workers.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.recovery.disk.checks import contents
from tests.recovery.disk.disk import Disk, write_image
from tests.recovery.disk.recording import RecordingFiles, UnsyncedFiles
from tests.recovery.disk.script import (
    append,
    make_batch,
    settle,
    topic_config,
)
from tests.unit.native.log_harness import NOW
from tests.unit.storage.log_fixtures import InlineExecutor, ManagerSettings
from tidelog.clock import ManualClock, SystemClock
from tidelog.controller.machine import Controller
from tidelog.controller.runtime import ControllerRuntime
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import (
    ChangeRecord,
    ClusterRecord,
    NodeRecord,
    PartitionRecord,
    TopicRecord,
)
from tidelog.metastore.local import LocalMetastore
from tidelog.process.data_directory import DataDirectory
from tidelog.process.node_moves import NodeMoves
from tidelog.record.builder import Producer
from tidelog.storage.files import Files
from tidelog.storage.manager import KnownLog, LogManager
from tidelog.storage.relocation import MovedLog, relocate

CLUSTER = "c" * 22
LEVEL = "page-cache"
A, B = bytes([1] * 16), bytes([2] * 16)
NAMES = {A: "a", B: "b"}
#: (topic id, partition): the node that holds it first.
PLACES = {(A, 0): 1, (A, 1): 2, (A, 2): 3, (B, 0): 2, (B, 1): 3}
LogId = tuple[bytes, int]
#: What a log holds: its start and every batch.
Content = tuple[int, bytes]


def manager(folder: Path, node_id: int) -> LogManager:
    inline = InlineExecutor()
    return LogManager(
        str(folder), node_id, ManagerSettings(), ManualClock(NOW), inline,
        cluster_id=CLUSTER, files=UnsyncedFiles(), rng=random.Random(1), roll_executor=inline,
    )  # fmt: skip


def known(log: LogId) -> KnownLog:
    return KnownLog(NAMES[log[0]], log[0], log[1], topic_config(LEVEL))


async def read(folder: Path, node_id: int, logs: Sequence[LogId]) -> dict[LogId, Content]:
    node = manager(folder, node_id)
    report = await node.start([known(log) for log in logs])
    found = {}
    try:
        assert report.failed == []
        for log in logs:
            opened = node.get(NAMES[log[0]], log[1])
            assert opened is not None
            data = b"".join(batch.data for batch in contents(opened))
            found[log] = (opened.core.log_start_offset, data)
    finally:
        await node.close(clean=False)
    return found


async def fill(root: Path, clean: dict[int, bool]) -> dict[LogId, Content]:
    """Three nodes with logs; one of them has had its first records deleted."""
    found: dict[LogId, Content] = {}
    for node_id in (1, 2, 3):
        node = manager(root / f"node-{node_id}", node_id)
        await node.start()
        for (topic_id, index), holder in PLACES.items():
            if holder != node_id:
                continue
            log = await node.create(NAMES[topic_id], topic_id, index, topic_config(LEVEL))
            for i in range(9 + index):
                await append(log, make_batch(i + index, 2, Producer()), 0)
            await settle(log)
            if (topic_id, index) == (B, 0):
                await log.delete_records(3)
            data = b"".join(batch.data for batch in contents(log))
            found[topic_id, index] = (log.core.log_start_offset, data)
        await node.checkpoint()
        await node.close(clean=clean[node_id])
    return found


# ---- the files


@pytest.mark.parametrize("clean", [{1: True, 2: True, 3: True}, {1: True, 2: False, 3: True},
                                   {1: False, 2: True, 3: True}])  # fmt: skip
def test_a_cut_relocation_is_done_again(clean: dict[int, bool], folder: Path) -> None:
    (folder / "base").mkdir()
    expected = asyncio.run(fill(folder / "base", clean))
    logs = [(A, 1), (B, 0)]
    moved = [MovedLog(NAMES[log[0]], *log) for log in logs]
    files = RecordingFiles(str(folder / "base"))
    before = len(files.journal)
    relocate(files, str(folder / "base/node-2"), str(folder / "base/node-1"), moved)
    files.close_watched()
    disk, cuts = Disk(), 0
    for i, operation in enumerate(files.journal):
        disk.apply(operation)
        if i < before - 1:
            continue
        for kept, image in disk.images(random.Random(i), 1):
            cuts += 1
            path = folder / "cut"
            write_image(image, str(path))
            relocate(UnsyncedFiles(), str(path / "node-2"), str(path / "node-1"), moved)
            found = asyncio.run(read(path / "node-1", 1, [(A, 0), *logs]))
            assert found == {log: expected[log] for log in found}, f"{operation!r} {kept}"
            assert sorted(p.name for p in (path / "node-2").glob("*-*/")) == []
            shutil.rmtree(path)
    assert cuts > 40


def test_what_is_in_the_way_is_set_aside(folder: Path) -> None:
    expected = asyncio.run(fill(folder, {1: True, 2: True, 3: True}))
    other = folder / "node-1/a-1"
    other.mkdir()
    (other / "partition.metadata").write_text("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAw\n")
    moved = [MovedLog("a", A, 1), MovedLog("a", A, 7), MovedLog("b", A, 0)]
    assert relocate(UnsyncedFiles(), str(folder / "node-2"), str(folder / "node-1"), moved) == 1
    assert asyncio.run(read(folder / "node-1", 1, [(A, 1)])) == {(A, 1): expected[A, 1]}
    assert [path.name for path in (folder / "node-1").glob("*-stray")]
    assert (folder / "node-2/b-0").is_dir(), "it is another topic's"


# ---- the whole change


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Steps:
    """Kills at step number `at`."""

    at: int = -1
    done: int = 0

    def step(self) -> None:
        self.done += 1
        if self.done == self.at:
            raise Killed


class KillableStore(LocalMetastore):
    def __init__(self, path: Path, steps: Steps) -> None:
        super().__init__(path)
        self.steps = steps

    def commit(self, records: Sequence[ChangeRecord], expected_version: int) -> int:
        self.steps.step()
        version = super().commit(records, expected_version)
        self.steps.step()
        return version


def killable_files(steps: Steps) -> Files:
    """Steps before every operation that changes something."""

    class Killable(UnsyncedFiles):
        pass

    def stepping(name: str) -> Callable[..., object]:
        real = getattr(UnsyncedFiles, name)

        def call(self: Files, *arguments: object, **options: object) -> object:
            steps.step()
            return real(self, *arguments, **options)

        return call

    for name in ("create", "rename", "unlink", "sync_directory"):
        setattr(Killable, name, stepping(name))
    return Killable()


async def change(root: Path, workers: int, steps: Steps) -> MetadataImage:
    """What a supervisor does before any worker starts. Raises Killed."""
    directory = DataDirectory.open(root)
    store = KillableStore(directory.store_path, steps)
    version, records = store.load()
    runtime = ControllerRuntime(
        Controller({}), store, MetadataImage.from_records(records, version),
        lambda version, records: None, ManualClock(), random.Random(1),
    )  # fmt: skip
    running = asyncio.ensure_future(runtime.run())
    remaining = tuple(range(1, workers + 1))
    surplus = tuple(node for node in sorted(directory.nodes) if node not in remaining)

    async def move() -> None:
        moves = NodeMoves(runtime, directory, SystemClock(), killable_files(steps))
        await moves.finish()
        await moves.leave(surplus, remaining)

    moving = asyncio.ensure_future(move())
    try:
        done, _ = await asyncio.wait({moving, running}, return_when=asyncio.FIRST_COMPLETED)
        if moving in done and running not in done:
            await asyncio.wait({running}, timeout=0)
            done = {task for task in (moving, running) if task.done()}
        # (What the store's death leaves unanswered is no error of the move.)
        for task in sorted(done, key=lambda one: one is moving):
            task.result()
        return runtime.image
    finally:
        for task in (moving, running):
            task.cancel()
        await asyncio.gather(moving, running, return_exceptions=True)
        store.close()
        directory.close()


def lay_out(root: Path) -> dict[LogId, Content]:
    directory = DataDirectory.open(root, lambda: CLUSTER)
    for node_id in (1, 2, 3):
        directory.add_node(node_id)
    directory.save()
    directory.close()
    store = LocalMetastore(root / "metadata.db")
    records: list[ChangeRecord] = [
        ClusterRecord(CLUSTER),
        *(NodeRecord(n, 0, None, (), "h", 1, False, f"node-{n}") for n in (1, 2, 3)),
        *(TopicRecord(topic_id, name) for topic_id, name in NAMES.items()),
        *(PartitionRecord(*log, (n,), (n,), n, 0, 0) for log, n in PLACES.items()),
    ]
    store.commit(records, 0)
    store.close()
    return asyncio.run(fill(root, {1: True, 2: False, 3: True}))


def check(root: Path, image: MetadataImage, workers: int, expected: dict[LogId, Content]) -> None:
    assert image.moves == {}
    found: dict[LogId, Content] = {}
    for node_id in range(1, workers + 1):
        logs = [(t.topic_id, p.index) for t, p in image.partitions_held_by(node_id)]
        found |= asyncio.run(read(root / f"node-{node_id}", node_id, logs))
    assert found == expected


def scenarios(folder: Path, first: int) -> Iterator[tuple[int, Path, dict[LogId, Content]]]:
    """The same cluster again and again, killed at one step later each time."""
    expected = lay_out(folder / "base")
    steps = Steps()
    shutil.copytree(folder / "base", folder / "whole")
    image = asyncio.run(change(folder / "whole", first, steps))
    check(folder / "whole", image, first, expected)
    for at in range(1, steps.done + 1):
        path = folder / f"killed-{at}"
        shutil.copytree(folder / "base", path)
        with pytest.raises(Killed):
            asyncio.run(change(path, first, Steps(at)))
        yield at, path, expected
        shutil.rmtree(path)


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2, 3])
def test_killed_at_every_step_and_begun_again(first: int, second: int, folder: Path) -> None:
    count = 0
    for at, path, expected in scenarios(folder, first):
        count += 1
        image = asyncio.run(change(path, second, Steps()))
        try:
            check(path, image, second, expected)
            image = asyncio.run(change(path, 1, Steps()))
            check(path, image, 1, expected)
        except AssertionError as error:
            raise AssertionError(f"killed at step {at}: {os.listdir(path)}") from error
    assert count > 10

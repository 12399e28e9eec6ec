"""Tests of moving the logs of nodes that go: order, errors, waiting for orphans.

With real files of three nodes, and killed at every step: tests/recovery/test_fewer_nodes.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.controller.test_runtime import MemoryStore
from tests.unit.controller.worlds import node
from tidelog.clock import ManualClock
from tidelog.controller.machine import Controller
from tidelog.controller.runtime import ControllerRuntime
from tidelog.limits import NODE_LOCK_TIMEOUT_MS
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import (
    ChangeRecord,
    EndMoveRecord,
    MoveRecord,
    PartitionRecord,
    RemoveNodeRecord,
    TopicRecord,
)
from tidelog.metastore.contract import MetastoreError
from tidelog.process.data_directory import DataDirectory
from tidelog.process.node_moves import MoveError, NodeMoves
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.partition_metadata import write_partition_metadata

ID = bytes(range(16))


class Scene:
    def __init__(self, root: Path) -> None:
        self.directory = DataDirectory.open(root)
        for node_id in (1, 2):
            self.directory.add_node(node_id)
        self.directory.save()
        folder = root / "node-2/t-0"
        folder.mkdir()
        write_partition_metadata(str(folder / "partition.metadata"), ID, SYSTEM_FILES)
        self.store = MemoryStore()
        first: list[ChangeRecord] = [
            node(1), node(2), TopicRecord(ID, "t"), PartitionRecord(ID, 0, (2,), (2,), 2, 0, 0),
        ]  # fmt: skip
        self.store.commit(first, 0)
        self.clock = ManualClock()
        self.runtime = ControllerRuntime(
            Controller({}), self.store, MetadataImage().apply(first, 1),
            lambda version, records: None, self.clock, random.Random(1),
        )  # fmt: skip
        self.task = asyncio.ensure_future(self.runtime.run())

    def moves(self, files: Files = SYSTEM_FILES) -> NodeMoves:
        return NodeMoves(self.runtime, self.directory, self.clock, files)

    def folders(self) -> list[str]:
        return sorted(str(p.relative_to(self.directory.path)) for p in
                      self.directory.path.glob("*/t-*"))  # fmt: skip


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)
    await made.runtime.close()
    made.directory.close()


async def test_the_plan_comes_first_and_the_node_goes_last(scene: Scene) -> None:
    seen: list[int] = []

    class Watching(Files):
        def rename(self, old: str, new: str) -> None:
            if old.endswith("t-0"):
                seen.append(len(scene.store.transactions))
            super().rename(old, new)

    await scene.moves(Watching()).leave((2,), (1,))
    plan, end, gone = scene.store.transactions[1:]
    assert plan == [MoveRecord(ID, 0, 2, 1)]
    assert end == [PartitionRecord(ID, 0, (1,), (1,), 1, 1, 1), EndMoveRecord(ID, 0)]
    assert gone == [RemoveNodeRecord(2)]
    assert seen == [2], "renamed between the plan and its end"
    assert scene.folders() == ["node-1/t-0"]
    assert list(scene.directory.nodes) == [1]
    assert (scene.directory.path / "node-2").is_dir(), "what else is in it stays"


async def test_nothing_to_do_writes_nothing(scene: Scene) -> None:
    await scene.moves().finish()
    await scene.moves().leave((), (1, 2))
    assert len(scene.store.transactions) == 1


async def test_a_disk_error_is_one_line_and_the_plan_stays(scene: Scene) -> None:
    class Failing(Files):
        def rename(self, old: str, new: str) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), old)

    with pytest.raises(MoveError, match=r"logs of node 2 .* to node 1: .*output"):
        await scene.moves(Failing()).leave((2,), (1,))
    assert scene.runtime.image.moves
    await scene.moves().finish()
    assert scene.folders() == ["node-1/t-0"]


async def test_a_store_that_fails_is_one_line(scene: Scene) -> None:
    scene.store.failure = MetastoreError("full")
    with pytest.raises(MoveError, match="the metadata cannot be changed"):
        await scene.moves().leave((2,), (1,))
    assert scene.folders() == ["node-2/t-0"]


async def test_the_lock_of_an_orphan_is_waited_for(scene: Scene) -> None:
    fd = SYSTEM_FILES.lock(str(scene.directory.node_path(2) / ".lock"))
    assert fd is not None
    moving = asyncio.ensure_future(scene.moves().leave((2,), (1,)))
    while not scene.runtime.image.moves:
        await asyncio.sleep(0.001)
    os.close(fd)
    await moving
    assert scene.folders() == ["node-1/t-0"]


async def test_a_lock_that_stays_is_an_error(scene: Scene) -> None:
    fd = SYSTEM_FILES.lock(str(scene.directory.node_path(1) / ".lock"))
    assert fd is not None
    moving = asyncio.ensure_future(scene.moves().leave((2,), (1,)))
    while not moving.done():
        await asyncio.sleep(0.001)
        scene.clock.advance(NODE_LOCK_TIMEOUT_MS)
    with pytest.raises(MoveError, match="in use"):
        await moving
    os.close(fd)

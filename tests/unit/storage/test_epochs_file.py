"""Tests of the leader-epoch checkpoint of an open log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tidelog.storage.epochs_file import EpochsFile
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT, LeaderEpochCache


class World:
    def __init__(self, folder: Path) -> None:
        self.folder: str | None = str(folder)
        self.path = folder / LEADER_EPOCH_CHECKPOINT
        self.cache = LeaderEpochCache()
        self.runs = 0
        self.lock = asyncio.Lock()
        self.file = EpochsFile(self.cache, SYSTEM_FILES, self.run, self.lock)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        self.runs += 1
        await asyncio.sleep(0)
        return function(*args)

    def directory(self) -> str | None:
        return self.folder


async def test_changes_are_written_and_given_to_the_next_flush(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.file.take() is None
    world.cache.assign(1, 0)
    assert world.file.note_change()
    await world.file.write(world.directory)
    assert world.path.read_bytes() == world.cache.encode()
    assert world.file.take() == world.cache.encode(), "the file is not durable yet"
    assert world.file.take() is None


async def test_what_comes_while_it_is_written_is_written_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cache.assign(1, 0)
    world.file.note_change()
    writing = asyncio.ensure_future(world.file.write(world.directory))
    await asyncio.sleep(0)
    world.cache.assign(2, 5)
    assert not world.file.note_change(), "somebody is at it"
    await writing
    assert (world.runs, world.path.read_bytes()) == (2, world.cache.encode())


async def test_two_writers_are_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cache.assign(1, 0)
    world.file.note_change()
    await asyncio.gather(*(world.file.write(world.directory) for _ in range(2)))
    assert world.runs == 1


async def test_a_log_that_is_gone_has_no_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cache.assign(1, 0)
    world.file.note_change()
    async with world.lock:
        writing = asyncio.ensure_future(world.file.write(world.directory))
        await asyncio.sleep(0)
        world.folder = None
    await writing
    assert not world.path.exists()
    assert world.file.take() is not None


async def test_what_a_flush_could_not_do_stays_to_be_done(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cache.assign(1, 0)
    world.file.note_change()
    assert world.file.take() == world.cache.encode()
    world.file.note_unsynced()
    assert world.file.take() == world.cache.encode()
    assert world.file.take() is None

"""Tests of moving logs between directories: what goes along, what is left, what is not believed.

That it may be cut anywhere is shown in tests/recovery/test_fewer_nodes.py.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.recovery.disk.disk import Disk
from tests.recovery.disk.recording import RecordingFiles
from tidelog.storage.checkpoints import (
    CLEANER_CHECKPOINT,
    LOG_START_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
    REPLICATION_CHECKPOINT,
    read_offsets,
    write_offsets,
)
from tidelog.storage.clean_shutdown import is_clean, write_clean_shutdown
from tidelog.storage.directory import DirectoryInUseError
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.partition_metadata import write_partition_metadata
from tidelog.storage.relocation import MovedLog, relocate, relocate_all

ID = bytes(range(16))
LOG = MovedLog("t", ID, 3)
CHECKPOINTS = (
    RECOVERY_POINT_CHECKPOINT,
    LOG_START_CHECKPOINT,
    REPLICATION_CHECKPOINT,
    CLEANER_CHECKPOINT,
)


class World:
    def __init__(self, root: Path) -> None:
        self.root, self.old, self.new = root, root / "old", root / "new"
        for folder in (self.old, self.new):
            folder.mkdir()
        self.make(self.old / "t-3")
        self.make(self.new / "t-0")

    def make(self, folder: Path, topic_id: bytes = ID) -> None:
        folder.mkdir()
        write_partition_metadata(str(folder / "partition.metadata"), topic_id, SYSTEM_FILES)
        (folder / f"{0:020}.log").write_bytes(folder.name.encode())

    def move(self, *logs: MovedLog) -> int:
        return relocate(SYSTEM_FILES, str(self.old), str(self.new), logs or [LOG])

    def offsets(self, name: str) -> dict[tuple[str, int], int]:
        return read_offsets(str(self.new / name))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_log_goes_with_its_folder_and_only_once(world: World) -> None:
    assert world.move() == 1
    assert (world.new / f"t-3/{0:020}.log").read_bytes() == b"t-3"
    assert not (world.old / "t-3").exists()
    assert (world.new / "t-0").exists()
    assert world.move() == 0


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_its_offsets_go_along_and_those_of_others_stay(world: World, name: str) -> None:
    write_offsets(str(world.old / name), {("t", 3): 33, ("t", 4): 44})
    write_offsets(str(world.new / name), {("t", 0): 7})
    world.move()
    assert world.offsets(name) == {("t", 0): 7, ("t", 3): 33}


def test_without_recovery_points_of_the_old_place_nothing_is_believed(world: World) -> None:
    write_offsets(str(world.new / RECOVERY_POINT_CHECKPOINT), {("t", 0): 7})
    world.move()
    assert not (world.new / RECOVERY_POINT_CHECKPOINT).exists()


def test_recovery_points_are_not_made_up_where_they_were_lost(world: World) -> None:
    write_offsets(str(world.old / RECOVERY_POINT_CHECKPOINT), {("t", 3): 33})
    (world.new / RECOVERY_POINT_CHECKPOINT).write_bytes(b"garbage")
    world.move()
    assert (world.new / RECOVERY_POINT_CHECKPOINT).read_bytes() == b"garbage"


def test_a_new_directory_gets_the_recovery_points(world: World) -> None:
    write_offsets(str(world.old / RECOVERY_POINT_CHECKPOINT), {("t", 3): 33})
    os.rename(world.new / "t-0", world.root / "elsewhere")
    world.move()
    assert world.offsets(RECOVERY_POINT_CHECKPOINT) == {("t", 3): 33}


@pytest.mark.parametrize("clean", [True, False])
def test_an_unclean_log_makes_its_new_place_unclean(world: World, clean: bool) -> None:
    write_clean_shutdown(str(world.new), 1)
    if clean:
        write_clean_shutdown(str(world.old), 1)
    world.move()
    assert is_clean(str(world.new)) is clean


def test_all_of_it_is_durable_when_it_returns(world: World) -> None:
    write_offsets(str(world.old / LOG_START_CHECKPOINT), {("t", 3): 33})
    files = RecordingFiles(str(world.root))
    relocate(files, str(world.old), str(world.new), [LOG])
    files.close_watched()
    disk = Disk()
    for operation in files.journal:
        disk.apply(operation)
    (lost,) = [image for kept, image in disk.images(random.Random(0), 0) if "names lost" in kept][
        :1
    ]
    assert "new/t-3/partition.metadata" in lost
    assert "old/t-3" not in lost
    assert f"new/{LOG_START_CHECKPOINT}" in lost


def test_a_folder_of_another_topic_is_left(world: World) -> None:
    assert world.move(MovedLog("t", bytes(16), 3)) == 0
    assert (world.old / "t-3").exists()


def test_a_folder_that_does_not_say_whose_it_is_goes_along(world: World) -> None:
    (world.old / "t-3/partition.metadata").unlink()
    assert world.move() == 1


def test_what_is_in_the_way_is_set_aside(world: World) -> None:
    world.make(world.new / "t-3", bytes([7] * 16))
    assert world.move() == 1
    assert (world.new / f"t-3/{0:020}.log").read_bytes() == b"t-3"
    aside = world.new / f"t-3.{'07' * 16}-stray"
    assert (aside / f"{0:020}.log").read_bytes() == b"t-3", "made under that name"


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_node_that_still_runs_is_not_robbed(world: World, which: str) -> None:
    fd = SYSTEM_FILES.lock(str(world.root / which / ".lock"))
    assert fd is not None
    with pytest.raises(DirectoryInUseError, match="in use"):
        world.move()
    os.close(fd)
    assert world.move() == 1


def test_each_directory_of_a_node_by_itself(tmp_path: Path) -> None:
    worlds = []
    for name in "ab":
        (tmp_path / name).mkdir()
        worlds.append(World(tmp_path / name))
    first, second = worlds
    first.make(first.old / "t-4")
    for world in worlds:
        write_offsets(str(world.old / RECOVERY_POINT_CHECKPOINT), {("t", 3): 5, ("t", 4): 6})
        write_offsets(str(world.new / RECOVERY_POINT_CHECKPOINT), {("t", 0): 1})
    for folder in (second.new / "t-0", second.new):
        for file in folder.glob("*"):
            file.unlink()
        folder.rmdir()  # it is made
    old, new = ([str(world.root / which) for world in worlds] for which in ("old", "new"))
    logs = [LOG, MovedLog("t", ID, 4)]
    assert relocate_all(SYSTEM_FILES, old, new, logs) == 3
    assert relocate_all(SYSTEM_FILES, old, new, logs) == 0
    assert first.offsets(RECOVERY_POINT_CHECKPOINT) == {("t", 0): 1, ("t", 3): 5, ("t", 4): 6}
    assert second.offsets(RECOVERY_POINT_CHECKPOINT) == {("t", 3): 5}
    gone = [old[0], str(tmp_path / "gone")]
    assert relocate_all(SYSTEM_FILES, gone, new, logs) == 0

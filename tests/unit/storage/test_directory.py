"""Tests of the log directory: its owner, checkpoints, folders of logs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidelog.errors import StorageError
from tidelog.storage.directory import (
    LogFolder,
    Offsets,
    find_folders,
    folder_name,
    make_folder,
    open_directory,
    parse_folder,
    renamed_folder,
    write_checkpoints,
)
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.meta_properties import read_meta_properties
from tidelog.storage.partition_metadata import read_partition_metadata

ID = bytes(range(16))
OTHER_ID = bytes(range(1, 17))


def opened(directory: Path, node_id: int = 1, cluster_id: str = "c"):  # type: ignore[no-untyped-def]
    state = open_directory(SYSTEM_FILES, str(directory), node_id, cluster_id, ID, 0)
    assert state is not None
    os.close(state.lock_fd)
    return state


def test_a_new_directory_is_made_and_named(tmp_path: Path) -> None:
    state = opened(tmp_path / "a" / "b")
    assert state.offsets == Offsets()
    meta = read_meta_properties(str(tmp_path / "a" / "b" / "meta.properties"))
    assert meta is not None
    assert (meta.node_id, meta.cluster_id, meta.directory_id) == (1, "c", ID)


def test_only_one_process_has_it(tmp_path: Path) -> None:
    first = open_directory(SYSTEM_FILES, str(tmp_path), 1, "c", ID, 0)
    assert first is not None
    assert open_directory(SYSTEM_FILES, str(tmp_path), 1, "c", ID, 0) is None
    os.close(first.lock_fd)
    opened(tmp_path)


@pytest.mark.parametrize(("node_id", "cluster_id"), [(2, "c"), (1, "d")])
def test_it_belongs_to_one_node_of_one_cluster(
    tmp_path: Path, node_id: int, cluster_id: str
) -> None:
    opened(tmp_path)
    with pytest.raises(StorageError):
        open_directory(SYSTEM_FILES, str(tmp_path), node_id, cluster_id, ID, 0)
    opened(tmp_path)  # the lock was given back


def test_without_a_cluster_nothing_is_written(tmp_path: Path) -> None:
    assert opened(tmp_path, cluster_id="").meta is None
    assert not (tmp_path / "meta.properties").exists()


def test_checkpoints_are_read_and_written(tmp_path: Path) -> None:
    written = Offsets({("t", 0): 5, ("t", 1): 0}, {("t", 0): 2}, True)
    write_checkpoints(SYSTEM_FILES, str(tmp_path), written, Offsets())
    assert opened(tmp_path).offsets == written


def test_only_changed_checkpoints_are_written(tmp_path: Path) -> None:
    old = Offsets({("t", 0): 5}, {}, True)
    write_checkpoints(SYSTEM_FILES, str(tmp_path), old, old)
    assert os.listdir(tmp_path) == []
    write_checkpoints(SYSTEM_FILES, str(tmp_path), Offsets({("t", 0): 5}, {("t", 0): 1}, True), old)
    assert os.listdir(tmp_path) == ["log-start-offset-checkpoint"]
    # The first one is written even when it is empty: it says that nobody lost it.
    write_checkpoints(SYSTEM_FILES, str(tmp_path), Offsets(recovery_points_known=True), Offsets())
    assert (tmp_path / "recovery-point-offset-checkpoint").read_bytes() == b"0\n0\n"


def test_a_bad_checkpoint_is_told_and_not_used(tmp_path: Path) -> None:
    (tmp_path / "recovery-point-offset-checkpoint").write_bytes(b"garbage")
    (tmp_path / "log-start-offset-checkpoint").write_bytes(b"0\n1\nt 0 7\n")
    state = opened(tmp_path)
    assert state.offsets == Offsets({}, {("t", 0): 7}, False)
    assert len(state.notes) == 1
    (tmp_path / "recovery-point-offset-checkpoint").write_bytes(b"0\n1\nt 0 9\n")
    (tmp_path / "log-start-offset-checkpoint").write_bytes(b"garbage")
    assert opened(tmp_path).offsets == Offsets({("t", 0): 9}, {}, True)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("topic-0", ("topic", 0)),
        ("a-b.c_d-12", ("a-b.c_d", 12)),
        ("topic", ("", -1)),
        ("-0", ("", -1)),
        ("topic-", ("", -1)),
        ("topic-x", ("", -1)),
        ("topic-1.0123abc-delete", ("", -1)),
        ("topic-1.0123abc-stray", ("", -1)),
        ("topic-99999999999", ("", -1)),
        ("topic-2147483647", ("topic", 2**31 - 1)),
        ("topic-2147483648", ("", -1)),
        ("topic-007", ("", -1)),
    ],
)
def test_folder_names(name: str, parsed: tuple[str, int]) -> None:
    assert parse_folder(name) == parsed
    if parsed[0]:
        assert folder_name(*parsed) == name


def test_renamed_folders_fit_into_a_name() -> None:
    assert renamed_folder("t", 3, "ab", "-delete") == "t-3.ab-delete"
    name = renamed_folder("x" * 249, 3, "0" * 32, "-delete")
    assert len(name) == 255
    assert name.endswith("-3." + "0" * 32 + "-delete")


def test_make_folder(tmp_path: Path) -> None:
    path = str(tmp_path / "t-0")
    assert not make_folder(SYSTEM_FILES, path, ID)
    assert make_folder(SYSTEM_FILES, path, ID)
    assert read_partition_metadata(os.path.join(path, "partition.metadata")) == ID


def test_a_folder_without_an_id_gets_it(tmp_path: Path) -> None:
    (tmp_path / "t-0").mkdir()
    assert make_folder(SYSTEM_FILES, str(tmp_path / "t-0"), ID)
    assert read_partition_metadata(str(tmp_path / "t-0" / "partition.metadata")) == ID


def test_the_folder_of_another_topic_is_set_aside(tmp_path: Path) -> None:
    path = str(tmp_path / "t-0")
    make_folder(SYSTEM_FILES, path, OTHER_ID)
    Path(path, "precious").write_bytes(b"x")
    assert not make_folder(SYSTEM_FILES, path, ID)
    assert sorted(os.listdir(tmp_path)) == ["t-0", f"t-0.{OTHER_ID.hex()}-stray"]
    assert (tmp_path / f"t-0.{OTHER_ID.hex()}-stray" / "precious").exists()
    assert read_partition_metadata(os.path.join(path, "partition.metadata")) == ID


def test_find_folders(tmp_path: Path) -> None:
    make_folder(SYSTEM_FILES, str(tmp_path / "a-1"), ID)
    (tmp_path / "b-2").mkdir()
    (tmp_path / "c-3").mkdir()
    (tmp_path / "c-3" / "partition.metadata").write_bytes(b"garbage")
    (tmp_path / "other").mkdir()
    (tmp_path / "file-1").write_bytes(b"")
    assert find_folders(SYSTEM_FILES, str(tmp_path)) == [
        LogFolder("a-1", "a", 1, ID),
        LogFolder("b-2", "b", 2, None),
        LogFolder("c-3", "c", 3, None),
        LogFolder("other", "", -1, None),
    ]

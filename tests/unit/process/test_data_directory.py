"""The data directory: made once, locked, recorded atomically, refused when it is damaged."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidelog.errors import StorageError
from tidelog.process.data_directory import (
    DataDirectory,
    DataDirectoryError,
    FileLock,
    LockedError,
    new_cluster_id,
    rebuild_hint,
)


def test_cluster_ids_are_uuids_in_22_characters() -> None:
    ids = {new_cluster_id() for _ in range(200)}
    assert len(ids) == 200
    for text in ids:
        assert len(text) == 22 and not text.startswith("-")
        assert len(base64.urlsafe_b64decode(text + "==")) == 16


def test_a_new_directory_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    made = DataDirectory.open(path)
    made.add_node(1)
    made.add_node(2)
    made.save()
    assert (path / "node-2").is_dir()
    made.close()
    again = DataDirectory.open(path, make_cluster_id=lambda: "never")
    assert again.cluster_id == made.cluster_id
    assert again.nodes == {1: "node-1", 2: "node-2"}
    assert again.node_path(2) == path / "node-2"
    again.remove_node(2)
    again.save()
    again.close()
    assert json.loads((path / "cluster.json").read_text())["nodes"] == {"1": "node-1"}
    assert not list(path.glob("*.tmp"))


def test_a_folder_that_a_node_has_stays_its_own(tmp_path: Path) -> None:
    directory = DataDirectory.open(tmp_path)
    directory.nodes[7] = "elsewhere"
    directory.add_node(7)
    assert directory.nodes == {7: "elsewhere"}
    assert (tmp_path / "elsewhere").is_dir()
    directory.close()


def test_only_one_at_a_time(tmp_path: Path) -> None:
    first = DataDirectory.open(tmp_path)
    with pytest.raises(LockedError, match=f"in use by process {os.getpid()}"):
        DataDirectory.open(tmp_path)
    first.close()
    DataDirectory.open(tmp_path).close()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path\n"
        "from tidelog.process.data_directory import FileLock\n"
        "FileLock.take(Path(sys.argv[1])); print('taken', flush=True); sys.stdin.read()\n"
        "os.kill(os.getpid(), 9)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == b"taken\n"
        with pytest.raises(LockedError, match=f"process {other.pid}"):
            FileLock.take(tmp_path / ".lock")
        other.stdin.close()
        other.wait()
        FileLock.take(tmp_path / ".lock").release()


def test_a_path_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="file is not a directory"):
        DataDirectory.open(tmp_path / "file")
    for path in (tmp_path / "file" / "below", tmp_path / "zero\0byte"):
        with pytest.raises(DataDirectoryError, match="cannot be used"):
            DataDirectory.open(path)
    assert issubclass(DataDirectoryError, StorageError)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"format": 1}',
        b'{"format": 2, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {}}',
        b'{"format": 1, "cluster_id": "short", "nodes": {}}',
        b'{"format": 1, "cluster_id": 5, "nodes": {}}',
        b'{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": []}',
        b'{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {"x": "n"}}',
        b'{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {"1": "../n"}}',
        b'{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {"1": ".."}}',
        b'{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {"1": ""}}',
        b'{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {"1": "a\\u0000"}}',
        b'{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {"1": "\\ud800"}}',
        b'{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {"1": "n", "2": "n"}}',
        b"[" * 100_000,
    ],
    ids=lambda content: content[-20:].decode("latin-1"),
)
def test_a_damaged_record_is_refused_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cluster.json"
    file.write_bytes(content)
    with pytest.raises(DataDirectoryError, match=r"cluster\.json"):
        DataDirectory.open(tmp_path)
    assert file.read_bytes() == content
    # The lock is not kept by the failure.
    FileLock.take(tmp_path / ".lock").release()


def test_a_stop_in_the_middle_of_saving_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = DataDirectory.open(tmp_path)
    before = (tmp_path / "cluster.json").read_bytes()
    directory.nodes[1] = "node-1"

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(DataDirectoryError, match="No space"):
            directory.save()
    assert (tmp_path / "cluster.json").read_bytes() == before
    directory.save()
    directory.close()


@pytest.mark.parametrize("store", [None, b""])
def test_logs_without_their_store_are_no_new_cluster(tmp_path: Path, store: bytes | None) -> None:
    made = DataDirectory.open(tmp_path)
    made.add_node(1)
    made.save()
    made.close()
    if store is not None:
        (tmp_path / "metadata.db").write_bytes(store)
    DataDirectory.open(tmp_path).close()  # nothing is lost: there is no log yet
    gone = tmp_path / "node-1" / "u-0.0123-delete"
    for folder in (gone, tmp_path / "node-1" / "t-0"):
        DataDirectory.open(tmp_path).close()
        folder.mkdir()
        (folder / "partition.metadata").write_text("?")
    # A journal without its store is none: SQLite gives the store a page before it has one.
    for _ in range(2):  # the lock is given up
        with pytest.raises(DataDirectoryError, match=r"missing or empty, .* hold 1 log") as refused:
            DataDirectory.open(tmp_path)
        (tmp_path / "metadata.db-wal").write_bytes(b"journal")
    assert f"`tidelog metadata rebuild --data-dir {tmp_path}`" in str(refused.value)
    (tmp_path / "metadata.db").write_bytes(b"store")
    opened = DataDirectory.open(tmp_path)
    with pytest.raises(DataDirectoryError, match=r"metadata\.db holds nothing, .* hold 1 log"):
        opened.check_no_logs("holds nothing")
    opened.close()


@pytest.mark.parametrize("content", [None, b"{"])
def test_nodes_without_their_record_are_no_new_cluster(
    tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "node-1").mkdir()
    (tmp_path / "node-1" / "meta.properties").write_bytes(b"")
    if content is not None:
        (tmp_path / "cluster.json").write_bytes(content)
    for _ in range(2):  # the lock is given up
        with pytest.raises(DataDirectoryError, match=r"cluster\.json .*tidelog metadata rebuild"):
            DataDirectory.open(tmp_path)
    assert (tmp_path / "cluster.json").exists() == (content is not None)


def test_the_folder_of_another_program_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "kafka-logs").mkdir()
    (tmp_path / "kafka-logs" / "meta.properties").write_bytes(b"")
    DataDirectory.open(tmp_path).close()


def test_the_hint_can_be_copied() -> None:
    assert "`tidelog metadata rebuild --data-dir '/a b'`" in rebuild_hint(Path("/a b"))


def test_a_start_that_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    directory = DataDirectory.open(path)
    directory.add_node(1)
    directory.save()
    directory.forget_if_new()
    directory.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_or_is_used_stays(tmp_path: Path) -> None:
    old = DataDirectory.open(tmp_path / "old")
    old.close()
    again = DataDirectory.open(tmp_path / "old")
    again.forget_if_new()
    again.close()
    assert (tmp_path / "old" / "cluster.json").exists()
    used = DataDirectory.open(tmp_path / "used")
    used.add_node(1)
    (tmp_path / "used" / "node-1" / "file").touch()
    used.forget_if_new()
    used.close()
    assert (tmp_path / "used" / "node-1" / "file").exists()
    assert (tmp_path / "used" / "cluster.json").exists()
    stored = DataDirectory.open(tmp_path / "stored")
    stored.store_path.touch()
    stored.forget_if_new()
    stored.close()
    assert stored.store_path.exists()
    assert (tmp_path / "stored" / "cluster.json").exists()


@pytest.mark.parametrize("content", [b"hello world\n", b"\x00\xff\x80" * 1000, b"version=7\n", b""])
def test_a_nodes_damaged_meta_properties_is_one_line(tmp_path: Path, content: bytes) -> None:
    directory = DataDirectory.open(tmp_path)
    directory.add_node(1)
    directory.check_nodes()  # not written yet
    (tmp_path / "node-1" / "meta.properties").write_bytes(content)
    with pytest.raises(DataDirectoryError, match="properties") as caught:
        directory.check_nodes()
    assert len(str(caught.value).splitlines()) == 1
    directory.close()


def test_other_log_directories_are_made_once(tmp_path: Path) -> None:
    others = [tmp_path / "b", tmp_path / "c" / "d"]
    directory = DataDirectory.open(tmp_path / "a", others=others)
    directory.add_node(1)
    directory.save()
    assert directory.node_paths(1) == [
        tmp_path / "a" / "node-1",
        tmp_path / "b" / "node-1",
        tmp_path / "c" / "d" / "node-1",
    ]
    assert all(path.is_dir() for path in directory.node_paths(1))
    directory.close()
    # A disk that is not there is not made up for; one that was emptied is taken as it is.
    (tmp_path / "b" / "node-1").rmdir()
    (tmp_path / "b").rmdir()
    (tmp_path / "c" / "d" / "node-1").rmdir()
    directory = DataDirectory.open(tmp_path / "a", others=others)
    directory.add_node(1)
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "c" / "d" / "node-1").is_dir()
    directory.close()


def test_log_directories_come_and_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = DataDirectory.open(tmp_path / "a", others=[tmp_path / "b"])
    directory.save()
    directory.close()
    directory = DataDirectory.open(tmp_path / "a", others=[tmp_path / "c"])
    directory.save()
    directory.close()
    assert f"log directory not used any more directory={tmp_path / 'b'}" in caplog.text
    content = json.loads((tmp_path / "a" / "cluster.json").read_text())
    assert content["log_directories"] == [str(tmp_path / "c")]
    # (Without the list, as a tool opens it that was not told.)
    directory = DataDirectory.open(tmp_path / "a")
    directory.save()
    directory.close()
    assert "log_directories" not in json.loads((tmp_path / "a" / "cluster.json").read_text())


def test_logs_elsewhere_are_logs(tmp_path: Path) -> None:
    others = [tmp_path / "b"]
    directory = DataDirectory.open(tmp_path / "a", others=others)
    directory.add_node(1)
    directory.save()
    directory.close()
    log = tmp_path / "b" / "node-1" / "t-0"
    log.mkdir()
    (log / "partition.metadata").write_text("version: 0\n")
    with pytest.raises(DataDirectoryError, match=r"the nodes hold 1 log\(s\)"):
        DataDirectory.open(tmp_path / "a", others=others)


def test_a_start_that_failed_leaves_no_log_directory(tmp_path: Path) -> None:
    directory = DataDirectory.open(tmp_path / "a", others=[tmp_path / "b"])
    directory.add_node(1)
    directory.forget_if_new()
    directory.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("others", ['"x"', "[1]", '["relative"]', '["/a\\u0000"]', "{}"])
def test_log_directories_that_are_none(tmp_path: Path, others: str) -> None:
    (tmp_path / "cluster.json").write_text(
        '{"format": 1, "cluster_id": "aaaaaaaaaaaaaaaaaaaaaa", "nodes": {},'
        f' "log_directories": {others}}}'
    )
    with pytest.raises(DataDirectoryError, match="damaged"):
        DataDirectory.open(tmp_path)

"""Tests of the file operations: what is replaced atomically, bounded, locked."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from tidelog.errors import SyncError
from tidelog.storage import files
from tidelog.storage.files import SYSTEM_FILES, Entry, Files, FileTooLargeError


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    SYSTEM_FILES.write(str(path), b"first, and longer")
    SYSTEM_FILES.write(str(path), b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    class Failing(Files):
        def sync(self, fd: int) -> None:
            raise OSError("no sync")

    path = tmp_path / "checkpoint"
    path.write_bytes(b"old")
    with pytest.raises(OSError):
        Failing().write(str(path), b"new")
    assert path.read_bytes() == b"old"


def test_write_syncs_content_before_the_name(tmp_path: Path) -> None:
    order = []

    class Recording(Files):
        def sync(self, fd: int) -> None:
            order.append("sync")
            super().sync(fd)

        def rename(self, old: str, new: str) -> None:
            order.append("rename")
            super().rename(old, new)

        def sync_directory(self, path: str) -> None:
            order.append(f"directory {os.path.basename(path)}")
            super().sync_directory(path)

    Recording().write(str(tmp_path / "x"), b"1")
    assert order == ["sync", "rename", f"directory {tmp_path.name}"]
    order.clear()
    Recording().write(str(tmp_path / "x"), b"1", durable=False)
    assert order == ["rename"]


def test_read_refuses_what_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    assert SYSTEM_FILES.read(str(path), 11) == b"x" * 11
    with pytest.raises(FileTooLargeError):
        SYSTEM_FILES.read(str(path), 10)
    with pytest.raises(FileNotFoundError):
        SYSTEM_FILES.read(str(tmp_path / "none"))
    os.mkfifo(tmp_path / "fifo")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)  # so that opening it to read does not wait
    with pytest.raises(OSError):
        SYSTEM_FILES.read(str(tmp_path / "fifo"))
    os.close(writer)


def test_list_directory(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_bytes(b"")
    assert SYSTEM_FILES.list_directory(str(tmp_path)) == [
        Entry("a", True, False),
        Entry("b", False, True),
    ]


def test_descriptors(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    fd = SYSTEM_FILES.create(path)
    SYSTEM_FILES.write_at(fd, 0, b"0123456789")
    assert SYSTEM_FILES.read_at(fd, 3, 4) == b"3456"
    SYSTEM_FILES.truncate(fd, 5)
    assert SYSTEM_FILES.size(fd) == 5
    SYSTEM_FILES.sync(fd)
    SYSTEM_FILES.sync_data(fd)
    assert SYSTEM_FILES.modified_ms(fd) == os.stat(path).st_mtime_ns // 10**6
    SYSTEM_FILES.close(fd)
    fd = SYSTEM_FILES.open_or_create(path)
    assert SYSTEM_FILES.size(fd) == 5
    SYSTEM_FILES.close(fd)
    fd = SYSTEM_FILES.create(path)
    assert SYSTEM_FILES.size(fd) == 0
    SYSTEM_FILES.close(fd)
    with pytest.raises(FileNotFoundError):
        SYSTEM_FILES.open(str(tmp_path / "none"))


def test_failed_syncs_have_a_type_of_their_own() -> None:
    first, second = os.pipe()
    try:
        for sync in (SYSTEM_FILES.sync, SYSTEM_FILES.sync_data):
            with pytest.raises(SyncError) as caught:
                sync(first)
            assert caught.value.errno == errno.EINVAL
    finally:
        os.close(first)
        os.close(second)
    with pytest.raises(FileNotFoundError):
        SYSTEM_FILES.sync_directory("/nowhere")


def test_sizes_by_name(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123")
    assert SYSTEM_FILES.size_of(str(tmp_path / "f")) == 3
    with pytest.raises(FileNotFoundError):
        SYSTEM_FILES.size_of(str(tmp_path / "none"))


def test_reserve_keeps_the_size(tmp_path: Path) -> None:
    fd = SYSTEM_FILES.create(str(tmp_path / "f"))
    if SYSTEM_FILES.reserve(fd, 0, 1 << 20):
        assert SYSTEM_FILES.blocks_bytes(fd) >= 1 << 20
        SYSTEM_FILES.truncate(fd, 0)
        assert os.fstat(fd).st_blocks == 0
    assert SYSTEM_FILES.size(fd) == 0
    SYSTEM_FILES.close(fd)
    with pytest.raises(OSError):
        SYSTEM_FILES.reserve(fd, 0, 4096)


def test_a_signal_interrupts_no_reservation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tmpfs begins anew after each signal: those of the sampler would come for ever."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    masks, errors = [], [errno.EINTR, errno.EINTR, 0]

    def interrupted(*_: int) -> int:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        ctypes.set_errno(errors[0])
        return -1 if errors.pop(0) else 0

    monkeypatch.setattr(files, "_libc", SimpleNamespace(fallocate=interrupted))
    assert SYSTEM_FILES.reserve(0, 0, 1)
    assert not errors and all(signal.SIGPROF in mask for mask in masks)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_removals_may_find_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"")
    assert SYSTEM_FILES.unlink(str(path))
    assert not SYSTEM_FILES.unlink(str(path))
    (tmp_path / "d" / "e").mkdir(parents=True)
    SYSTEM_FILES.remove_tree(str(tmp_path / "d"))
    SYSTEM_FILES.remove_tree(str(tmp_path / "d"))
    assert not SYSTEM_FILES.exists(str(tmp_path / "d"))


def test_the_lock_ends_with_its_descriptor(tmp_path: Path) -> None:
    path = str(tmp_path / ".lock")
    first = SYSTEM_FILES.lock(path)
    assert first is not None
    assert SYSTEM_FILES.lock(path) is None
    os.close(first)
    second = SYSTEM_FILES.lock(path)
    assert second is not None
    os.close(second)


def test_sync_file_system(tmp_path: Path) -> None:
    SYSTEM_FILES.sync_file_system(str(tmp_path))
    with pytest.raises(OSError):
        SYSTEM_FILES.sync_file_system(str(tmp_path / "none"))


def test_writing_out_changes_nothing(tmp_path: Path) -> None:
    fd = SYSTEM_FILES.create(str(tmp_path / "file"))
    SYSTEM_FILES.write_at(fd, 0, b"x" * 100_000)
    SYSTEM_FILES.write_out(fd, 0, 100_000)
    assert SYSTEM_FILES.size(fd) == 100_000
    SYSTEM_FILES.close(fd)
    with pytest.raises(SyncError):
        SYSTEM_FILES.write_out(fd, 0, 1)


def test_the_time_of_the_last_change_can_be_set(tmp_path: Path) -> None:
    fd = SYSTEM_FILES.create(str(tmp_path / "file"))
    SYSTEM_FILES.set_modified(fd, 1_700_000_000_123)
    assert SYSTEM_FILES.modified_ms(fd) == 1_700_000_000_123
    SYSTEM_FILES.close(fd)

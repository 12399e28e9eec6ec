"""The folder of a profile, and what is asked of a file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tidelog.profiling import place
from tidelog.profiling.gather import ProfileError
from tidelog.profiling.place import (
    cached_share,
    check_room,
    drop_cache,
    file_system,
    fill_file,
    mounted_type,
    open_direct,
    reserve,
    work_folder,
)

MOUNTS = [
    "22 1 0:1 / / rw,relatime shared:1 - ext4 /dev/x rw",
    "23 22 0:2 / /data rw - xfs /dev/y rw",
    r"24 22 0:3 / /data/a\040b rw - btrfs /dev/z rw",
    "25 22 0:4 / /data rw master:2 - tmpfs none rw",
    "nonsense",
]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "ext4"), ("/database", "ext4"), ("/data", "tmpfs"), ("/data/a b/c", "btrfs")],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert mounted_type(MOUNTS, path) == kind


def test_nobody_knows_a_file_system() -> None:
    assert mounted_type([], "/x") == "unknown"
    assert file_system(Path("/proc")) == "proc"


@pytest.mark.parametrize("error", [None, ValueError("x"), KeyboardInterrupt()])
def test_the_folder_goes_in_every_ending(tmp_path: Path, error: BaseException | None) -> None:
    def use() -> None:
        with work_folder(tmp_path, 1) as folder:
            assert folder.parent == tmp_path
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text("x")
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(type(error)):
            use()
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_refuses_is_one_line(tmp_path: Path) -> None:
    told = pytest.raises(ProfileError, match=f"^{tmp_path}: No space left on device$")
    with told, work_folder(tmp_path, 1):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for directory, problem in (
        (tmp_path / "none", "No such file"),
        (file, "Not a directory"),
    ):
        told = pytest.raises(ProfileError, match=f"{directory}: {problem}")
        with told, work_folder(directory, 1):
            pass

    def refused(**_: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "x")

    monkeypatch.setattr(place.tempfile, "mkdtemp", refused)
    with pytest.raises(ProfileError, match="Permission denied"), work_folder(tmp_path, 1):
        pass


def test_room_is_looked_for_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(f_bavail=100_000, f_frsize=1000)  # 100 MB
    monkeypatch.setattr(place.os, "statvfs", lambda _: free)
    check_room(tmp_path, 10_000_000)
    with pytest.raises(ProfileError, match="100 MB are free, 267 MB are needed"):
        check_room(tmp_path, 200_000_000)


def test_space_is_reserved_without_a_larger_file(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        try:
            reserve(file.fileno(), 1 << 20)
        except OSError as error:
            assert error.errno in (errno.EOPNOTSUPP, errno.ENOSYS)
            return
        found = os.fstat(file.fileno())
    assert (found.st_size, found.st_blocks * 512) == (0, 1 << 20)
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError):
        reserve(file.fileno(), 1 << 20)


def test_the_page_cache_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fill_file(path, 1_000_000)
    with path.open("r+b") as file:
        file.read()
        assert cached_share(file.fileno(), 1_000_000) == 1
        drop_cache(file.fileno())
        left = cached_share(file.fileno(), 1_000_000)
        assert left == (1 if file_system(tmp_path) in place.IN_MEMORY else 0)


def test_direct_access_is_not_faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    with pytest.raises(ProfileError, match="tmpfs keeps files in memory"):
        open_direct(path, os.O_RDWR | os.O_CREAT, "tmpfs")

    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "x")

    monkeypatch.setattr(place.os, "open", refuse)
    with pytest.raises(ProfileError, match="oddfs refuses O_DIRECT"):
        open_direct(path, os.O_RDWR | os.O_CREAT, "oddfs")

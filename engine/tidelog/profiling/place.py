"""Where a profile writes: a folder of its own on the file system that is measured, and what that
file system can do.

Owned by the process of the command. The folder is removed in every ending but SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tidelog.benchmarks.targets import undisturbed
from tidelog.profiling.gather import ProfileError

PREFIX: Final = "tidelog-profile-"
#: They keep files in memory alone: nothing there is synced, uncached or direct, whatever they say
#: (tmpfs takes O_DIRECT since Linux 6.6 and goes through the page cache all the same).
IN_MEMORY: Final = ("tmpfs", "ramfs")
#: What has to stay free beside what is written.
SPARE_BYTES: Final = 64 << 20
FALLOC_FL_KEEP_SIZE: Final = 1
MAP_SHARED, PROT_READ, MAP_FAILED = 1, 1, ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
_libc.mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


@contextlib.contextmanager
def work_folder(directory: Path, needed_bytes: int) -> Iterator[Path]:
    """A new folder in the directory, for so many bytes at a time. Raises ProfileError, also for
    what the system refuses while it is used."""
    try:
        check_room(directory, needed_bytes)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
    except OSError as error:
        raise ProfileError(f"{directory}: {error.strerror}") from error
    try:
        yield folder
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(str(folder)):
            raise ProfileError(f"{directory}: {error.strerror or error}") from error
        raise
    finally:
        with undisturbed():
            shutil.rmtree(folder, ignore_errors=True)


def check_room(directory: Path, needed_bytes: int) -> None:
    """Raises ProfileError when there is less, OSError for what is no directory."""
    if not stat.S_ISDIR(directory.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free < needed_bytes + SPARE_BYTES:
        raise ProfileError(
            f"{directory}: {free / 1e6:,.0f} MB are free, {(needed_bytes + SPARE_BYTES) / 1e6:,.0f}"
            " MB are needed (--bytes or --quick writes less, --directory elsewhere)"
        )


def file_system(directory: Path) -> str:
    """Its type, such as ext4, from /proc/self/mountinfo (proc(5)); "unknown" without that."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return mounted_type(lines, os.path.realpath(directory))


def mounted_type(lines: list[str], path: str) -> str:
    """The type of the last mount on the longest mount point that holds the path."""
    best, found = -1, "unknown"
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds:
            continue
        point = fields[4].encode().decode("unicode_escape")  # blanks stand there as \040
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, found = len(point), kinds[0]
    return found


def is_virtual() -> bool:
    """Whether this is a virtual machine: its host may keep a cache of the disk."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("flags") and " hypervisor" in line for line in lines)


def reserve(fd: int, size: int) -> None:
    """fallocate(2) with KEEP_SIZE, as brokers preallocate. Raises OSError."""
    if _libc.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def open_direct(path: Path, flags: int, kind: str) -> int:
    """A descriptor with O_DIRECT. kind: of the file system. Raises ProfileError where it is
    refused or means nothing."""
    if kind in IN_MEMORY:
        raise ProfileError(f"{kind} keeps files in memory: it has no O_DIRECT")
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ProfileError(f"{kind} refuses O_DIRECT") from error


def drop_cache(fd: int) -> None:
    """Writes out what is dirty, and asks the kernel to forget the file's pages."""
    os.fdatasync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def cached_share(fd: int, size: int) -> float:
    """Part of the file's pages that are in the page cache (mincore(2)). Raises OSError."""
    place = _libc.mmap(None, size, PROT_READ, MAP_SHARED, fd, 0)
    if place == MAP_FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    pages = -(-size // mmap.PAGESIZE)
    known = ctypes.create_string_buffer(pages)
    try:
        if _libc.mincore(place, size, known) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        _libc.munmap(place, size)
    return sum(byte & 1 for byte in known.raw) / pages


def fill_file(path: Path, size: int, chunk: int = 1 << 20) -> None:
    """Writes size bytes that no file system can compress, and syncs them. Raises OSError."""
    block = os.urandom(chunk)
    with path.open("wb", buffering=0) as file:
        left = size
        while left > 0:
            left -= file.write(block[: min(left, chunk)])
        os.fdatasync(file.fileno())

"""The one place where the storage engine touches directories and descriptors.

Used by helper threads and by the opening of logs, never on the event loop (all of it may wait for
the disk). Every function of the engine that opens, sizes, syncs, renames or removes a file gets a
`Files`; a test hands in another one, to record operations, to fail them, or to end the world after
the n-th. The bytes of batches and index entries are written natively, through descriptors and
mappings that were opened here.

Errors are OSError, as the system gives them; SyncError where what was written before is in doubt.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import fcntl
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tidelog.errors import SyncError
from tidelog.storage.durations import SYNCS

if TYPE_CHECKING:
    from tidelog._native.segment import WriteHook

_FALLOC_FL_KEEP_SIZE = 1
_SYNC_FILE_RANGE_WRITE_AND_WAIT = 7
#: Largest small file (checkpoint, metadata, snapshot) that is read whole.
SMALL_FILE_LIMIT_BYTES = 64 * 1024 * 1024


class FileTooLargeError(OSError):
    """A file that should be small is not; it is not read into memory."""


def _sync(call: Callable[[int], None], fd: int, path: str | None = None) -> None:
    began_s = time.monotonic()
    try:
        call(fd)
    except OSError as error:
        raise SyncError(error.errno, error.strerror, path) from None
    finally:
        SYNCS.observe(time.monotonic() - began_s)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory."""

    name: str
    is_file: bool
    is_directory: bool


class Files:
    """Operations on real files."""

    #: What the native appends go through instead of the system calls; for tests.
    append_hook: WriteHook | None = None

    # ---- names

    def list_directory(self, path: str) -> list[Entry]:
        """What is in the directory, by name; symbolic links are followed."""
        with os.scandir(path) as entries:
            found = [Entry(e.name, e.is_file(), e.is_dir()) for e in entries]
        return sorted(found, key=lambda entry: entry.name)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def size_of(self, path: str) -> int:
        """size() by name. Raises FileNotFoundError."""
        return os.stat(path).st_size

    def make_directory(self, path: str) -> None:
        """Makes the directory with its parents; it may exist already."""
        os.makedirs(path, exist_ok=True)

    def rename(self, old: str, new: str) -> None:
        """Atomic; `new` is replaced if it is there. Durable after sync_directory()."""
        os.rename(old, new)

    def unlink(self, path: str) -> bool:
        """Removes a file. Returns whether it was there."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        return True

    def remove_tree(self, path: str) -> None:
        """Removes a directory with all that is in it; it may be gone already."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def sync_directory(self, path: str) -> None:
        """Makes creations, renames and removals in the directory durable. Raises SyncError."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(os.fsync, fd, path)
        finally:
            os.close(fd)

    def sync_file_system(self, path: str) -> None:
        """Makes everything durable that was written to the file system of `path`.

        For the end of thousands of files at once. Raises SyncError, also for an earlier write that
        failed (Linux 5.8).
        """
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise SyncError(code, os.strerror(code), path)
        finally:
            os.close(fd)

    # ---- descriptors

    def open(self, path: str) -> int:
        """A descriptor for reading and writing. Raises FileNotFoundError."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def open_to_read(self, path: str) -> int:
        """A descriptor for reading only. Raises FileNotFoundError."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def create(self, path: str) -> int:
        """A descriptor of a new, empty file; what was there is emptied."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def open_or_create(self, path: str) -> int:
        """A descriptor of the file as it is, made empty if it was not there."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def close(self, fd: int) -> None:
        os.close(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def blocks_bytes(self, fd: int) -> int:
        """What the file takes on the disk, blocks reserved behind its end included."""
        return os.fstat(fd).st_blocks * 512

    def modified_ms(self, fd: int) -> int:
        return os.fstat(fd).st_mtime_ns // 1_000_000

    def set_modified(self, fd: int, modified_ms: int) -> None:
        """Sets when the file was written last."""
        os.utime(fd, ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))

    def read_at(self, fd: int, position: int, size: int) -> bytes:
        """Up to `size` bytes."""
        return os.pread(fd, size, position)

    def write_at(self, fd: int, position: int, data: bytes) -> None:
        """Writes all of it."""
        view = memoryview(data)
        while view:
            done = os.pwrite(fd, view, position)
            view, position = view[done:], position + done

    def cut(self, path: str, size: int) -> None:
        """truncate() by name."""
        os.truncate(path, size)

    def truncate(self, fd: int, size: int) -> None:
        """Cuts or grows the file; cutting also gives back blocks reserved behind its end."""
        os.ftruncate(fd, size)

    def sync_file(self, path: str) -> None:
        """sync() by name."""
        fd = self.open(path)
        try:
            self.sync(fd)
        finally:
            self.close(fd)

    def sync(self, fd: int) -> None:
        """Content and metadata are on the disk when it returns. Raises SyncError."""
        _sync(os.fsync, fd)

    def sync_data(self, fd: int) -> None:
        """Content and a changed size are on the disk when it returns. Raises SyncError."""
        _sync(os.fdatasync, fd)

    def write_out(self, fd: int, position: int, size: int) -> None:
        """Returns when what stands there was given to the disk. That makes nothing durable, but a
        sync later has little to do: a journal that waits for much of one file holds up the appends
        to others. Raises SyncError.
        """
        call = partial(_libc.sync_file_range, fd, position, size, _SYNC_FILE_RANGE_WRITE_AND_WAIT)
        if (code := _call(call)) not in (0, errno.ENOSYS, errno.EINVAL):
            raise SyncError(code, os.strerror(code))

    def reserve(self, fd: int, position: int, size: int) -> bool:
        """Has the file system keep blocks ready without changing the file's size.

        Returns False when the file system cannot. Raises OSError (ENOSPC and the like).
        """
        # A file system that lets itself be interrupted (tmpfs) begins anew each time: the ticks of
        # the sampler would keep it from ever coming to its end.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
        try:
            code = _call(partial(_libc.fallocate, fd, _FALLOC_FL_KEEP_SIZE, position, size))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if code == 0:
            return True
        if code in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise OSError(code, os.strerror(code))

    # ---- whole small files

    def read(self, path: str, limit_bytes: int = SMALL_FILE_LIMIT_BYTES) -> bytes:
        """The whole file. Raises FileNotFoundError, FileTooLargeError."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            if info.st_size > limit_bytes:
                raise FileTooLargeError(errno.EFBIG, os.strerror(errno.EFBIG), path)
            return file.read(info.st_size)

    def write(self, path: str, data: bytes, *, durable: bool = True) -> None:
        """Replaces the file, atomically and durably: a crash leaves the old or the new one.

        Not `durable`: so it is for a killed process; after a power cut it may be anything.
        """
        temporary = f"{path}.tmp"
        fd = self.create(temporary)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                self.sync(fd)
        finally:
            self.close(fd)
        self.rename(temporary, path)
        if durable:
            self.sync_directory(os.path.dirname(path))

    # ---- locks

    def lock(self, path: str) -> int | None:
        """Takes an exclusive lock that ends with the descriptor (or its process).

        Returns the descriptor, None when another process holds the lock.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        return fd


def _call(function: Callable[[], int]) -> int:
    """Calls it again while signals interrupt it. Returns 0 or its error."""
    while function() != 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            return code
    return 0


_libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.fallocate.restype = ctypes.c_int
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_libc.sync_file_range.restype = ctypes.c_int

#: The files of this machine.
SYSTEM_FILES = Files()

"""Warming of cold file ranges, so that `sendfile` on the loop does not wait for a disk.

A helper thread reads the range once into a buffer that it throws away; the pages stay in the page
cache. It reads a little further: whoever reads on looks up the next batch there, on the loop. For
one who reads on and on, it has the kernel begin with what comes next, in windows that grow.

It reads through a description of its own, on which the kernel's own read-ahead is off: that one
leaves a mark in the page cache, and whoever meets the mark begins the next read, megabytes of it:
it was the loop, in the midst of sendfile, for 10 ms and more.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

_STEP_BYTES = 256 * 1024
#: Beyond the range: more than a look-up reads (LOOK_UP_BYTES of connections). Without it the loop
#: of a follower's leader waited there for the disk, 5 to 50 ms.
_BEYOND_BYTES = 64 * 1024
#: What is begun ahead of a range, for its second and for every later continuation.
_WINDOW_MIN_BYTES = 512 * 1024
_WINDOW_MAX_BYTES = 8 * 1024 * 1024
#: Files whose readers are remembered. More take turns: they are read without a window.
_FILES_MAX = 256
_local = threading.local()


class Windows:
    """How far the reading of each file was begun. Any thread.

    Two readers in the same file share its entry: close ones share the window as well, and if they
    are far apart, both are taken for readers that jump.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: OrderedDict[tuple[int, int], tuple[int, int]] = OrderedDict()

    def next(self, file: tuple[int, int], position: int, end: int) -> tuple[int, int]:
        """What is to be begun now, as (from, to), for a reader that needs `position` to `end` of
        the file (device, inode). Empty if that has been begun.
        """
        with self._lock:
            begun, window = self._begun.pop(file, (0, 0))
            if not begun - 2 * _WINDOW_MAX_BYTES <= position <= begun or begun == 0:
                begun, window = position, 0
            to = max(begun, end + window)
            if begun > end and to - begun < window // 4:
                to = begun  # not in crumbs
            else:
                window = min(max(2 * window, _WINDOW_MIN_BYTES), _WINDOW_MAX_BYTES)
            self._begun[file] = to, window
            if len(self._begun) > _FILES_MAX:
                self._begun.popitem(last=False)
        return begun, to


class ReadAhead:
    """`warm(fd, position, size, callback)` reads on the executor and then calls `callback()` on
    the loop. With the callback None, nobody waits: what comes next for a reader at `position` is
    begun, if there is nothing against it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, executor: Executor) -> None:
        self._loop = loop
        self._executor = executor
        self._windows = Windows()

    def warm(self, fd: int, position: int, size: int, callback: Callable[[], None] | None) -> None:
        """The descriptor is duplicated: the answer that sends from it may be dropped meanwhile.

        Without a descriptor or a helper to be had nothing is read ahead: sending then waits for
        the disk, which is better than not sending.
        """
        try:
            own = os.dup(fd)
        except OSError:
            self._tell(callback)
            return
        try:
            self._executor.submit(self._read, own, position, size, callback)
        except RuntimeError:  # it is shut down
            os.close(own)
            self._tell(callback)

    def _tell(self, callback: Callable[[], None] | None) -> None:
        if callback is not None:
            self._loop.call_soon_threadsafe(callback)

    def _read(self, fd: int, position: int, size: int, callback: Callable[[], None] | None) -> None:
        try:
            self._bring(fd, position, size + _BEYOND_BYTES if callback is not None else 0)
        except OSError:
            pass  # sendfile meets the same error on the loop, where the connection is closed for it
        finally:
            os.close(fd)
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self._tell(callback)

    def _bring(self, fd: int, position: int, size: int) -> None:
        try:
            own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # there is no /proc
            read_range(fd, position, size)
            return
        try:
            os.posix_fadvise(own, 0, 0, os.POSIX_FADV_RANDOM)
            status = os.fstat(own)
            file = status.st_dev, status.st_ino
            begin, end = self._windows.next(file, position, position + size)
            if begin < end:
                os.posix_fadvise(own, begin, end - begin, os.POSIX_FADV_WILLNEED)
            read_range(own, position, size)
        finally:
            os.close(own)


def read_range(fd: int, position: int, size: int) -> int:
    """Read the range, keep nothing. Returns the bytes read (less than `size` at the end of the
    file).
    """
    buffer = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = bytearray(_STEP_BYTES)
    view = memoryview(buffer)
    done = 0
    while done < size:
        n = os.preadv(fd, [view[: min(_STEP_BYTES, size - done)]], position + done)
        if n == 0:
            break
        done += n
    return done

"""Warming of cold file ranges, so that `sendfile` on the loop does not wait for a disk.

A helper thread reads the range once into a buffer that it throws away; the pages stay in the page
cache. (readahead(2) would only start the reading: the loop would wait for the rest of it.) It reads
a little further: whoever reads on looks up the next batch there, on the loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

_STEP_BYTES = 256 * 1024
#: Beyond the range: more than a look-up reads (LOOK_UP_BYTES of connections). Without it the loop
#: of a follower's leader waited there for the disk, 5 to 50 ms.
_BEYOND_BYTES = 64 * 1024
_local = threading.local()


class ReadAhead:
    """`warm(fd, position, size, callback)` reads on the executor and then calls `callback()` on
    the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, executor: Executor) -> None:
        self._loop = loop
        self._executor = executor

    def warm(self, fd: int, position: int, size: int, callback: Callable[[], None]) -> None:
        """The descriptor is duplicated: the answer that sends from it may be dropped meanwhile.

        Without a descriptor or a helper to be had nothing is read ahead: sending then waits for
        the disk, which is better than not sending.
        """
        try:
            own = os.dup(fd)
        except OSError:
            self._loop.call_soon(callback)
            return
        try:
            self._executor.submit(self._read, own, position, size, callback)
        except RuntimeError:  # it is shut down
            os.close(own)
            self._loop.call_soon(callback)

    def _read(self, fd: int, position: int, size: int, callback: Callable[[], None]) -> None:
        try:
            read_range(fd, position, size + _BEYOND_BYTES)
        except OSError:
            pass  # sendfile meets the same error on the loop, where the connection is closed for it
        finally:
            os.close(fd)
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(callback)


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

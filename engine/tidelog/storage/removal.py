"""Files that are out of use: unlinked after a delay, so that readers that still hold them go on.

Belongs to one PartitionLog, or (whole folders) to a log manager; timers on the loop, unlinking on
helper threads. What a crash leaves is found by its `.deleted` suffix when the log is opened again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Final

from tidelog.storage.files import Files

logger: Final = logging.getLogger(__name__)


class Removal:
    """Loop thread only."""

    def __init__(self, files: Files, executor: Executor) -> None:
        self._files = files
        self._executor = executor
        self._timers: dict[asyncio.TimerHandle, Sequence[str]] = {}
        self._running: set[asyncio.Future[None]] = set()

    def use(self, files: Files) -> None:
        """What comes now is in another directory."""
        self._files = files

    @property
    def pending(self) -> list[str]:
        """Paths whose time has not come."""
        return [path for paths in self._timers.values() for path in paths]

    def unlink_later(self, paths: Sequence[str], delay_ms: int) -> None:
        """Paths that are gone by then are passed over."""

        def due() -> None:
            del self._timers[timer]
            self._unlink(paths)

        timer = asyncio.get_running_loop().call_later(delay_ms / 1000, due)
        self._timers[timer] = paths

    async def close(self, *, unlink: bool) -> None:
        """No timer is left running; `unlink`: their files go now, not at the next opening."""
        paths = self.pending
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if paths and unlink:
            self._unlink(paths)
        if self._running:
            await asyncio.wait(self._running)

    def _unlink(self, paths: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, self._unlink_all, paths)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def _unlink_all(self, paths: Sequence[str]) -> None:
        for path in paths:
            try:
                self._files.unlink(path)
            except OSError as error:
                logger.warning("removed file stays on the disk path=%s error=%s", path, error)


class FolderRemoval:
    """Folders of deleted logs. Loop thread only."""

    def __init__(self, files: Files, executor: Executor) -> None:
        self._files = files
        self._executor = executor
        self._timers: dict[asyncio.TimerHandle, str] = {}

    def remove_later(self, path: str, delay_ms: int) -> None:
        """Takes the folder away, with all that is in it."""
        loop = asyncio.get_running_loop()

        def due() -> None:
            del self._timers[timer]
            future = loop.run_in_executor(self._executor, self._files.remove_tree, path)
            future.add_done_callback(lambda done: _log_removal(path, done))

        timer = loop.call_later(delay_ms / 1000, due)
        self._timers[timer] = path

    @property
    def pending(self) -> list[str]:
        """Folders whose time has not come."""
        return list(self._timers.values())

    def cancel(self) -> None:
        """The others are found by their names at the next start."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def _log_removal(path: str, done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.warning("deleted log stays on the disk path=%s error=%s", path, error)

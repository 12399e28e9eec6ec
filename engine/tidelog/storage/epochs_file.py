"""The leader-epoch checkpoint of an open log, kept up to date.

Belongs to one PartitionLog; loop thread only, the file is written by helpers. It is written as soon
as an epoch comes or goes, so that a killed process leaves it; the next flush makes it durable,
before it moves the recovery point.
"""

from __future__ import annotations

import os
from asyncio import Lock
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tidelog.storage.files import Files
from tidelog.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT, LeaderEpochCache


class EpochsFile:
    """`run`: calls a function on a helper. `lock`: held while files of the log are changed."""

    def __init__(
        self,
        cache: LeaderEpochCache,
        files: Files,
        run: Callable[..., Awaitable[Any]],
        lock: Lock,
    ) -> None:
        self._cache = cache
        self.use(files)
        self._run = run
        self._lock = lock
        self._changed = self._unsynced = False
        self._writing = False

    def use(self, files: Files) -> None:
        """The file is in another directory from now on. The lock is held."""
        self._write = partial(files.write, durable=False)

    def note_change(self) -> bool:
        """The cache changed. Returns whether the caller has to have write() run."""
        self._changed = True
        return not self._writing

    async def write(self, directory: Callable[[], str | None]) -> None:
        """Until nothing is left to write, or there is no `directory` any more. Raises OSError."""
        if self._writing:
            return
        self._writing = True
        try:
            while self._changed and directory() is not None:
                async with self._lock:
                    folder = directory()
                    if folder is None:
                        return
                    self._changed = False
                    path = os.path.join(folder, LEADER_EPOCH_CHECKPOINT)
                    try:
                        await self._run(self._write, path, self._cache.encode())
                    finally:
                        self._unsynced = True  # or not even written: the next flush does both
        finally:
            self._writing = False

    def note_unsynced(self) -> None:
        """A flush took the content and could not make it durable."""
        self._unsynced = True

    def take(self) -> bytes | None:
        """For a flush: the content that it has to make durable, None when that was done."""
        if not self._changed and not self._unsynced:
            return None
        self._changed = self._unsynced = False
        return self._cache.encode()

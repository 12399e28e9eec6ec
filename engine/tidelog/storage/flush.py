"""Flushing a log: one helper at a time makes everything durable that was appended before it began.

Belongs to one PartitionLog. Requests that come while a flush runs share the next one (group
commit). The order on the disk: contents first, then the names, then the caller moves the recovery
point; a failed flush is never tried again, since the system forgets the pages that it could not
write: the log is fenced.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from tidelog._native.segment import Segment
from tidelog.errors import StorageError
from tidelog.storage.files import Files
from tidelog.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT
from tidelog.storage.producer_snapshot import encode_snapshot, snapshot_name
from tidelog.storage.segment_files import trim_segment


@dataclass(slots=True)
class FlushWork:
    """What one flush has to make durable. Put together on the loop, done on a helper."""

    directory: str
    end_offset: int
    sealed: list[Segment] = field(default_factory=list)
    active: Segment | None = None
    snapshots: list[tuple[int, bytes]] = field(default_factory=list)  # (offset, entries)
    epochs: bytes | None = None  # the leader-epoch checkpoint, if it changed
    names_changed: bool = False


def run_flush(files: Files, work: FlushWork, durable: bool = True) -> None:
    """On a helper thread. Not `durable`: the caller syncs the file system. Raises OSError."""
    for segment in work.sealed:
        trim_segment(files, segment, durable=durable)
    if work.active is not None and durable:
        files.sync_data(work.active.fd)
    if work.epochs is not None:
        path = os.path.join(work.directory, LEADER_EPOCH_CHECKPOINT)
        files.write(path, work.epochs, durable=durable)
    for offset, entries in work.snapshots:
        path = os.path.join(work.directory, snapshot_name(offset))
        files.write(path, encode_snapshot(entries), durable=durable)
    if work.names_changed and durable:
        files.sync_directory(work.directory)


class Flusher:
    """Runs flushes one after the other. Loop thread only.

    collect() gives the work as it is now; done(work) is called on the loop after it succeeded,
    failed(error) when it did not, and then no further flush is begun.
    """

    def __init__(
        self,
        files: Files,
        executor: Executor,
        collect: Callable[[], FlushWork],
        done: Callable[[FlushWork], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._files = files
        self._executor = executor
        self._collect = collect
        self._done = done
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._wanted = False
        self._waiters: list[asyncio.Future[None]] = []
        self._error: BaseException | None = None
        #: Held while files are synced; who renames or cuts them takes it first.
        self.lock = asyncio.Lock()

    @property
    def running(self) -> bool:
        return self._task is not None

    def request(self) -> None:
        """A flush of all that is appended by now will run; returns at once."""
        if self._error is not None:
            return
        self._wanted = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def flush(self) -> None:
        """Returns when everything appended before the call is durable. Raises what failed."""
        if self._error is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self.request()
            await waiter
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """No flush is begun any more; returns when the one under way has ended."""
        self._wanted = False
        self._error = self._error or StorageError("the log is closed")
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._wanted and self._error is None:
                async with self.lock:
                    self._wanted = False
                    waiters, self._waiters = self._waiters, []
                    try:
                        await self._flush_once()
                    finally:
                        _wake(waiters)
        finally:
            self._task = None
            if self._error is not None:
                _wake(self._waiters)
                self._waiters = []

    async def _flush_once(self) -> None:
        work = self._collect()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._executor, run_flush, self._files, work)
        except Exception as error:
            self._error = error
            self._failed(error)
        else:
            self._done(work)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)

"""Flushing a log: one helper at a time makes everything durable that was appended before it began.

Belongs to one PartitionLog. Requests that come while a flush runs share the next one (group
commit). The order on the disk: contents first, then the names, then the caller moves the recovery
point; a failed flush is never tried again, since the system forgets the pages that it could not
write: the log is fenced. A flush that only found no room or no descriptor is put off and done again
until it succeeds: what waits for it is acknowledged later.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from tidelog._native.log import LogCore
from tidelog._native.segment import Segment
from tidelog.errors import StorageError, may_be_tried_again
from tidelog.storage.aborted import write_index
from tidelog.storage.digests import write_digest
from tidelog.storage.epochs_file import EpochsFile
from tidelog.storage.files import Files
from tidelog.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT
from tidelog.storage.producer_snapshot import encode_snapshot, snapshot_name
from tidelog.storage.segment_files import trim_segment

logger: Final = logging.getLogger(__name__)

#: How long after a flush that found no room or no descriptor it is tried again.
RETRY_MS: Final = 500


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
    closing: bool = False  # the active segment ends, too


def run_flush(files: Files, work: FlushWork, durable: bool = True) -> None:
    """On a helper thread. Not `durable`: the caller syncs the file system. Raises OSError."""
    made = False
    for segment in work.sealed:
        made |= write_index(segment, durable=durable)
        trim_segment(files, segment, durable=durable)
        write_digest(files, segment, durable)
    if work.active is not None:
        made |= write_index(work.active, durable=durable)
        if work.closing:
            trim_segment(files, work.active, durable=durable)
        elif durable:
            files.sync_data(work.active.fd)
    if work.epochs is not None:
        path = os.path.join(work.directory, LEADER_EPOCH_CHECKPOINT)
        files.write(path, work.epochs, durable=durable)
    for offset, entries in work.snapshots:
        path = os.path.join(work.directory, snapshot_name(offset))
        try:
            files.write(path, encode_snapshot(entries), durable=durable)
        except OSError as error:
            if not may_be_tried_again(error):
                raise
            # Without it the next start replays from an older one.
            logger.warning("no producer snapshot path=%s error=%s", path, error)
    if (work.names_changed or made) and durable:
        files.sync_directory(work.directory)


class Pending:
    """What of a log, beside its batches, the next flush has to make durable."""

    def __init__(self, epochs_file: EpochsFile) -> None:
        self._epochs_file = epochs_file
        self.snapshots: list[tuple[int, bytes]] = []
        self.names_changed = False

    def take(self, directory: str, core: LogCore) -> FlushWork:
        active = core.active_segment
        work = FlushWork(directory, core.log_end_offset)
        work.sealed = [s for s in core.segment_list if s is not active and not s.trimmed]
        if core.flushed_offset < core.log_end_offset:
            work.active = active
        work.snapshots, self.snapshots = self.snapshots, []
        work.names_changed, self.names_changed = self.names_changed, False
        work.epochs = self._epochs_file.take()
        return work

    def put_back(self, work: FlushWork) -> None:
        """The flush was not done, or not all of it."""
        self.snapshots = work.snapshots + self.snapshots
        self.names_changed |= work.names_changed
        if work.epochs is not None:
            self._epochs_file.note_unsynced()


class Flusher:
    """Runs flushes one after the other. Loop thread only.

    collect() gives the work as it is now; done(work) is called on the loop after it succeeded,
    delayed(work, error) when it found no room and will be done again later, failed(error) when it
    did not succeed, and then no further flush is begun.
    """

    def __init__(
        self,
        files: Files,
        executor: Executor,
        collect: Callable[[], FlushWork],
        done: Callable[[FlushWork], None],
        delayed: Callable[[FlushWork, OSError], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._files = files
        self._executor = executor
        self._collect = collect
        self._done = done
        self._delayed = delayed
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._wanted = False
        self._waiters: list[asyncio.Future[None]] = []
        self._error: BaseException | None = None
        self._retry: asyncio.TimerHandle | None = None
        self.count = 0  # flushes done
        #: Held while files are synced; who renames or cuts them takes it first.
        self.lock = asyncio.Lock()

    def use(self, files: Files) -> None:
        """What is flushed is in another directory from now on. The lock is held."""
        self._files = files

    @property
    def running(self) -> bool:
        return self._task is not None

    @property
    def waiting(self) -> bool:
        """Whether a flush found no room and waits for its next try."""
        return self._retry is not None

    def request(self) -> None:
        """A flush of all that is appended by now will run; returns at once."""
        if self._error is not None:
            return
        self._wanted = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def flush(self) -> None:
        """Returns when everything appended before the call is durable. Raises what failed: OSError,
        after which the log may live on (may_be_tried_again), StorageError when it is closed.
        """
        if self._error is not None:
            raise self._error
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.request()
        await waiter

    async def close(self) -> None:
        """No flush is begun any more; returns when the one under way has ended."""
        self._wanted = False
        self._error = self._error or StorageError("the log is closed")
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._wanted and self._error is None:
                async with self.lock:
                    self._wanted = False
                    waiters, self._waiters = self._waiters, []
                    error: BaseException | None = StorageError("the flush was cancelled")
                    try:
                        error = await self._flush_once()
                    finally:
                        _wake(waiters, error)
        finally:
            self._task = None
            if self._error is not None:
                _wake(self._waiters, self._error)
                self._waiters = []

    async def _flush_once(self) -> BaseException | None:
        """Returns what it failed with."""
        work = self._collect()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._executor, run_flush, self._files, work)
        except Exception as error:
            if isinstance(error, OSError) and may_be_tried_again(error):
                self._delayed(work, error)
                if self._retry is None and self._error is None:
                    self._retry = loop.call_later(RETRY_MS / 1000, self.request)
            else:
                self._error = error
                self._failed(error)
            return error
        self.count += 1
        self._done(work)
        return None


def _wake(waiters: list[asyncio.Future[None]], error: BaseException | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

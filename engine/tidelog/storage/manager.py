"""LogManager: the log directory of one node and all logs in it.

Belongs to the worker's loop task; directories and checkpoints are read and written on helper
threads. It opens, makes, removes and closes logs and runs what comes back from time to time:
retention, checkpoints, flush.ms, expiry of producer ids. It never decides which partitions this
node holds, and never deletes a folder that it was not told to delete.

What stands in the directory (all of it Kafka's):

| name | |
|---|---|
| `.lock` | locked while a node uses the directory |
| `meta.properties` | the cluster and node that it belongs to |
| `recovery-point-offset-checkpoint`, `log-start-offset-checkpoint` | see checkpoints |
| `replication-offset-checkpoint` | see high_watermarks |
| `.kafka_cleanshutdown` | it was closed in order |
| `.written` | how far the logs are written, for a start after a kill (Tidelog's own) |
| `topic-N/` | a log |
| `topic-N.<id>-delete/` | a removed log, to be unlinked |
| `topic-N.<id>-stray/` | a log that the metadata did not know: kept, not served |
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from tidelog._native.written import WrittenSlot
from tidelog.clock import Clock
from tidelog.errors import InvariantError, StorageError
from tidelog.storage.checkpoints import RECOVERY_POINT_CHECKPOINT
from tidelog.storage.chores import apply_retention, expire_producers
from tidelog.storage.clean_shutdown import is_clean, remove_clean_shutdown, write_clean_shutdown
from tidelog.storage.cleaner import LogCleaner
from tidelog.storage.closing import close_logs
from tidelog.storage.directory import (
    DELETE_SUFFIX,
    FUTURE_SUFFIX,
    STRAY_SUFFIX,
    DirectoryState,
    LogFolder,
    Offsets,
    find_folders,
    folder_name,
    make_folder,
    open_directory,
    renamed_folder,
    write_checkpoints,
)
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.high_watermarks import HighWatermarks
from tidelog.storage.loader import LoadedLog, LoadRequest, load_log
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_config import LONG_MAX, LogConfig, LogServices, segment_settings
from tidelog.storage.log_offsets import offsets_of
from tidelog.storage.manager_config import ManagerConfig
from tidelog.storage.periodic import PeriodicWork
from tidelog.storage.removal import FolderRemoval
from tidelog.storage.start_report import StartReport, log_report
from tidelog.storage.strays import set_all_aside
from tidelog.storage.when_free import when_free
from tidelog.storage.written_positions import Written, WrittenPositions, boot_id

logger: Final = logging.getLogger(__name__)

T = TypeVar("T")
TopicPartition = tuple[str, int]
ROLL_THREADS: Final = 2
FLUSH_TICK_MIN_MS: Final = 10
FLUSH_TICK_MAX_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log that the metadata gives to this node."""

    topic: str
    topic_id: bytes
    index: int
    config: LogConfig


class LogManager:
    """One per worker. `executor`: helper threads; `cluster_id` "": not checked and not written.

    `roll_executor`: threads that do nothing but make new segments, shut down at the end.
    `open_executor`: where stored batches are opened; None: the helper threads.
    """

    def __init__(
        self,
        directory: str,
        node_id: int,
        config: ManagerConfig,
        clock: Clock,
        executor: Executor,
        *,
        cluster_id: str = "",
        files: Files = SYSTEM_FILES,
        rng: random.Random | None = None,
        roll_executor: Executor | None = None,
        open_executor: Executor | None = None,
    ) -> None:
        self.directory = directory
        self.node_id = node_id
        self.cluster_id = cluster_id
        self.config = config
        #: Called once with a log and the error that took it offline.
        self.on_offline: Callable[[PartitionLog, BaseException], object] | None = None
        #: Whether the start warns of logs that were not expected.
        self.tells_unknown = True
        #: Called with what the disk said to anything but a log that is open already.
        self.on_trouble: Callable[[BaseException], object] | None = None
        #: What took the whole directory offline.
        self.failure: BaseException | None = None
        #: Called with (topic, index) when a log is no longer opening.
        self.on_opened: Callable[[str, int], object] | None = None
        self._clock = clock
        self._executor = executor
        self._files = files
        self._rng = rng or random.Random()
        self._logs: dict[TopicPartition, PartitionLog] = {}
        self._opening: WeakValueDictionary[TopicPartition, asyncio.Lock] = WeakValueDictionary()
        self._failed: dict[TopicPartition, str] = {}
        self._starting: dict[TopicPartition, asyncio.Task[None]] = {}
        self._all_opened: asyncio.Task[StartReport] | None = None
        self._report = StartReport(False)
        self._closing = False
        self._state: DirectoryState | None = None
        self._folders: list[LogFolder] = []
        self._written_positions: WrittenPositions | None = None
        self._clean = False
        self._recovery_points: dict[TopicPartition, int] = {}  # as read, of logs that are not open
        self._log_start: dict[TopicPartition, int] = {}  # the same
        self._gaps_allowed = True
        self._written = Offsets()
        self._checkpointing = asyncio.Lock()
        self._periodic = PeriodicWork(self._note_trouble)
        self._removals = FolderRemoval(files, executor)
        #: Flushes of the logs that were open at the end; known once it is closed.
        self.flushes = 0
        self._roll_executor = roll_executor or ThreadPoolExecutor(
            ROLL_THREADS, thread_name_prefix="roll"
        )
        self._services = LogServices(
            files,
            executor,
            clock,
            self._rng,
            roll_executor=self._roll_executor,
            open_executor=open_executor,
            checkpoint=self.checkpoint,
            written_slot=self._written_slot,
        )
        self.high_watermarks = HighWatermarks(files, directory, self._run, self._logs.values)
        self.cleaner = LogCleaner(
            directory, config, clock, files,
            helpers=executor, logs=self._logs.values, checkpoint=self.checkpoint,
        )  # fmt: skip

    # ---- start

    async def start(
        self,
        expected: Iterable[KnownLog] = (),
        *,
        lock_timeout_ms: int = 0,
        set_strays_aside: bool = False,
    ) -> StartReport:
        """begin(), and waits until all logs are open or have failed."""
        await self.begin(
            expected, lock_timeout_ms=lock_timeout_ms, set_strays_aside=set_strays_aside
        )
        return await self.opened()

    async def take(self, lock_timeout_ms: int = 0, *, make: bool = True) -> list[LogFolder]:
        """Takes the directory and reads its checkpoints; returns the folders in it.

        make: it is made if it is not there. Raises StorageError: the directory belongs to another
        node or is in use, OSError.
        """
        meta = (self.node_id, self.cluster_id, self._rng.randbytes(16), self._clock.wall_ms())
        opening = functools.partial(
            self._run, open_directory, self._files, self.directory, *meta, make
        )
        self._state = await when_free(self.directory, opening, self._clock, lock_timeout_ms)
        try:
            self._written_positions = await self._run(
                WrittenPositions.open, self._files, self.directory, boot_id()
            )
            await self.cleaner.load()
            await self.high_watermarks.load()
            self._clean = await self._run(is_clean, self.directory, self._files)
            await self._run(remove_clean_shutdown, self.directory, self._files)
            self._folders = await self._run(find_folders, self._files, self.directory)
        except BaseException:
            self._let_go()
            raise
        self._written = offsets = self._state.offsets
        self._recovery_points, self._log_start = (
            dict(offsets.recovery_points),
            dict(offsets.log_start),
        )
        self._gaps_allowed = not offsets.recovery_points_known
        self._report = StartReport(self._clean, notes=list(self._state.notes))
        return self._folders

    async def begin(
        self,
        expected: Iterable[KnownLog] = (),
        *,
        lock_timeout_ms: int = 0,
        set_strays_aside: bool = False,
    ) -> None:
        """take(), if that is not done yet, and begins to open the expected logs, side by side.

        set_strays_aside: `expected` is all that belongs here, so any other log is renamed to a
        stray one; otherwise it is left alone. Raises as take().
        """
        known = {(log.topic, log.index): log for log in expected}
        if self._state is None:
            await self.take(lock_timeout_ms)
        assert self._written_positions is not None
        report = self._report
        limit = asyncio.Semaphore(max(self.config.num_recovery_threads_per_data_dir, 1))
        present: list[tuple[KnownLog, LogFolder]] = []
        unknown = []
        for folder in self._folders:
            if folder.name.endswith(DELETE_SUFFIX):
                self._removals.remove_later(os.path.join(self.directory, folder.name), 0)
                continue
            if folder.name.endswith(FUTURE_SUFFIX):
                continue  # of a move that did not end: `futures`
            log = known.get((folder.topic, folder.index))
            if log is None or folder.topic_id not in (None, log.topic_id):
                unknown.append(folder)
                continue
            present.append((log, folder))
        if present and self._gaps_allowed and not report.notes:
            report.notes.append(f"{RECOVERY_POINT_CHECKPOINT} is missing: everything is verified")
        if set_strays_aside:
            aside = await set_all_aside(
                self._run, self._files, self.directory, unknown, report, self._fresh_id
            )
            for folder in aside:
                # They would be taken for those of the next log of that name.
                self._recovery_points.pop((folder.topic, folder.index), None)
                self._log_start.pop((folder.topic, folder.index), None)
        else:
            report.unknown += [folder.name for folder in unknown]
        self._written_positions.keep_only({(log.topic_id, log.index) for log in known.values()})
        loop = asyncio.get_running_loop()
        for log, folder in present:
            task = loop.create_task(self._start_log(log, folder, limit, report))
            self._starting[log.topic, log.index] = task
        self._all_opened = loop.create_task(self._finish_start())

    async def opened(self) -> StartReport:
        """Returns when all expected logs are open or have failed. May be cancelled: they go on."""
        assert self._all_opened is not None
        return await asyncio.shield(self._all_opened)

    def is_opening(self, topic: str, index: int) -> bool:
        """Whether it is still being recovered; `on_opened` is called when it is open or failed."""
        return (topic, index) in self._starting

    @property
    def opening_count(self) -> int:
        return len(self._starting)

    async def end_of_opening(self, topic: str, index: int) -> None:
        """Returns when the log is not opening (any more)."""
        starting = self._starting.get((topic, index))
        if starting is not None:
            await asyncio.wait([starting])

    async def _finish_start(self) -> StartReport:
        await asyncio.gather(*self._starting.values())
        if not self._closing:
            # From now on a missing file means that somebody removed it.
            await self.checkpoint()
        log_report(self.directory, self._report, tell_unknown=self.tells_unknown)
        return self._report

    async def _start_log(
        self, log: KnownLog, folder: LogFolder, limit: asyncio.Semaphore, report: StartReport
    ) -> None:
        path = os.path.join(self.directory, folder.name)
        key = (log.topic, log.index)
        async with limit:
            try:
                if self._closing:
                    raise StorageError("the node stopped before its turn came")
                self._check_online()
                if folder.topic_id is None:
                    await self._run(make_folder, self._files, path, log.topic_id)
                opened = await self._open(log, path)
            except (OSError, StorageError) as error:
                self._failed[key] = str(error)
                report.failed.append((folder.name, str(error)))
                self._note_trouble(error)
            else:
                report.loaded += 1
                if opened.report.eventful:
                    report.reports.append(opened.report)
            finally:
                del self._starting[key]
        if self.on_opened is not None:
            self.on_opened(*key)

    # ---- logs

    def get(self, topic: str, index: int) -> PartitionLog | None:
        return self._logs.get((topic, index))

    def logs(self) -> list[PartitionLog]:
        return list(self._logs.values())

    def failed_logs(self) -> dict[TopicPartition, str]:
        """Logs that could not be opened, with the error."""
        return dict(self._failed)

    async def create(
        self, topic: str, topic_id: bytes, index: int, config: LogConfig
    ) -> PartitionLog:
        """The log, opened if its folder is there, made if not. Raises StorageError, OSError."""
        key = (topic, index)
        lock = self._opening.setdefault(key, asyncio.Lock())
        async with lock:
            await self.end_of_opening(topic, index)
            log = self._logs.get(key)
            if log is not None:
                if log.topic_id != topic_id:
                    raise InvariantError(f"{log!r} is still there for another topic of that name")
                return log
            self._check_online()
            known = KnownLog(topic, topic_id, index, config)
            path = os.path.join(self.directory, folder_name(topic, index))
            existed = await self._run(make_folder, self._files, path, topic_id)
            opened = await self._open(known, path, new=not existed)
            self._failed.pop(key, None)
            return opened

    async def _open(self, known: KnownLog, path: str, *, new: bool = False) -> PartitionLog:
        key = (known.topic, known.index)
        # A clean stop speaks for the logs that it closed, and not for one that was put there since.
        put_there = self._clean and key not in self._recovery_points
        request = LoadRequest(
            path,
            segment_settings(known.config),
            self._clock.wall_ms(),
            log_start_offset=0 if new else self._log_start.get(key, 0),
            recovery_point=0 if new else self._recovery_points.get(key, 0),
            recovery_point_known=not self._gaps_allowed and not put_there,
            written=None if new else self._find_written(known.topic_id, known.index),
            clean=self._clean and not new and not put_there,
            gaps_allowed=self._gaps_allowed or put_there,
            gaps_below=self.cleaner.cleaned_offset(key),
            compacted=known.config.compact,
            producer_id_expiration_ms=self.config.producer_id_expiration_ms,
        )
        loaded: LoadedLog = await self._run(load_log, self._files, request)
        log = PartitionLog(
            known.topic, known.topic_id, known.index, path, known.config, loaded, self._services
        )
        log.on_offline = self._went_offline
        self._logs[key] = log
        self.cleaner.adopt(log)
        self._recovery_points.pop(key, None)
        self._log_start.pop(key, None)
        if any(s.sealed and not s.trimmed for s in loaded.segments):
            log.request_flush()
        return log

    def _find_written(self, topic_id: bytes, index: int) -> Written | None:
        positions = self._written_positions
        return None if positions is None else positions.find(topic_id, index)

    def _written_slot(self, topic_id: bytes, index: int) -> WrittenSlot | None:
        positions = self._written_positions
        return None if positions is None else positions.slot(topic_id, index)

    def _went_offline(self, log: PartitionLog, error: BaseException) -> None:
        if self.on_offline is not None:
            self.on_offline(log, error)

    def take_offline(self, error: BaseException) -> None:
        """The disk failed: all its logs are offline, and nothing in the directory is touched any
        more.
        """
        if self.failure is not None:
            return
        self.failure = error
        self._periodic.cancel()
        self._removals.cancel()
        for log in self.logs():
            log.cleaning.stop()
            log.fence(error)

    def _check_online(self) -> None:
        if self.failure is not None:
            raise StorageError(f"{self.directory} is offline: {self.failure}")

    def _note_trouble(self, error: BaseException) -> None:
        if self.on_trouble is not None:
            self.on_trouble(error)

    # ---- logs that move between directories, see log_move

    @property
    def services(self) -> LogServices:
        """What its logs share."""
        return self._services

    def futures(self) -> list[str]:
        """Folders of moves into this directory that did not end; known from the start."""
        return [one.name for one in self._folders if one.name.endswith(FUTURE_SUFFIX)]

    def future_folder(self, log: PartitionLog) -> str:
        """A fresh path for a copy of the log."""
        name = renamed_folder(log.topic, log.index, self._fresh_id().hex, FUTURE_SUFFIX)
        return os.path.join(self.directory, name)

    async def expect(self, log: PartitionLog) -> None:
        """All of the log is here, durably, and so is its checkpoint when this returns. Raises
        OSError.
        """
        self._check_online()
        key = (log.topic, log.index)
        self._recovery_points[key] = log.core.log_end_offset
        self._log_start[key] = log.core.log_start_offset
        await self.checkpoint()

    def forget(self, log: PartitionLog) -> None:
        """The log is not here (any more)."""
        for known in (self._logs, self._recovery_points, self._log_start):
            known.pop((log.topic, log.index), None)
        if self._written_positions is not None:
            self._written_positions.release(log.topic_id, log.index)

    def adopt(self, log: PartitionLog) -> None:
        """The log is here, and used."""
        key = (log.topic, log.index)
        self._logs[key] = log
        log.on_offline = self._went_offline
        self._recovery_points.pop(key, None)
        self._log_start.pop(key, None)

    def remove_folder(self, path: str) -> None:
        """Removes a folder that holds no log (any more)."""
        self._removals.remove_later(path, 0)

    async def delete(self, log: PartitionLog) -> None:
        """Takes the log out of use; its files go after file.delete.delay.ms. Raises OSError."""
        target = await self._take_out(log, DELETE_SUFFIX)
        if self.failure is None:
            self._removals.remove_later(target, log.config.file_delete_delay_ms)

    async def set_aside(self, log: PartitionLog) -> str:
        """Takes the log out of use and keeps it under a stray name, which is returned. Raises
        OSError.
        """
        return os.path.basename(await self._take_out(log, STRAY_SUFFIX))

    async def _take_out(self, log: PartitionLog, suffix: str) -> str:
        """Returns the path that the log's folder has now."""
        key = (log.topic, log.index)
        if self._logs.get(key) is not log:
            raise InvariantError(f"{log!r} is not a log of this directory")
        del self._logs[key]
        if self.failure is not None:
            # The next start finds that nobody knows it.
            await log.close(clean=False)
            return log.directory
        name = renamed_folder(log.topic, log.index, self._fresh_id().hex, suffix)
        old, target = log.directory, os.path.join(self.directory, name)

        def rename() -> str:
            self._files.rename(old, target)
            self._files.sync_directory(self.directory)
            return target

        await log.moved_to(rename)
        if self._written_positions is not None:
            self._written_positions.release(log.topic_id, log.index)
        return target

    def _fresh_id(self) -> uuid.UUID:
        return uuid.UUID(bytes=self._rng.randbytes(16), version=4)

    async def flush(self, log: PartitionLog) -> None:
        """Returns when everything appended to the log is durable. Raises StorageError."""
        await log.flush()

    # ---- from time to time

    def run(self) -> None:
        """Starts the periodic tasks; close() ends them."""
        if self.failure is not None:
            return
        config = self.config
        every = self._periodic.every
        every(config.log_retention_check_interval_ms, self.apply_retention)
        every(config.log_flush_offset_checkpoint_interval_ms, self.checkpoint)
        every(config.log_flush_start_offset_checkpoint_interval_ms, self.checkpoint)
        every(config.producer_id_expiration_check_interval_ms, self.expire_producers)
        every(config.replica_high_watermark_checkpoint_interval_ms, self.high_watermarks.write)
        self._periodic.add(self._flush_by_time())
        self.cleaner.run()

    async def apply_retention(self) -> int:
        """Runs retention on every log now. Returns how many segments were removed."""
        return await apply_retention(self.logs(), self._clock.wall_ms())

    async def expire_producers(self) -> int:
        """Forgets idle producer ids in every log. Returns how many."""
        limit_ms = self.config.producer_id_expiration_ms
        return await expire_producers(self.logs(), self._clock.wall_ms(), limit_ms)

    async def _flush_by_time(self) -> None:
        while True:
            await asyncio.sleep(self.flush_by_time() / 1000)

    def flush_by_time(self) -> int:
        """flush.ms of every log, now. Returns in how many ms to look again."""
        now_ms = self._clock.monotonic_ms()
        least = LONG_MAX
        for log in self._logs.values():
            if log.config.flush_ms != LONG_MAX:
                log.flush_if_older(now_ms)
                least = min(least, log.config.flush_ms)
        return min(max(least // 2, FLUSH_TICK_MIN_MS), FLUSH_TICK_MAX_MS)

    async def checkpoint(self) -> None:
        """Writes recovery points and log starts down if they changed. Raises OSError."""
        if self.failure is not None:
            return
        async with self._checkpointing:
            offsets = offsets_of(self.logs(), self._written, self._recovery_points, self._log_start)
            await self._run(write_checkpoints, self._files, self.directory, offsets, self._written)
            self._written = offsets
        await self.cleaner.write_checkpoint()

    # ---- end

    async def close(self, clean: bool = True, broker_epoch: int = -1) -> None:
        """Ends everything. `clean`: the next start finds nothing to recover.

        Errors of single logs are logged; the marker is then left out, so that the next start looks.
        """
        self._closing = True
        await self.cleaner.close()
        unopened = len(self._starting)
        if self._all_opened is not None:
            await asyncio.wait([self._all_opened])
        await self._periodic.close()
        self._removals.cancel()
        try:
            clean = clean and self.failure is None
            sync = functools.partial(self._run, self._files.sync_file_system, self.directory)
            healthy = await close_logs(self.logs(), clean, sync) and not unopened
            if clean:
                await self._close_directory(healthy, broker_epoch)
        finally:
            for log in self.logs():
                self.flushes += log.flushes
                log.release()
            self._logs.clear()
            self._roll_executor.shutdown()
            self._let_go()

    def _let_go(self) -> None:
        if self._written_positions is not None:
            self._written_positions.close()
            self._written_positions = None
        if self._state is not None:
            os.close(self._state.lock_fd)
            self._state = None

    async def _close_directory(self, healthy: bool, broker_epoch: int) -> None:
        try:
            await self.checkpoint()
            await self.high_watermarks.write()
            if healthy:
                await self._run(write_clean_shutdown, self.directory, broker_epoch, self._files)
        except OSError as error:
            logger.error("directory not closed in order directory=%s error=%s",
                         self.directory, error)  # fmt: skip

    async def _run(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

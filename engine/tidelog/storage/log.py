"""PartitionLog: one partition's log, around the native LogCore.

Belongs to the worker's loop task; all methods are called there. What waits for the disk (making
files, syncing, renaming, cutting) is given to helper threads as immutable arguments; what comes
back is installed on the loop. It never blocks the loop, but for `offset_for_timestamp`,
`max_timestamp_offset` and `read_bytes`, which read a bounded piece of the log at once.

Two locks order the changes of files, always taken in this order: the flusher's, so that nothing is
renamed while it is synced, and the change lock. A roll takes only the second: an append that waits
for a roll never waits for a sync.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from tidelog._native.log import LogCore
from tidelog._native.segment import Segment
from tidelog.errors import KafkaError, StorageError, may_be_tried_again
from tidelog.protocol.error_codes import ErrorCode
from tidelog.storage import retention, timestamps, truncation
from tidelog.storage.aborted import note_aborted
from tidelog.storage.cleaning_state import CleaningState
from tidelog.storage.epochs_file import EpochsFile
from tidelog.storage.flush import Flusher, FlushWork, Pending, run_flush
from tidelog.storage.leader_epochs import EpochEnd
from tidelog.storage.loader import LoadedLog
from tidelog.storage.log_config import (
    LogConfig,
    LogServices,
    core_settings,
    next_settings,
    segment_settings,
)
from tidelog.storage.refusals import Refusals
from tidelog.storage.removal import Removal
from tidelog.storage.segment_files import (
    SNAPSHOT_SUFFIX,
    create_segment,
    mark_deleted,
    path_of,
)
from tidelog.storage.segment_views import figures_of, plan_retention, read_bytes
from tidelog.storage.timestamps import TimestampOffset

logger: Final = logging.getLogger(__name__)

T = TypeVar("T")


class PartitionLog:
    """One partition's log. `loaded`: what the loader found in `directory`."""

    def __init__(
        self,
        topic: str,
        topic_id: bytes,
        index: int,
        directory: str,
        config: LogConfig,
        loaded: LoadedLog,
        services: LogServices,
    ) -> None:
        self.topic = topic
        self.topic_id = topic_id
        self.index = index
        self.directory = directory
        self.config = config
        self.epochs = loaded.epochs
        self.report = loaded.report
        self.core = LogCore(loaded.producers, self)
        #: Called after every flush and when the log goes offline (Partition.update_progress).
        self.on_progress: Callable[[], object] | None = None
        #: Called once with the log and the error that fenced it.
        self.on_offline: Callable[[PartitionLog, BaseException], object] | None = None
        #: Up to where records may be removed; the log's end unless a partition says otherwise.
        self.high_watermark: Callable[[], int] | None = None
        self.is_replicated = False  # other nodes hold it, too
        self.failure: BaseException | None = None
        self.cleaning = CleaningState()
        self.last_flush_ms = services.clock.monotonic_ms()
        self._services = services
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flusher = Flusher(
            services.files, services.executor,
            self._collect_flush, self._flushed, self._flush_delayed, self.fence,
        )  # fmt: skip
        self._refusals = Refusals(topic, index)
        self._epochs_file = EpochsFile(self.epochs, services.files, self.run, self._flusher.lock)
        self._pending = Pending(self._epochs_file)
        self._closed = False
        self._removal = Removal(services.files, services.executor)
        self._configure()
        if services.written_slot and (slot := services.written_slot(topic_id, index)):
            self.core.keep_written(slot)
        self.core.install(
            loaded.segments,
            log_start_offset=loaded.log_start_offset,
            log_end_offset=loaded.log_end_offset,
            recovery_point=loaded.recovery_point,
            leader_epoch=loaded.epochs.latest_epoch,
            roll_jitter_ms=self._jitter_ms(),
        )
        if loaded.deleted_files:
            self.unlink_later(loaded.deleted_files)

    def __repr__(self) -> str:
        return f"<PartitionLog {self.topic}-{self.index} {self.directory}>"

    # ---- configuration

    def set_config(self, config: LogConfig) -> None:
        """Takes effect with the next append; an existing active segment keeps its index sizes."""
        self.config = config
        self._configure()
        active = self.core.active_segment
        if active is not None:
            active.set_index_interval_bytes(config.index_interval_bytes)

    def _configure(self) -> None:
        self.core.configure(**core_settings(self.config))

    def _jitter_ms(self) -> int:
        limit = min(self.config.segment_jitter_ms, self.config.segment_ms)
        return self._services.rng.randrange(limit) if limit > 0 else 0

    # ---- what it holds

    @property
    def size_bytes(self) -> int:
        return self.core.size_bytes

    @property
    def offline(self) -> bool:
        return self.core.offline_error != 0

    @property
    def flushes(self) -> int:
        return self._flusher.count

    def describe(self) -> dict[str, int | str | bool]:
        """Figures for logs and tools."""
        return {
            "topic": self.topic,
            "partition": self.index,
            "directory": self.directory,
            **figures_of(self.core),
            "offline": self.offline,
        }

    def read_bytes(self, offset: int, max_bytes: int, upper_offset: int | None = None) -> bytes:
        """Whole batches from the one that holds `offset`, of one segment; at least one batch.

        b"" at the end. Raises KafkaError (OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE,
        KAFKA_STORAGE_ERROR).
        """
        return read_bytes(self.core, offset, max_bytes, upper_offset)

    def offset_for_timestamp(self, timestamp: int) -> TimestampOffset | None:
        """First record with at least that timestamp. Raises KafkaError."""
        return timestamps.search(timestamps.offset_for_timestamp, *self._searched(timestamp))

    def max_timestamp_offset(self) -> TimestampOffset | None:
        """The record with the largest timestamp. Raises KafkaError."""
        return timestamps.search(timestamps.newest, *self._searched(0))

    async def find_offset(self, timestamp: int | None) -> TimestampOffset | None:
        """The same on a helper thread; with None the newest record. Raises KafkaError."""
        find = timestamps.newest if timestamp is None else timestamps.offset_for_timestamp
        return await asyncio.get_running_loop().run_in_executor(
            self._services.opener, timestamps.search, find, *self._searched(timestamp or 0)
        )

    def _searched(self, timestamp: int) -> tuple[list[Segment], int, int]:
        if self.offline:
            raise KafkaError(self.core.offline_error)
        return self.core.segment_list, timestamp, self.core.log_start_offset

    # ---- leader epochs

    def assign_epoch(self, epoch: int) -> None:
        """This node leads from the log's end on, with that epoch."""
        if self.epochs.assign(epoch, self.core.log_end_offset):
            self._epochs_moved()
        self.core.set_leader_epoch(self.epochs.latest_epoch)

    def on_epoch(self, epoch: int, start_offset: int) -> None:
        """The core appended a batch of an epoch that it did not know."""
        if self.epochs.assign(epoch, start_offset):
            self._epochs_moved()

    def end_offset_for_epoch(self, epoch: int) -> EpochEnd:
        """(epoch, end offset) for OffsetForLeaderEpoch; (-1, -1) when it is not known."""
        return self.epochs.end_offset_for(epoch, self.core.log_end_offset)

    def epoch_for_offset(self, offset: int) -> int:
        """The epoch that wrote `offset`, -1 when none is known."""
        found = self.epochs.epoch_for(offset)
        return -1 if found is None else found

    def _epochs_moved(self) -> None:
        if self._epochs_file.note_change() and not self._closed:
            self._spawn(self._write_epochs())

    async def _write_epochs(self) -> None:
        try:
            await self._epochs_file.write(
                lambda: None if self._closed or self.offline else self.directory
            )
        except OSError as error:
            self._fail(error)

    # ---- rolling

    async def roll(self, *, force: bool = False) -> None:
        """Makes the next segment for an append that was told NEEDS_ROLL.

        Returns when the append may be tried again; does nothing when another roll came first,
        unless `force` asks for one. Raises StorageError: no room, or the log is offline.
        """
        await self.exclusively(self._roll if force else self._roll_if_wanted)

    async def _roll_if_wanted(self) -> None:
        if self.core.roll_wanted:
            await self._roll()

    async def _roll(self) -> None:
        """The change lock is held."""
        core, services = self.core, self._services
        base_offset, active = core.begin_roll(), core.active_segment
        if active is not None and active.base_offset == base_offset and not active.size:
            core.end_roll()  # it is new already
            return
        snapshot = self._take_snapshot(base_offset)
        try:
            segment = await asyncio.get_running_loop().run_in_executor(
                services.roll_executor or services.executor,
                create_segment,
                services.files,
                self.directory,
                base_offset,
                next_settings(self.config, active, services.clock.wall_ms()),
                services.clock.wall_ms(),
            )
        except OSError as error:
            core.end_roll()
            self._fail(error)  # what was made of it is made anew the next time
            raise StorageError(f"{self.directory}: no new segment: {error}") from error
        self._pending.snapshots += snapshot
        self._pending.names_changed = True
        old = core.install_segment(segment, self._jitter_ms())
        if old is not None:
            self._flusher.request()

    def _take_snapshot(self, offset: int) -> list[tuple[int, bytes]]:
        producers = self.core.producers
        if offset <= producers.last_snapshot_offset:
            return []
        producers.advance_to(offset)
        producers.note_snapshot(offset)
        return [(offset, producers.dump_bytes())]

    # ---- flushing

    def request_flush(self) -> None:
        """Has everything that is appended by now made durable; on_progress follows."""
        if not self._closed:
            self._flusher.request()

    async def flush(self) -> None:
        """Returns when everything appended before is durable. Raises StorageError."""
        try:
            await self._flusher.flush()
        except OSError as error:
            raise StorageError(f"{self.directory}: flush failed: {error}") from error

    def flush_if_older(self, now_monotonic_ms: int) -> None:
        """flush.ms: flushes when the last flush is longer ago and something was appended."""
        dirty = self.core.flushed_offset < self.core.log_end_offset
        if dirty and now_monotonic_ms - self.last_flush_ms >= self.config.flush_ms:
            self.request_flush()

    def _collect_flush(self) -> FlushWork:
        return self._pending.take(self.directory, self.core)

    def _flush_delayed(self, work: FlushWork, error: OSError) -> None:
        self._pending.put_back(work)
        logger.warning("flush delayed topic=%s partition=%d error=%s",
                       self.topic, self.index, error)  # fmt: skip

    def _flushed(self, work: FlushWork) -> None:
        self.last_flush_ms = self._services.clock.monotonic_ms()
        self.core.on_flushed(work.end_offset)
        self._progress()

    # ---- removing old records

    async def delete_records(self, offset: int) -> int:
        """Moves the log start up to `offset`; whole segments below go with the next retention run.

        Returns the log start. Raises KafkaError (OFFSET_OUT_OF_RANGE).
        """
        limit = self._high_watermark()
        if offset < 0 or offset > limit:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        await self.advance_log_start(offset)
        return self.core.log_start_offset

    async def advance_log_start(self, offset: int) -> None:
        """The same where it is decided already (by the leader): at most to the log's end."""
        moved = self._increment_log_start(min(offset, self.core.log_end_offset))
        if moved and self._services.checkpoint is not None:
            await self._services.checkpoint()

    async def apply_retention(self, now_ms: int) -> int:
        """Removes what retention.ms, retention.bytes and the log start say. Returns the count;
        nothing while the log is cleaned: the cleaner calls it when it is done."""
        if self.cleaning.running or self.offline or self._closed:
            return 0
        if not self._retention_plan(now_ms).count:
            return 0
        return await self.exclusively(lambda: self._apply_retention(now_ms), flushing=True)

    async def _apply_retention(self, now_ms: int) -> int:
        plan = self._retention_plan(now_ms)
        if not plan.count or self.offline:
            return 0
        if plan.roll:
            await self._roll()
        removed = self.core.remove_first_segments(plan.count)
        self._increment_log_start(self.core.segment_list[0].base_offset)
        await self._remove_files([segment.base_offset for segment in removed])
        logger.info(
            "segments removed topic=%s partition=%d count=%d by_time=%d by_size=%d"
            " by_log_start=%d log_start_offset=%d",
            self.topic, self.index, plan.count, plan.by_time, plan.by_size, plan.by_log_start,
            self.core.log_start_offset,
        )  # fmt: skip
        return plan.count

    def _retention_plan(self, now_ms: int) -> retention.RetentionPlan:
        return plan_retention(self.core, self.config, now_ms, self._high_watermark())

    def _high_watermark(self) -> int:
        return self.high_watermark() if self.high_watermark else self.core.log_end_offset

    def _increment_log_start(self, offset: int) -> bool:
        if not self.core.increment_log_start_offset(offset):
            return False
        self.core.producers.on_log_start_offset(offset, self.core.producers.last_snapshot_offset)
        if self.epochs.truncate_from_start(offset):
            self._epochs_moved()
        return True

    async def _remove_files(self, base_offsets: list[int]) -> None:
        """Takes the names away now and the files after file.delete.delay.ms."""
        files = self._services.files
        try:
            marked = await self.run(mark_deleted, files, self.directory, base_offsets)
            await self.run(files.sync_directory, self.directory)
        except OSError as error:
            self.fence(error)
            return
        marked += [path_of(self.directory, base, SNAPSHOT_SUFFIX) for base in base_offsets]
        self.unlink_later(marked)

    def unlink_later(self, paths: Sequence[str]) -> None:
        """Files that are out of use go after file.delete.delay.ms."""
        self._removal.unlink_later(paths, self.config.file_delete_delay_ms)

    def expire_producers(self, now_ms: int, expiration_ms: int) -> int:
        """Forgets producer ids that are idle for that long. Returns how many."""
        return len(self.core.producers.expire(now_ms, expiration_ms))

    # ---- truncation

    async def truncate_to(self, offset: int) -> bool:
        """Removes everything from `offset` on. Returns whether anything was.

        Below the log's first segment it starts anew at `offset`. Raises StorageError.
        """
        if offset >= self.core.log_end_offset:
            # An epoch of which nothing was appended goes too (a leader's that had a successor).
            if self.epochs.truncate_from_end(self.core.log_end_offset):
                self._epochs_moved()
            self.core.set_leader_epoch(self.epochs.latest_epoch)
            return False
        async with self.cleaning.paused():
            return await self.exclusively(lambda: self._truncate(offset, False), flushing=True)

    async def truncate_fully_and_start_at(self, offset: int) -> None:
        """Removes everything; the next record gets `offset`. Raises StorageError."""
        async with self.cleaning.paused():
            await self.exclusively(lambda: self._truncate(offset, True), flushing=True)

    async def _truncate(self, offset: int, fully: bool) -> bool:
        core, services = self.core, self._services
        segments = core.segment_list
        if not fully and offset >= core.log_end_offset:
            return False
        fully = fully or not segments or offset < segments[0].base_offset
        core.begin_roll()
        core.limit_end(offset)
        self.cleaning.on_truncated(offset)
        settings = segment_settings(self.config)
        now_ms = services.clock.wall_ms()
        verify = services.verify_transactions
        log_start = offset if fully else min(core.log_start_offset, offset)
        try:
            if services.checkpoint is not None:
                # A recovery point beyond the new end would let a torn tail pass for synced later.
                await services.checkpoint()
            if fully:
                done = await self.run(
                    truncation.restart_log,
                    services.files, self.directory, segments, offset, settings, now_ms, verify,
                )  # fmt: skip
            else:
                done = await self.run(
                    truncation.truncate_log,
                    services.files, self.directory, segments, offset, log_start, settings, now_ms,
                    verify,
                )  # fmt: skip
        except OSError as error:
            self.fence(error)
            raise StorageError(f"{self.directory}: truncation failed: {error}") from error
        if self.epochs.clear() if fully else self.epochs.truncate_from_end(offset):
            self._epochs_moved()
        self._pending.snapshots = []
        core.install(
            done.segments,
            log_start_offset=log_start,
            log_end_offset=offset,
            recovery_point=min(core.recovery_point, offset),
            leader_epoch=self.epochs.latest_epoch,
            roll_jitter_ms=self._jitter_ms(),
            producers=done.producers,
        )
        if done.deleted_files:
            self.unlink_later(done.deleted_files)
        self._pending.names_changed = True
        return True

    # ---- failure and end

    def on_append_refused(self, error: OSError) -> None:
        """No room for an append: the log stays as it is, and is served."""
        self._refusals.note(error, self._services.clock.monotonic_ms())

    def _fail(self, error: OSError) -> None:
        """Something did not work that left nothing behind and can be done again."""
        if may_be_tried_again(error):
            self.on_append_refused(error)
        else:
            self.fence(error)

    def on_disk_error(self, error: BaseException) -> None:
        """The core could not write: it is fenced already."""
        self.fence(error)

    def on_aborted_transaction(self, producer_id: int, first_offset: int, marker: int) -> None:
        """A marker in the active segment aborted a transaction."""
        note_aborted(self._services.files, self.core, producer_id, first_offset, marker)

    def fence(self, error: BaseException) -> None:
        """Takes the log offline: nothing is appended, read or acknowledged until it is reopened."""
        if self.failure is not None:
            return
        self.failure = error
        self.core.fence()
        logger.error("log offline topic=%s partition=%d error=%s", self.topic, self.index, error)
        if self.on_offline is not None:
            self.on_offline(self, error)
        self._progress()

    async def close(
        self, clean: bool = True, *, release: bool = True, durable: bool = True
    ) -> None:
        """Ends the use of the log. `clean`: leaves the files as a clean stop does.

        `release`: lets go of the files, too. Not `durable`: the caller syncs the file system and
        calls mark_durable(). Raises StorageError when the clean end failed; the log is closed all
        the same.
        """
        if self._closed:
            return
        await self.cleaning.pause()  # for good
        try:
            if clean and not self.offline:
                await self.exclusively(lambda: self._close_files(durable), flushing=True)
        except OSError as error:
            self.fence(error)
            raise StorageError(f"{self.directory}: close failed: {error}") from error
        finally:
            self._closed = True
            await self._flusher.close()
            await self._removal.close(unlink=clean)
            while self._tasks:
                await asyncio.wait(self._tasks)
            self.core.fence()
            if release:
                self.release()

    def release(self) -> None:
        """Lets go of the segments of a closed log: files close when the last reader is done."""
        self.core.retire()
        self.core.owner = None

    def mark_durable(self) -> None:
        """The file system was synced after the log was closed."""
        self.core.on_flushed(self.core.log_end_offset)

    async def _close_files(self, durable: bool) -> None:
        self.core.begin_roll()  # no further append; it stays so
        await self.write_ending(durable)
        if durable:
            self.mark_durable()

    async def write_ending(self, durable: bool) -> None:
        """Writes all that a clean stop leaves. The locks are held, nothing is appended any more."""
        core, work = self.core, self._collect_flush()
        work.active, work.closing = core.active_segment, True
        work.snapshots += self._take_snapshot(core.log_end_offset)
        work.names_changed = True
        await self.run(run_flush, self._services.files, work, durable)

    def live_in(self, directory: str, services: LogServices) -> None:
        """Its files are elsewhere now, and are used from there. The locks are held."""
        self.directory = directory
        self._services = services
        for user in (self._flusher, self._epochs_file, self._removal):
            user.use(services.files)

    async def moved_to(self, rename: Callable[[], str]) -> None:
        """Runs `rename` on a helper (it returns the folder's new path) while nothing else works on
        the files, and forgets the log: its folder is no longer it.
        """

        async def move() -> None:
            self.core.fence()
            self.directory = await self.run(rename)

        await self.cleaning.pause()
        await self.exclusively(move, flushing=True)
        await self.close(clean=False)

    # ---- helpers

    def _progress(self) -> None:
        if self.on_progress:
            self.on_progress()

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        executor = self._services.executor
        return await asyncio.get_running_loop().run_in_executor(executor, function, *args)

    async def exclusively(self, step: Callable[[], Awaitable[T]], *, flushing: bool = False) -> T:
        """Runs `step` with the locks held. It ends even when the caller is cancelled meanwhile."""

        async def run() -> T:
            if flushing:
                async with self._flusher.lock, self._changing:
                    return await self._checked(step)
            async with self._changing:
                return await self._checked(step)

        return await asyncio.shield(self._spawn(run()))

    async def _checked(self, step: Callable[[], Awaitable[T]]) -> T:
        if self._closed:
            raise StorageError(f"{self.directory}: the log is closed")
        return await step()

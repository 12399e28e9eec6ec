"""LogCleaner: compacts the logs of one log directory (cleanup.policy=compact), as Kafka's does.

Belongs to the worker's loop task. It chooses the dirtiest log (cleaner_choice), has a helper thread
of its own read the keys and copy what stays (cleaner_pass), and puts each new segment in place on
the loop (cleaner_swap). It never touches an active segment, and nothing at or behind the high
watermark or the last stable offset, nor what is not durable yet: what a compaction leaves needs no
verification by a later start. A log is cleaned by one cleaning at a time; who truncates, deletes or
closes it stops that first (cleaning_state).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol, TypeVar

from tidelog._native.offset_map import SLOT_BYTES
from tidelog._native.segment import Segment
from tidelog.clock import Clock
from tidelog.errors import StorageError, may_be_tried_again
from tidelog.storage import cleaner_choice as choice
from tidelog.storage.bandwidth import Bandwidth
from tidelog.storage.checkpoints import (
    CLEANER_CHECKPOINT,
    MalformedFileError,
    TopicPartition,
    read_offsets,
    write_offsets,
)
from tidelog.storage.cleaner_choice import Cleanable
from tidelog.storage.cleaner_pass import (
    CleaningStopped,
    CleaningTask,
    Control,
    begin_copy,
    copy_group,
    read_keys,
    remove_cleaned,
)
from tidelog.storage.cleaner_swap import swap
from tidelog.storage.files import Files
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_config import segment_bytes, segment_settings
from tidelog.storage.segment_views import cleaning_views
from tidelog.storage.txn_index import AbortedTxn, TxnIndex

logger: Final = logging.getLogger(__name__)

T = TypeVar("T")

#: What a thread's table of keys takes at most, whatever log.cleaner.dedupe.buffer.size is.
MAP_BYTES_MAX: Final = 2**31 - 1
#: So many logs are looked at before requests get a turn.
LOGS_BETWEEN_TURNS: Final = 50


class CleanerConfig(Protocol):
    """The broker configs that matter here."""

    @property
    def log_cleaner_enable(self) -> bool: ...
    @property
    def log_cleaner_threads(self) -> int: ...
    @property
    def log_cleaner_backoff_ms(self) -> int: ...
    @property
    def log_cleaner_dedupe_buffer_size(self) -> int: ...
    @property
    def log_cleaner_io_buffer_size(self) -> int: ...
    @property
    def log_cleaner_io_buffer_load_factor(self) -> float: ...
    @property
    def log_cleaner_io_max_bytes_per_second(self) -> float: ...


@dataclass(slots=True)
class CleanerStats:
    """Since the start, for metrics; those of the last look or cleaning say so."""

    cleanings: int = 0
    stopped: int = 0
    failed: int = 0
    bytes_read: int = 0  # reading keys and copying
    bytes_before: int = 0
    bytes_after: int = 0
    records_read: int = 0
    records_kept: int = 0
    keyless_records: int = 0
    busy_ms: int = 0
    last_cleaning_ms: int = 0
    last_look_monotonic_ms: int = 0
    dirtiest_ratio: float = 0.0  # of the last look
    cleanable_logs: int = 0
    longest_overdue_ms: int = 0
    last_map_utilization: float = 0.0
    uncleanable_logs: int = 0

    def as_dict(self) -> dict[str, float]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(slots=True)
class _Round:
    """One cleaning while it runs."""

    bytes_before: int = 0
    bytes_after: int = 0
    segments_before: int = 0
    segments_after: int = 0


class LogCleaner:
    """`logs` gives the open logs; `checkpoint` makes the recovery points of the directory durable.

    `executor`: where the work is done; None: threads of its own, while there is work.
    """

    def __init__(
        self,
        directory: str,
        config: CleanerConfig,
        clock: Clock,
        files: Files,
        *,
        helpers: Executor,
        logs: Callable[[], Iterable[PartitionLog]],
        checkpoint: Callable[[], Awaitable[None]],
        executor: Executor | None = None,
    ) -> None:
        self.executor = executor
        self.stats = CleanerStats()
        self._path = os.path.join(directory, CLEANER_CHECKPOINT)
        self._config = config
        self._clock = clock
        self._files = files
        self._helpers = helpers
        self._logs = logs
        self._checkpoint = checkpoint
        self._bandwidth = Bandwidth(config.log_cleaner_io_max_bytes_per_second)
        self._own: ThreadPoolExecutor | None = None
        self._own_threads = 0
        self._written: dict[TopicPartition, int] = {}
        self._unopened: dict[TopicPartition, int] = {}
        self._writing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[bool]] = set()
        self._closing = False

    # ---- the checkpoint

    async def load(self) -> None:
        """Reads how far the logs were cleaned. A file that cannot be read counts as none."""
        try:
            found = await self._help(read_offsets, self._path, self._files)
        except (MalformedFileError, OSError) as error:
            logger.warning("cleaner checkpoint not used error=%s", error)
            found = {}
        self._written, self._unopened = found, dict(found)

    def cleaned_offset(self, key: TopicPartition) -> int:
        """What the checkpoint says of a log that is not open, 0 when nothing."""
        return self._unopened.get(key, 0)

    def adopt(self, log: PartitionLog) -> None:
        """A log was opened: it gets what the checkpoint says of it, if that can be."""
        offset = self._unopened.pop((log.topic, log.index), None)
        if offset is not None and offset <= log.core.log_end_offset:
            log.cleaning.cleaned_offset = offset

    async def write_checkpoint(self) -> None:
        """Writes how far the logs are cleaned, if that changed. Raises OSError."""
        async with self._writing:
            offsets = dict(self._unopened)
            for log in self._logs():
                if log.cleaning.cleaned_offset is not None:
                    offsets[log.topic, log.index] = log.cleaning.cleaned_offset
            if offsets != self._written:
                await self._help(write_offsets, self._path, offsets, self._files)
                self._written = offsets

    # ---- running

    def configure(self, config: CleanerConfig) -> None:
        """Other broker configs hold from now on; a cleaning that runs keeps its buffers."""
        if config is self._config:
            return
        self._config = config
        self._bandwidth.bytes_per_second = config.log_cleaner_io_max_bytes_per_second
        self._changed.set()

    def run(self) -> None:
        """Cleans from time to time, until close()."""
        self._main = asyncio.ensure_future(self._work())

    async def close(self) -> None:
        """Stops what runs and returns when it has stopped."""
        self._closing = True
        if self._main is not None:
            self._main.cancel()
            await asyncio.wait([self._main])
        for log in self._logs():
            log.cleaning.stop()
        if self._running:
            await asyncio.wait(self._running)
        if self._own is not None:
            self._own.shutdown()

    async def _work(self) -> None:
        # (A cancellation that comes together with a change is lost in 3.11's wait_for.)
        while not self._closing:
            self._changed.clear()
            config = self._config
            started = False
            while config.log_cleaner_enable and len(self._running) < config.log_cleaner_threads:
                chosen = await self.choose()
                if chosen is None:
                    break
                started = True
                self._start(*chosen)
            if started or self._running:
                done = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({done, *self._running}, return_when=asyncio.FIRST_COMPLETED)
                done.cancel()
            else:
                with suppress(TimeoutError):
                    backoff_s = max(config.log_cleaner_backoff_ms, 1) / 1000
                    await asyncio.wait_for(self._changed.wait(), backoff_s)

    def _start(self, log: PartitionLog, state: Cleanable) -> asyncio.Task[bool]:
        stop = log.cleaning.begin()
        task = asyncio.ensure_future(self._clean(log, state, stop))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def clean_next(self) -> bool:
        """Cleans the log that needs it most, now. Returns whether one did and all went well."""
        chosen = await self.choose()
        return chosen is not None and await self._start(*chosen)

    # ---- choosing

    async def choose(self) -> tuple[PartitionLog, Cleanable] | None:
        """The log to clean next, if one is due."""
        now_ms, monotonic_ms = self._clock.wall_ms(), self._clock.monotonic_ms()
        states = []
        uncleanable = 0
        for i, log in enumerate(list(self._logs()), 1):
            if i % LOGS_BETWEEN_TURNS == 0:
                await asyncio.sleep(0)
            uncleanable += bool(log.cleaning.problem)
            state = self._state_of(log, now_ms, monotonic_ms)
            if state is not None:
                states.append((log, state, log.config.min_cleanable_dirty_ratio))
        stats = self.stats
        stats.last_look_monotonic_ms = monotonic_ms
        stats.uncleanable_logs = uncleanable
        stats.dirtiest_ratio = max((state.ratio for _, state, _ in states), default=0.0)
        stats.longest_overdue_ms = max((state.overdue_ms for _, state, _ in states), default=0)
        stats.cleanable_logs = sum(state.is_due(ratio) for _, state, ratio in states)
        found = choice.dirtiest(states)
        if found is None or self._closing or not found[0].cleaning.may_begin:
            return None
        return found

    def _state_of(self, log: PartitionLog, now_ms: int, monotonic_ms: int) -> Cleanable | None:
        if not log.config.compact or log.offline or not log.cleaning.may_begin:
            return None
        core, cleaning = log.core, log.cleaning
        if monotonic_ms < cleaning.not_before_ms or not core.segment_list:
            return None
        return choice.cleanable(
            cleaning_views(core),
            log.config,
            first_dirty=choice.first_dirty_offset(
                cleaning.cleaned_offset, core.log_start_offset, core.log_end_offset
            ),
            stable_offset=min(_last_stable_offset(log), core.recovery_point),
            now_ms=now_ms,
        )

    # ---- one cleaning

    async def _clean(self, log: PartitionLog, state: Cleanable, stop: threading.Event) -> bool:
        """Returns whether it came to its end."""
        started_ms = self._clock.monotonic_ms()
        problem: BaseException | None = None
        held: list[object] = []
        try:
            await self._clean_up_to(log, state, Control(stop, self._bandwidth), started_ms, held)
        except CleaningStopped:
            self.stats.stopped += 1
            self._put_off(log)
            problem = CleaningStopped()
        except (OSError, StorageError, MemoryError) as error:
            self._note_failure(log, error, stop)
            problem = error
        finally:
            log.cleaning.end()
            self.stats.busy_ms += self._clock.monotonic_ms() - started_ms
        # The table and the last hold on removed files: letting go of them takes its time.
        await self._help(held.clear)
        if problem is None:
            await self._afterwards(log)
        return problem is None

    def _note_failure(self, log: PartitionLog, error: BaseException, stop: threading.Event) -> None:
        self.stats.failed += 1
        passing = may_be_tried_again(error) or isinstance(error, MemoryError) or stop.is_set()
        if not passing and not log.offline:
            log.cleaning.problem = str(error)
        self._put_off(log)
        logger.error(
            "cleaning failed topic=%s partition=%d again=%s error=%s",
            log.topic, log.index, "yes" if passing else "no", error,
        )  # fmt: skip

    def _put_off(self, log: PartitionLog) -> None:
        backoff_ms = max(self._config.log_cleaner_backoff_ms, 1)
        log.cleaning.not_before_ms = self._clock.monotonic_ms() + backoff_ms

    async def _afterwards(self, log: PartitionLog) -> None:
        try:
            await self.write_checkpoint()
            await log.apply_retention(self._clock.wall_ms())
        except (OSError, StorageError) as error:
            logger.warning(
                "cleaner checkpoint not written topic=%s partition=%d error=%s",
                log.topic,
                log.index,
                error,
            )

    async def _clean_up_to(
        self,
        log: PartitionLog,
        state: Cleanable,
        control: Control,
        started_ms: int,
        held: list[object],
    ) -> None:
        task = self._task(log, state)
        held.append(task)
        if not task.segments:
            return
        # What a new segment replaces must be known to be durable, whatever a crash leaves.
        await self._checkpoint()
        indexed = await self._work_on(read_keys, task, control)
        copy = begin_copy(indexed, task, control)
        held += [indexed, copy]
        done = _Round()
        bases = {segment.base_offset: segment for segment in task.segments}
        views = [view for view in cleaning_views(log.core) if view.base_offset in bases]
        for together in choice.group(
            [view for view in views if view.base_offset < indexed.end_offset],
            segment_bytes=segment_bytes(log.config),
            index_bytes=log.config.segment_index_bytes,
        ):
            group = [bases[view.base_offset] for view in together]
            cleaned = await self._work_on(
                copy_group, self._files, task, control, copy, group, _last_of_producers(log)
            )
            await self._put_in_place(log, group, cleaned, task)
            done.bytes_before += sum(segment.size for segment in group)
            done.bytes_after += cleaned.segment.size
            done.segments_before += len(group)
            done.segments_after += 1
        log.cleaning.cleaned_offset = indexed.end_offset
        self._note_done(log, done, copy.passing, indexed.bytes_read, started_ms, indexed.end_offset)
        self.stats.last_map_utilization = indexed.map.utilization

    async def _put_in_place(
        self, log: PartitionLog, group: list[Segment], cleaned: Any, task: CleaningTask
    ) -> None:
        base = group[0].base_offset
        try:
            swapped = await swap(log, self._files, group, cleaned)
        except OSError:
            await self._help(remove_cleaned, self._files, task.directory, base)
            raise
        if not swapped:
            await self._help(remove_cleaned, self._files, task.directory, base)
            raise CleaningStopped

    def _task(self, log: PartitionLog, state: Cleanable) -> CleaningTask:
        config, segments = self._config, log.core.segment_list
        limit = state.first_uncleanable_offset
        threads = max(config.log_cleaner_threads, 1)
        map_bytes = min(config.log_cleaner_dedupe_buffer_size // threads, MAP_BYTES_MAX)
        load_factor = min(max(config.log_cleaner_io_buffer_load_factor, 0.01), 1.0)
        # No more keys than records: a small log gets a small map.
        enough = int((limit - state.first_dirty_offset) / load_factor) + 2
        return CleaningTask(
            directory=log.directory,
            segments=tuple(s for s in segments[:-1] if s.base_offset < limit),
            aborted=tuple(_aborted(segments)),
            first_dirty_offset=state.first_dirty_offset,
            first_uncleanable_offset=limit,
            map_slots=max(min(map_bytes // SLOT_BYTES, enough), 2),
            map_load_factor=load_factor,
            chunk_bytes=config.log_cleaner_io_buffer_size // threads // 2,
            settings=segment_settings(log.config),
            max_message_bytes=log.config.max_message_bytes,
            delete_retention_ms=log.config.delete_retention_ms,
            now_ms=self._clock.wall_ms(),
        )

    def _note_done(
        self,
        log: PartitionLog,
        done: _Round,
        passing: Any,
        index_bytes: int,
        started_ms: int,
        end_offset: int,
    ) -> None:
        stats = self.stats
        took_ms = self._clock.monotonic_ms() - started_ms
        stats.cleanings += 1
        stats.bytes_read += index_bytes + passing.bytes_read
        stats.bytes_before += done.bytes_before
        stats.bytes_after += done.bytes_after
        stats.records_read += passing.records_read
        stats.records_kept += passing.records_kept
        stats.keyless_records += passing.keyless_records
        stats.last_cleaning_ms = took_ms
        logger.info(
            "log cleaned topic=%s partition=%d up_to=%d bytes_before=%d bytes_after=%d"
            " records_before=%d records_after=%d segments_before=%d segments_after=%d took_ms=%d",
            log.topic, log.index, end_offset, done.bytes_before, done.bytes_after,
            passing.records_read, passing.records_kept, done.segments_before, done.segments_after,
            took_ms,
        )  # fmt: skip

    # ---- threads

    async def _work_on(self, function: Callable[..., T], *args: Any) -> T:
        executor = self.executor or self._threads()
        return await asyncio.get_running_loop().run_in_executor(executor, function, *args)

    def _threads(self) -> ThreadPoolExecutor:
        wanted = max(self._config.log_cleaner_threads, 1)
        if self._own is None or self._own_threads != wanted:
            if self._own is not None:
                self._own.shutdown(wait=False)
            self._own = ThreadPoolExecutor(wanted, "cleaner")
            self._own_threads = wanted
        return self._own

    async def _help(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._helpers, function, *args)


def _aborted(segments: list[Segment]) -> Iterable[AbortedTxn]:
    for segment in segments:
        if isinstance(segment.txn_index, TxnIndex):
            yield from segment.txn_index.entries


def _last_stable_offset(log: PartitionLog) -> int:
    limit = log.high_watermark() if log.high_watermark else log.core.log_end_offset
    unstable = log.core.producers.first_unstable_offset_value
    return limit if unstable < 0 else min(limit, unstable)


def _last_of_producers(log: PartitionLog) -> list[tuple[int, int, int]]:
    """(id, last data offset or -1, epoch) of the producers that the log knows."""
    return [(entry[0], entry[3], entry[1]) for entry in log.core.producers.dump()]

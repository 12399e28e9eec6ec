"""One partition's log without a broker and without a network: append, read, truncate.

    with PartitionLog.open("events") as log:
        log.append(b"value", key=b"key")
        for record in log.records():
            print(record.offset, record.value)

A facade over `storage/` for other programs, tools and tests; the broker's processes never import
it. Storage lives on an event loop, so each open log has one on a thread of its own ("tidelog-log"),
beside up to two helper threads for the disk. Methods may be called from any thread and, since they
wait for that loop and not for the caller's, also inside of a coroutine; there they hold the
caller's loop for as long as the disk takes.

The directory is a log directory as a node has it: a folder `topic-partition/` with Kafka's files,
checkpoints, a lock, and the marker of a clean stop. So `node-1/` of a stopped broker can be opened
as it is, one log at a time, and other logs in it are left alone.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from typing_extensions import Buffer

from tidelog._native.batch import BatchHeader
from tidelog._native.log import (
    STATUS_APPENDED,
    STATUS_DUPLICATE,
    STATUS_NEEDS_RECOMPRESS,
    STATUS_NEEDS_ROLL,
)
from tidelog._native.records import Record
from tidelog.clock import SystemClock
from tidelog.config.broker_config import BrokerConfig
from tidelog.config.changes import ConfigChangeError, validate
from tidelog.config.definition import ResourceType
from tidelog.config.layers import BrokerLayers
from tidelog.config.topic_configs import TopicConfig
from tidelog.controller.topic_names import name_problem
from tidelog.errors import KafkaError, StorageError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import Headers, NewRecord, build_batch
from tidelog.record.compression import CODECS_BY_NAME
from tidelog.record.reasons import InvalidBatchError, Reason
from tidelog.record.recompress import Limits, recompress
from tidelog.record.view import BatchView, CorruptBatchError, iterate_batches
from tidelog.storage.directory import folder_name
from tidelog.storage.loader import LoadReport
from tidelog.storage.log import PartitionLog as StoredLog
from tidelog.storage.log_config import core_settings
from tidelog.storage.manager import KnownLog, LogManager
from tidelog.storage.meta_properties import META_PROPERTIES, read_meta_properties
from tidelog.storage.partition_metadata import PARTITION_METADATA, read_partition_metadata
from tidelog.storage.timestamps import TimestampOffset

__all__ = [
    "Appended",
    "BatchHeader",
    "BatchView",
    "Headers",
    "LoadReport",
    "NewRecord",
    "PartitionLog",
    "Record",
    "TimestampOffset",
]

T = TypeVar("T")

#: A config as a program has it; written as Kafka writes it (True is "true").
ConfigValue = str | int | float

#: What one step of reading fetches from the files.
READ_BYTES: Final = 1024 * 1024
_HELPER_THREADS: Final = 2
#: The newest Produce: every codec is allowed.
_PRODUCE_VERSION: Final = 13
_BASE_OFFSET_BYTES: Final = 8


class Appended(NamedTuple):
    """Where records went. is_duplicate: the log had the batch already (idempotent producers)."""

    base_offset: int
    last_offset: int
    is_duplicate: bool = False


class PartitionLog:
    """An open log; `PartitionLog.open` makes one. A context manager: leaving it closes the log.

    A log that is not closed loses nothing that was appended while the machine runs, but its next
    opening has to verify what was not flushed.
    """

    def __init__(
        self, loop: _LoopThread, manager: LogManager, log: StoredLog, close_clean: bool
    ) -> None:
        self._loop = loop
        self._manager = manager
        self._log = log
        self._close_clean = close_clean
        self._closing = threading.Lock()
        self._closed = False

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike[str],
        *,
        topic: str = "log",
        partition: int = 0,
        configs: Mapping[str, ConfigValue] | None = None,
    ) -> Self:
        """Opens the log, or makes it (and the directory).

        directory: a log directory, with a folder for each log in it. configs: topic configs under
        Kafka's names, for as long as the log is open; Kafka's defaults hold for others. After an
        unclean stop the log is recovered first: `report` says what was found and cut.

        Raises StorageError when the directory is in use or the log cannot be opened, OSError,
        ValueError for a name, partition or config that there cannot be.
        """
        problem = name_problem(topic)
        if problem is not None or not 0 <= partition < 2**31:
            raise ValueError(problem or f"partition {partition}: it is not a partition's number")
        config = _topic_config(topic, configs or {})
        path = str(Path(os.fspath(directory)).absolute())
        loop = _LoopThread()
        try:
            return cls(loop, *loop.run(lambda: _open(path, topic, partition, config, loop)))
        except BaseException:
            loop.end()
            raise

    # --- what it is ---

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.log_start_offset}..{self.log_end_offset}"
        return f"<tidelog.log.PartitionLog {self.directory} {state}>"

    @property
    def topic(self) -> str:
        return self._log.topic

    @property
    def partition(self) -> int:
        return self._log.index

    @property
    def directory(self) -> Path:
        """The log's own folder."""
        return Path(self._log.directory)

    @property
    def report(self) -> LoadReport:
        """What opening the log found and did."""
        return self._log.report

    @property
    def log_start_offset(self) -> int:
        """Offset of the first record that can be read."""
        return self._call(lambda: self._log.core.log_start_offset)

    @property
    def log_end_offset(self) -> int:
        """Offset that the next record gets."""
        return self._call(lambda: self._log.core.log_end_offset)

    @property
    def flushed_offset(self) -> int:
        """Records below it survive a power cut."""
        return self._call(lambda: self._log.core.flushed_offset)

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return self._call(lambda: self._log.size_bytes)

    def segment_base_offsets(self) -> list[int]:
        """Base offset of each segment, the last one takes appends; empty before any was made."""
        return self._call(lambda: [s.base_offset for s in self._log.core.segment_list])

    # --- appending ---

    def append(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp: int | None = None,
    ) -> int:
        """Appends one record; returns its offset.

        timestamp: ms since the epoch, None: now. Many records are appended much faster by
        `append_records`. Raises as that.
        """
        stamp = -1 if timestamp is None else timestamp
        return self.append_records([NewRecord(stamp, key, value, headers)]).base_offset

    def append_records(
        self, records: Iterable[NewRecord], *, compression: str = "uncompressed"
    ) -> Appended:
        """Appends the records as one batch: all of them or none.

        A timestamp of -1 becomes now. compression: uncompressed, gzip, snappy, lz4 or zstd; the
        config `compression.type` goes first. The records are in the file when this returns, and
        durable when `flush.messages` is 1. Raises KafkaError (RECORD_LIST_TOO_LARGE,
        MESSAGE_TOO_LARGE, INVALID_TIMESTAMP, ...), StorageError, ValueError without records.
        """
        codec = CODECS_BY_NAME.get(compression)
        if codec is None:
            raise ValueError(f"compression {compression!r} is none of {', '.join(CODECS_BY_NAME)}")
        now_ms = time.time_ns() // 1_000_000
        stamped = [r if r.timestamp >= 0 else r._replace(timestamp=now_ms) for r in records]
        return self._append(build_batch(stamped, codec=codec))

    def append_batches(self, data: Buffer, *, keep_offsets: bool = False) -> Appended:
        """Appends record batches (magic 2) as they stand in a Produce request or a `.log` file.

        Each batch gets the next offsets, whatever its own are, and passes the checks of a
        producer's batch. keep_offsets: they keep their offsets and whose they are, as in a copy of
        a log; each begins at or behind the log's end, and control batches are taken, too. All of
        `data` is looked at before anything is appended; a batch that is refused afterwards leaves
        those before it in the log. Raises CorruptBatchError, KafkaError, StorageError.
        """
        batches = _whole_batches(data)
        if keep_offsets:
            return self._append_copy(b"".join(bytes(batch.data) for batch in batches))
        done = [self._append(_without_offset(batch.data)) for batch in batches]
        return Appended(
            done[0].base_offset, done[-1].last_offset, all(one.is_duplicate for one in done)
        )

    def _append(self, batch: bytearray) -> Appended:
        now_ms = time.time_ns() // 1_000_000
        while True:
            status, code, base, last, reason, index, flush = self._call(
                lambda: self._produce(batch, now_ms)
            )
            if status == STATUS_NEEDS_ROLL:
                self._run(self._log.roll)
            elif status == STATUS_NEEDS_RECOMPRESS:
                base, last, flush = self._append_recompressed(batch, now_ms)
                break
            elif status in (STATUS_APPENDED, STATUS_DUPLICATE):
                break
            elif reason:
                raise InvalidBatchError(Reason(reason), index)
            else:
                raise _kafka_error(code)
        if flush:
            self.flush()
        return Appended(base, last, status == STATUS_DUPLICATE)

    def _produce(self, batch: bytearray, now_ms: int) -> tuple[int, int, int, int, int, int, bool]:
        """On the loop: a turn of append. The last item: a flush is due before it counts."""
        core = self._log.core
        status, code, base, last, _, reason, index = core.produce(
            batch, core.leader_epoch, _PRODUCE_VERSION, now_ms
        )
        return status, code, base, last, reason, index, core.is_flush_due()

    def _append_recompressed(self, batch: bytearray, now_ms: int) -> tuple[int, int, bool]:
        config = self._log.config
        limits = _limits(core_settings(config))
        # On the caller's thread: it waits for it anyhow.
        rebuilt = recompress(batch, now_ms=now_ms, limits=limits, level=config.compression_level)

        def append() -> tuple[int, int, int, int, bool]:
            core = self._log.core
            return *core.append_batch(rebuilt, core.leader_epoch, now_ms), core.is_flush_due()

        while True:
            status, code, base, last, flush = self._call(append)
            if status in (STATUS_APPENDED, STATUS_DUPLICATE):
                return base, last, flush
            if status != STATUS_NEEDS_ROLL:
                raise _kafka_error(code)
            self._run(self._log.roll)

    def _append_copy(self, data: bytes) -> Appended:
        first, last, position = -1, -1, 0
        flush = False

        def append(rest: bytes) -> tuple[int, int, int, int, int, bool]:
            core = self._log.core
            done = core.append_fetched(rest, time.time_ns() // 1_000_000)
            return *done, core.is_flush_due()

        while position < len(data):
            rest = data[position:] if position else data
            status, code, base, end, consumed, flush = self._call(partial(append, rest))
            if status == STATUS_NEEDS_ROLL:
                self._run(self._log.roll)
                continue
            if status != STATUS_APPENDED:
                raise _kafka_error(code)
            first = base if first < 0 else first
            last = end
            position += consumed
        if flush:
            self.flush()
        return Appended(first, last)

    # --- reading ---

    def records(self, start: int | None = None, end: int | None = None) -> Iterator[Record]:
        """The records from offset `start` (None: the first one) up to before `end` (None: what is
        the log's end when the reading begins).

        Control records are left out. Raises KafkaError (OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE),
        CorruptBatchError.
        """
        for batch in self.batches(start, end):
            if batch.header.is_control:
                continue
            for record in batch.records():
                if end is not None and record.offset >= end:
                    return
                if start is None or record.offset >= start:
                    yield record

    def batches(self, start: int | None = None, end: int | None = None) -> Iterator[BatchView]:
        """The batches with an offset from `start` up to before `end`, control batches as well.
        Raises as `records`.
        """
        offset = self.log_start_offset if start is None else start
        upper = self.log_end_offset if end is None else end
        while offset < upper:
            data = self.read_bytes(offset)
            if not data:
                return
            for batch in iterate_batches(data):
                if batch.header.base_offset >= upper:
                    return
                offset = batch.header.last_offset + 1
                yield batch

    def read_bytes(self, offset: int, max_bytes: int = READ_BYTES) -> bytes:
        """Whole batches as they stand in the file, from the one that holds `offset`: at least one,
        beyond it at most `max_bytes` and of one segment. b"" at the log's end.

        Raises KafkaError (OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE).
        """
        return self._call(lambda: self._log.read_bytes(offset, max_bytes))

    def offset_for_timestamp(self, timestamp: int) -> TimestampOffset | None:
        """The first record that is at least that new (ms since the epoch). Raises KafkaError."""
        return self._run(lambda: self._log.find_offset(timestamp))

    # --- what else a log can do ---

    def flush(self) -> None:
        """Returns when everything appended before survives a power cut. Raises StorageError."""
        self._run(self._log.flush)

    def roll(self) -> None:
        """Begins a new segment; does nothing while the active one is empty. Raises StorageError."""
        self._run(lambda: self._log.roll(force=True))

    def truncate_to(self, offset: int) -> bool:
        """Removes the records from `offset` on, and with them the whole batch that holds `offset`.
        The next record gets `offset`. Returns whether there was anything to remove.

        Below the log's first segment the log is empty afterwards and goes on at `offset`. Raises
        StorageError, ValueError for a negative offset.
        """
        if offset < 0:
            raise ValueError(f"offset {offset} is negative")
        return self._run(lambda: self._log.truncate_to(offset))

    def delete_records(self, offset: int) -> int:
        """Removes the records below `offset`; the files of whole segments go with
        `apply_retention`. Returns the new log start. Raises KafkaError (OFFSET_OUT_OF_RANGE).
        """
        return self._run(lambda: self._log.delete_records(offset))

    def apply_retention(self) -> int:
        """Removes the segments that `retention.ms`, `retention.bytes` and the log start give up,
        as also happens every five minutes while the log is open. Returns how many.
        """
        now_ms = time.time_ns() // 1_000_000
        return self._run(lambda: self._log.apply_retention(now_ms))

    # --- the end ---

    def close(self) -> None:
        """Makes everything durable and lets the directory go; again without effect.

        Raises StorageError when the log could not be closed in order: the next opening verifies it.
        """
        self._loop.check_process()
        with self._closing:
            if self._closed:
                return
            try:
                self._loop.run(self._close)
            finally:
                self._closed = True
                self._loop.end()

    async def _close(self) -> None:
        failure = self._log.failure
        if self._close_clean:
            await self._manager.close(clean=True)
            failure = failure or self._log.failure
        else:
            # Other logs of the directory have still to be recovered: no marker may say otherwise.
            try:
                await self._log.close(clean=True, release=False)
                await self._manager.checkpoint()
            finally:
                await self._manager.close(clean=False)
        if failure is not None:
            raise StorageError(f"{self.directory}: not closed in order: {failure}") from failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, function: Callable[[], T]) -> T:
        self._check_open()
        return self._loop.call(function)

    def _run(self, function: Callable[[], Awaitable[T]]) -> T:
        self._check_open()
        return self._loop.run(function)

    def _check_open(self) -> None:
        self._loop.check_process()
        if self._closed:
            raise StorageError(f"{self.directory}: the log is closed")


class _LoopThread:
    """An event loop on a thread of its own, with helper threads for the disk."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(_HELPER_THREADS, thread_name_prefix="tidelog-log-disk")
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        # A program that ends without closing its log must not hang.
        self._thread = threading.Thread(target=self._main, name="tidelog-log", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def check_process(self) -> None:
        """Raises StorageError in a forked child: it has neither the thread nor the log."""
        if os.getpid() != self._process:
            raise StorageError("the log was opened by another process")

    def call(self, function: Callable[[], T]) -> T:
        """What the function returns or raises on the loop's thread."""
        future: Future[T] = Future()

        def turn() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self._post(turn)
        return future.result()

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """The same for a function that gives something to await."""
        future: Future[T] = Future()

        async def turn() -> None:
            try:
                future.set_result(await function())
            except BaseException as error:
                future.set_exception(error)

        tasks = []
        self._post(lambda: tasks.append(self._loop.create_task(turn())))
        return future.result()

    def _post(self, turn: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(turn)
        except RuntimeError as error:  # another thread has closed it meanwhile
            raise StorageError("the log is closed") from error

    def end(self) -> None:
        """Ends the threads. Nothing may be under way any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.executor.shutdown()


async def _open(
    directory: str, topic: str, partition: int, config: TopicConfig, loop: _LoopThread
) -> tuple[LogManager, StoredLog, bool]:
    meta = read_meta_properties(os.path.join(directory, META_PROPERTIES))
    folder = os.path.join(directory, folder_name(topic, partition))
    found = read_partition_metadata(os.path.join(folder, PARTITION_METADATA))
    known = KnownLog(topic, found or uuid.uuid4().bytes, partition, config)
    node_id = 0 if meta is None else meta.node_id
    manager = LogManager(directory, node_id, BrokerConfig.resolve(), SystemClock(), loop.executor)
    manager.tells_unknown = False  # other logs in the directory are no surprise
    try:
        report = await manager.start([known])
        for _, problem in report.failed:
            raise StorageError(problem)
        log = manager.get(topic, partition)
        if log is None:
            log = await manager.create(topic, known.topic_id, partition, config)
        if log.core.leader_epoch < 0:
            log.assign_epoch(0)
        manager.run()
    except BaseException:
        await manager.close(clean=False)
        raise
    return manager, log, report.clean or not report.unknown


def _topic_config(topic: str, configs: Mapping[str, ConfigValue]) -> TopicConfig:
    """Raises ValueError for what is no topic config or no value of it."""
    texts = {
        name: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for name, value in configs.items()
    }
    try:
        validate(ResourceType.TOPIC, topic, texts, texts, BrokerLayers())
    except ConfigChangeError as error:
        raise ValueError(str(error)) from error
    return TopicConfig.resolve(texts)


def _limits(settings: dict[str, Any]) -> Limits:
    return (
        settings["max_message_bytes"],
        settings["timestamp_before_max_ms"],
        settings["timestamp_after_max_ms"],
        settings["log_append_time"],
        settings["compacted"],
        settings["target_codec"],
    )


def _whole_batches(data: Buffer) -> list[BatchView]:
    """Raises CorruptBatchError also when there is no batch, or one that is not whole."""
    view = memoryview(data).cast("B")
    batches = list(iterate_batches(view))
    end = batches[-1].position + batches[-1].header.size if batches else 0
    if end != len(view) or not batches:
        raise CorruptBatchError(end, "it is not whole")
    return batches


def _without_offset(batch: memoryview) -> bytearray:
    """A copy with base offset 0, as producers send it; the checksum doesn't cover it."""
    copy = bytearray(batch)
    copy[:_BASE_OFFSET_BYTES] = bytes(_BASE_OFFSET_BYTES)
    return copy


def _kafka_error(code: int) -> KafkaError:
    return KafkaError(code, f"the append is refused: {ErrorCode(code).name}")

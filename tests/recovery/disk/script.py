"""A node's life that touches every kind of file change, with what has to be left at every moment.

Runs on one thread, helpers included, so that a run is the same each time. `Ledger` says for every
number of operations done what a start may find.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.unit.native.log_harness import NOW
from tests.unit.storage.log_fixtures import HOUR_MS, InlineExecutor, ManagerSettings
from tidelog._native.batch import parse
from tidelog._native.log import STATUS_APPENDED, STATUS_DUPLICATE, STATUS_NEEDS_ROLL
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import NewRecord, Producer, build_batch
from tidelog.storage.files import Files
from tidelog.storage.log import PartitionLog
from tidelog.storage.manager import KnownLog, LogManager

TOPIC_ID = bytes(range(16))
OTHER_ID = bytes(range(1, 17))
PRODUCER_ID = 7

#: The durability levels: what is set, and how many acknowledged records may be without a sync once
#: nothing is under way. None: as many as were written since the last roll or flush.
LEVELS: dict[str, tuple[dict[str, str], int | None]] = {
    "page-cache": ({}, None),
    "flush-ms": ({"flush.ms": "1000"}, None),
    "flush-messages-4": ({"flush.messages": "4"}, 3),
    "flush-messages-1": ({"flush.messages": "1"}, 0),
}
_TOPIC = {
    "internal.segment.bytes": "700",
    "index.interval.bytes": "100",
    "segment.index.bytes": "360",
    "file.delete.delay.ms": "0",
    "retention.ms": "-1",
    "message.timestamp.after.max.ms": str(2**62),
}


@dataclass(frozen=True, slots=True)
class Batch:
    base_offset: int
    last_offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a start must find: a piece of one of `histories`, the last of which is what stands in
    the log now, from a start in `starts` to an end that is not below `durable_end`."""

    histories: tuple[tuple[Batch, ...], ...] = ((),)
    durable_end: int = 0
    starts: tuple[int, int] = (0, 0)


class Ledger:
    """Expectations by the number of operations done; `now` is the one that holds."""

    def __init__(self, operations: Callable[[], int]) -> None:
        self._operations = operations
        self._marks: list[tuple[int, Expectation]] = [(0, Expectation())]

    @property
    def now(self) -> Expectation:
        return self._marks[-1][1]

    def change(self, **values: Any) -> None:
        self._marks.append((self._operations(), replace(self.now, **values)))

    def at(self, operations: int) -> Expectation:
        return [mark for count, mark in self._marks if count <= operations][-1]


def topic_config(level: str) -> TopicConfig:
    return TopicConfig.resolve(_TOPIC | LEVELS[level][0])


def node(directory: str, files: Files, clock: ManualClock) -> LogManager:
    inline = InlineExecutor()
    return LogManager(
        directory,
        1,
        ManagerSettings(),
        clock,
        inline,
        cluster_id="cluster",
        files=files,
        rng=random.Random(1),
        roll_executor=inline,
    )


def known(level: str) -> KnownLog:
    return KnownLog("t", TOPIC_ID, 0, topic_config(level))


@asynccontextmanager
async def started(
    directory: str, files: Files, level: str, clock: ManualClock | None = None
) -> AsyncIterator[LogManager]:
    """A node on the directory, left as a killed process leaves it."""
    manager = node(directory, files, clock or ManualClock(NOW))
    await manager.start([known(level)])
    try:
        yield manager
    finally:
        await manager.close(clean=False)


async def settle(log: PartitionLog) -> None:
    """Until nothing is under way."""
    for _ in range(200):
        await asyncio.sleep(0)
        if not log._flusher.running and not log._tasks and not log._removal._running:
            return
    raise AssertionError("the log does not come to rest")


class Halted(Exception):
    """A step met trouble: an append was refused, or the log is offline."""


class Script:
    """The steps, in `run`. `ledger` is kept while they go.

    Without trouble every step must work; where the disk fails, `run` ends by Halted, OSError,
    StorageError or KafkaError. `manager` is the node as it then stands.
    """

    def __init__(self, directory: str, files: Files, level: str, ledger: Ledger) -> None:
        self.directory = directory
        self.files = files
        self.level = level
        self.ledger = ledger
        self.manager: LogManager | None = None
        self.clock = ManualClock(NOW)
        self.doing = ""
        self.sequence = 0
        self.made = 0
        self.epoch = 0

    async def run(self) -> None:
        manager = await self._start(clean=False)
        log = await manager.create("t", TOPIC_ID, 0, topic_config(self.level))
        self._watch(log)
        await self._produce(log, 7)
        await manager.checkpoint()
        self.epoch = 1
        log.assign_epoch(1)
        await self._produce(log, 6)
        await log.flush()
        await self._produce(log, 4)
        await self._delete_records(log, log.core.segment_list[2].base_offset + 1)
        await manager.checkpoint()
        await self._retention(log)
        await self._truncate(log, log.core.log_end_offset - 6)
        self.epoch = 2
        log.assign_epoch(2)
        await self._produce(log, 6)
        await self._another_log(manager)
        await log.roll(force=True)
        await settle(log)
        await self._produce(log, 2)
        await manager.close()
        self._check_alive(log)
        self.ledger.change(durable_end=self._end)
        manager = await self._start(clean=True)
        found = manager.get("t", 0)
        if found is None:
            raise Halted(f"not opened: {manager.failed_logs()}")
        log = found
        self._watch(log)
        await self._produce(log, 5)
        await self._truncate(log, log.core.log_end_offset - 9)
        self.epoch = 3
        log.assign_epoch(3)
        await self._produce(log, 5)
        await manager.checkpoint()
        await manager.close(clean=False)

    async def _start(self, *, clean: bool) -> LogManager:
        manager = node(self.directory, self.files, self.clock)
        self.manager = manager
        self.doing = "start"
        report = await manager.start([known(self.level)])
        if report.clean is not clean:
            raise Halted("the stop was not clean")
        return manager

    def _check_alive(self, log: PartitionLog) -> None:
        if log.failure is not None:
            raise Halted("offline") from log.failure
        if log._flusher.waiting:
            raise Halted("a flush found no room")

    # ---- what is expected

    @property
    def _history(self) -> tuple[Batch, ...]:
        return self.ledger.now.histories[-1]

    @property
    def _end(self) -> int:
        return self._history[-1].last_offset + 1 if self._history else 0

    def _watch(self, log: PartitionLog) -> None:
        def progress() -> None:
            if not log.offline:
                durable = max(log.core.flushed_offset, self.ledger.now.durable_end)
                self.ledger.change(durable_end=durable)

        log.on_progress = progress

    # ---- steps

    async def _produce(self, log: PartitionLog, count: int) -> None:
        for _ in range(count):
            await self._produce_one(log)

    async def _produce_one(self, log: PartitionLog) -> None:
        self.doing = "produce"
        self.made += 1
        records = 1 + self.made % 3
        idempotent = self.made % 2 == 0
        producer = Producer(PRODUCER_ID, 0, self.sequence) if idempotent else Producer()
        data = make_batch(self.made, records, producer, codec=(0, 0, 4)[self.made % 3])
        base, stored = await append(log, data, self.epoch)
        if idempotent:
            self.sequence += records
        batch = Batch(base, base + records - 1, stored)
        assert base == log.core.log_end_offset - records
        histories = ((*self._history, batch),)
        self.ledger.change(histories=histories)
        if log.core.is_flush_due():
            log.request_flush()
        self.clock.advance(600)
        if log.config.flush_ms <= HOUR_MS:
            log.flush_if_older(self.clock.monotonic_ms())
        await settle(log)
        self._check_alive(log)
        window = LEVELS[self.level][1]
        if window is not None:
            assert self._end - self.ledger.now.durable_end <= window

    async def _delete_records(self, log: PartitionLog, offset: int) -> None:
        self.doing = "delete records"
        low, _ = self.ledger.now.starts
        self.ledger.change(starts=(low, offset))
        assert await log.delete_records(offset) == offset
        self.ledger.change(starts=(offset, offset))

    async def _retention(self, log: PartitionLog) -> None:
        self.doing = "retention"
        low, high = self.ledger.now.starts
        first = log.core.segment_list[0].base_offset
        self._check_alive(log)
        assert await log.apply_retention(self.clock.wall_ms()) > 0
        await settle(log)
        self._check_alive(log)
        assert log.core.segment_list[0].base_offset > first
        assert (low, high) == (log.core.log_start_offset,) * 2

    async def _truncate(self, log: PartitionLog, offset: int) -> None:
        self.doing = "truncate"
        # A batch goes whole.
        offset = max(batch.base_offset for batch in self._history if batch.base_offset <= offset)
        kept = tuple(batch for batch in self._history if batch.base_offset < offset)
        self.ledger.change(
            histories=(self._history, kept), durable_end=min(self.ledger.now.durable_end, offset)
        )
        self.sequence = next_sequence(kept)
        assert await log.truncate_to(offset)
        await settle(log)
        self.ledger.change(histories=(kept,))

    async def _another_log(self, manager: LogManager) -> None:
        """Made, filled and deleted: the first one does not notice."""
        self.doing = "another log"
        other = await manager.create("other", OTHER_ID, 3, topic_config(self.level))
        for i in range(3):
            await append(other, make_batch(i, 1, Producer()), 0)
        await manager.checkpoint()
        await manager.delete(other)
        while manager._removals.pending:
            await asyncio.sleep(0.001)


def make_batch(number: int, records: int, producer: Producer, codec: int = 0) -> bytearray:
    return build_batch(
        [
            NewRecord(NOW + number * 10 + i, b"k", b"%d " % number * (4 + number % 7))
            for i in range(records)
        ],
        codec=codec,
        producer=producer,
    )


async def append(log: PartitionLog, data: bytearray, epoch: int) -> tuple[int, bytes]:
    """(base offset, what stands in the log)."""
    for _ in range(3):
        answer = log.core.produce(data, epoch, 9, NOW)
        if answer[0] != STATUS_NEEDS_ROLL:
            if answer[1] == ErrorCode.KAFKA_STORAGE_ERROR:
                raise Halted("append refused")
            assert answer[0] == STATUS_APPENDED, answer
            return answer[2], bytes(data)
        await log.roll()
    raise AssertionError("the log wants to roll again and again")


def send_again(log: PartitionLog, data: bytes) -> None:
    """A batch of the log is known when its producer sends it again."""
    again = bytes(8) + data[8:]  # as it came: from offset 0
    answer = log.core.produce(bytearray(again), log.core.leader_epoch, 9, NOW)
    assert answer[0] == STATUS_DUPLICATE, (answer, log.describe())


def batches_of(data: bytes) -> list[Batch]:
    found, position = [], 0
    while position < len(data):
        header = parse(data, position)
        assert header is not None
        piece = data[position : position + header.size]
        found.append(
            Batch(header.base_offset, header.base_offset + header.last_offset_delta, piece)
        )
        position += header.size
    return found


def next_sequence(history: tuple[Batch, ...]) -> int:
    """What the idempotent producer sends next."""
    for batch in reversed(history):
        header = parse(batch.data)
        assert header is not None
        if header.producer_id == PRODUCER_ID:
            return header.base_sequence + header.last_offset_delta + 1
    return 0

"""The life of a compacted log: filled, compacted again and again, restarted; and what of it has to
be left at every moment.

Runs on one thread as script.py does. `History` is everything that was ever appended; what a start
finds is checked against it and against how far the log may have been compacted.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from tests.recovery.disk.checks import contents
from tests.recovery.disk.script import Halted, node, settle
from tests.unit.native.log_harness import NOW
from tests.unit.storage.log_fixtures import InlineExecutor
from tidelog._native.log import STATUS_APPENDED, STATUS_DUPLICATE, STATUS_NEEDS_ROLL
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.record.builder import NewRecord, Producer, build_batch
from tidelog.record.view import iterate_batches
from tidelog.storage.files import Files
from tidelog.storage.log import PartitionLog
from tidelog.storage.manager import KnownLog, LogManager

TOPIC_ID = bytes(range(16))
PRODUCER_ID = 9
DELETE_RETENTION_MS = 5_000
_TOPIC = {
    "cleanup.policy": "compact",
    "internal.segment.bytes": "900",
    "index.interval.bytes": "100",
    "segment.index.bytes": "720",
    "file.delete.delay.ms": "0",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": str(DELETE_RETENTION_MS),
    "message.timestamp.after.max.ms": str(2**62),
}
KEYS = 6

Value = tuple[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class State:
    """What a start must find, see check()."""

    records: tuple[Value, ...] = ()  # (key, value) by offset
    durable_end: int = 0
    touched_end: int = 0  # offsets below may have been compacted away


@dataclass
class Marks:
    """States by the number of operations done."""

    operations: Callable[[], int]
    marks: list[tuple[int, State]] = field(default_factory=lambda: [(0, State())])

    @property
    def now(self) -> State:
        return self.marks[-1][1]

    def change(self, **values: object) -> None:
        self.marks.append((self.operations(), replace(self.now, **values)))  # type: ignore[arg-type]

    def at(self, operations: int) -> State:
        return [state for count, state in self.marks if count <= operations][-1]


def topic_config() -> TopicConfig:
    return TopicConfig.resolve(_TOPIC)


def compacting_node(directory: str, files: Files, clock: ManualClock) -> LogManager:
    manager = node(directory, files, clock)
    manager.cleaner.executor = InlineExecutor()
    return manager


@asynccontextmanager
async def started(
    directory: str, files: Files, clock: ManualClock | None = None
) -> AsyncIterator[LogManager]:
    manager = compacting_node(directory, files, clock or ManualClock(NOW))
    await manager.start([KnownLog("t", TOPIC_ID, 0, topic_config())])
    try:
        yield manager
    finally:
        await manager.close(clean=False)


class CompactionScript:
    """`run` is the life; `marks` is kept while it goes."""

    def __init__(self, directory: str, files: Files, marks: Marks) -> None:
        self.directory = directory
        self.files = files
        self.marks = marks
        self.clock = ManualClock(NOW)
        self.rng = random.Random(5)
        self.sequence = 0
        self.made = 0
        self.cleanings = 0
        self.manager: LogManager | None = None

    async def run(self) -> None:
        manager = self.manager = compacting_node(self.directory, self.files, self.clock)
        await manager.start([])
        log = await manager.create("t", TOPIC_ID, 0, topic_config())
        self._watch(log)
        await self._fill(log, 12)
        await self._clean(manager, log)
        await self._fill(log, 5)
        await self._clean(manager, log)
        self.clock.advance(2 * DELETE_RETENTION_MS)
        await self._fill(log, 5)
        await self._clean(manager, log)
        await log.delete_records(log.core.segment_list[0].base_offset)
        await manager.close(clean=True)
        self.marks.change(durable_end=len(self.marks.now.records))
        manager = self.manager = compacting_node(self.directory, self.files, self.clock)
        await manager.start([KnownLog("t", TOPIC_ID, 0, topic_config())])
        found = manager.get("t", 0)
        if found is None:
            raise Halted(f"not opened: {manager.failed_logs()}")
        self._watch(found)
        await self._fill(found, 5)
        await self._clean(manager, found)
        await manager.close(clean=False)

    def _watch(self, log: PartitionLog) -> None:
        def progress() -> None:
            if not log.offline:
                end = max(log.core.flushed_offset, self.marks.now.durable_end)
                self.marks.change(durable_end=end)

        log.on_progress = progress

    async def _fill(self, log: PartitionLog, count: int) -> None:
        for _ in range(count):
            await self._produce(log)
        await log.roll(force=True)
        await log.flush()
        await settle(log)

    async def _produce(self, log: PartitionLog) -> None:
        self.made += 1
        values = [
            (
                b"key-%d" % self.rng.randrange(KEYS),
                None if self.rng.random() < 0.25 else b"%d " % self.made * (4 + self.made % 9),
            )
            for _ in range(1 + self.made % 3)
        ]
        idempotent = self.made % 3 == 0
        data = build_batch(
            [NewRecord(self.clock.wall_ms() + i, *value) for i, value in enumerate(values)],
            codec=(0, 0, 4)[self.made % 3],
            producer=Producer(PRODUCER_ID, 0, self.sequence) if idempotent else Producer(),
        )
        await _append(log, data)
        if idempotent:
            self.sequence += len(values)
        self.marks.change(records=(*self.marks.now.records, *values))
        self.clock.advance(10)
        await settle(log)

    async def _clean(self, manager: LogManager, log: PartitionLog) -> None:
        self.marks.change(touched_end=log.core.segment_list[-1].base_offset)
        self.cleanings += await manager.cleaner.clean_next()
        await settle(log)


async def _append(log: PartitionLog, data: bytearray) -> None:
    # A compressed batch for a compacted topic is opened before; here its records are known.
    while (answer := log.core.append_batch(data, 0, NOW))[0] == STATUS_NEEDS_ROLL:
        await log.roll()
    if answer[0] != STATUS_APPENDED:
        raise Halted("append refused")


async def check(manager: LogManager, state: State) -> dict[int, Value]:
    """Returns the records by offset. Raises AssertionError.

    Nothing is there that was not appended; everything that was not compacted is; of each key the
    last record is, unless it is a deletion marker among what was compacted.
    """
    assert manager.failed_logs() == {}
    log = manager.get("t", 0)
    if log is None:
        assert state.durable_end == 0
        return {}
    end = log.core.log_end_offset
    assert end >= state.durable_end, f"ends at {end}, synced {state.durable_end}"
    assert end <= len(state.records)
    found: dict[int, Value] = {}
    for batch in contents(log):
        for view in iterate_batches(batch.data):
            for record in view.records():
                assert record.key is not None
                found[record.offset] = (record.key, record.value)
    for offset, value in found.items():
        assert state.records[offset] == value
    last = {key: offset for offset, (key, _) in enumerate(state.records[:end])}
    for offset, (key, value) in enumerate(state.records[:end]):
        if offset >= state.touched_end or (last[key] == offset and value is not None):
            assert offset in found, f"offset {offset} is gone, the log ends at {end}"
    for key, offset in last.items():
        later = [o for o, (k, _) in found.items() if k == key]
        if offset not in found:
            assert not later, f"{key!r} came back at {later}: it was deleted at {offset}"
    for batch in contents(log):
        for offset in range(batch.base_offset, batch.last_offset + 1):
            assert log.read_bytes(offset, 1) == batch.data
    return found


def check_producer(manager: LogManager) -> None:
    """What the idempotent producer sent last is known, if it is still in the log."""
    log = manager.get("t", 0)
    if log is None:
        return
    own = [
        batch.data
        for batch in contents(log)
        if next(iterate_batches(batch.data)).header.producer_id == PRODUCER_ID
    ]
    entry = log.core.producers.entry(PRODUCER_ID)
    assert bool(own) == (entry is not None and bool(entry.retained))
    whole = own and next(iterate_batches(own[-1])).header
    if whole and whole.records_count == whole.last_offset_delta + 1:
        again = log.core.append_batch(bytearray(own[-1]), 0, NOW)
        assert again[0] == STATUS_DUPLICATE, again

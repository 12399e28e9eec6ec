"""A node with one compacted log, and a model of what its records are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.unit.storage.log_fixtures import FaultyFiles, ManagerSettings
from tidelog._native.log import STATUS_APPENDED, STATUS_NEEDS_ROLL
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.record.builder import NewRecord, build_batch
from tidelog.record.view import BatchView, iterate_batches
from tidelog.storage.log import PartitionLog
from tidelog.storage.manager import KnownLog, LogManager

TOPIC_ID = bytes(range(16))
DEFAULTS = {
    "cleanup.policy": "compact",
    "internal.segment.bytes": "2000",
    "index.interval.bytes": "200",
    "segment.index.bytes": "4096",
    "min.cleanable.dirty.ratio": "0.01",
    "message.timestamp.after.max.ms": str(2**62),
}


@dataclass
class Compacted:
    """The node, its log, and (key, value) of everything that was appended, by offset."""

    directory: str
    overrides: dict[str, str] = field(default_factory=dict)
    settings: ManagerSettings = field(default_factory=ManagerSettings)
    files: FaultyFiles = field(default_factory=FaultyFiles)
    clock: ManualClock = field(default_factory=ManualClock)
    appended: list[tuple[bytes | None, bytes | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(11)
        self.executor = ThreadPoolExecutor(3)

    def config(self, **changes: str) -> TopicConfig:
        names = {name.replace("_", "."): value for name, value in changes.items()}
        return TopicConfig.resolve(DEFAULTS | self.overrides | names)

    async def start(self) -> None:
        self.manager = LogManager(
            self.directory, 1, self.settings, self.clock, self.executor,
            files=self.files, rng=random.Random(2),
        )  # fmt: skip
        await self.manager.start([KnownLog("t", TOPIC_ID, 0, self.config())])
        self.log: PartitionLog = await self.manager.create("t", TOPIC_ID, 0, self.config())

    async def restart(self, *, clean: bool = True) -> None:
        await self.manager.close(clean=clean)
        await self.start()

    async def append(self, data: bytearray) -> int:
        """Returns the base offset."""
        now_ms = self.clock.wall_ms()
        while (answer := self.log.core.append_batch(data, 0, now_ms))[0] == STATUS_NEEDS_ROLL:
            await self.log.roll()
        assert answer[0] == STATUS_APPENDED, answer
        return answer[2]

    async def append_fetched(self, data: bytearray) -> int:
        """The same as a follower: nobody asks whether a transaction was begun."""
        end = self.log.core.log_end_offset
        data[:8] = end.to_bytes(8, "big")
        now_ms = self.clock.wall_ms()
        while self.log.core.append_fetched(data, now_ms)[0] == STATUS_NEEDS_ROLL:
            await self.log.roll()
        return end

    async def put(
        self, *records: tuple[bytes | None, bytes | None], codec: int = 0, **more: Any
    ) -> int:
        """Appends a batch of (key, value)."""
        data = build_batch(
            [NewRecord(self.clock.wall_ms() + i, *record) for i, record in enumerate(records)],
            codec=codec,
            **more,
        )
        transactional = more.get("is_transactional", False)
        base = await (self.append_fetched(data) if transactional else self.append(data))
        self.appended += records
        return base

    async def fill(self, batches: int, *, keys: int = 10, seal: bool = True) -> None:
        """Batches of random keys, some of them deletions; then the segment is sealed."""
        for _ in range(batches):
            records = [
                (
                    b"key-%d" % self.rng.randrange(keys),
                    None if self.rng.random() < 0.2 else self.rng.randbytes(30),
                )
                for _ in range(self.rng.randrange(1, 6))
            ]
            await self.put(*records, codec=self.rng.choice([0, 0, 4]))
        if seal:
            await self.seal()

    async def seal(self) -> None:
        await self.log.roll(force=True)
        await self.log.flush()

    def batches(self) -> list[BatchView]:
        core, found = self.log.core, []
        offset = core.log_start_offset
        while offset < core.log_end_offset:
            data = self.log.read_bytes(offset, 1 << 20)
            if not data:
                break
            found += list(iterate_batches(data))
            offset = found[-1].header.last_offset + 1
        return found

    def records(self) -> dict[int, tuple[bytes | None, bytes | None]]:
        """What is read, by offset."""
        return {
            record.offset: (record.key, record.value)
            for batch in self.batches()
            if not batch.header.is_control
            for record in batch.records()
        }

    def expected(self, *, clean_end: int | None = None) -> dict[int, Any]:
        """The last record of each key below `clean_end` (and what follows all of it)."""
        end = self.log.core.segment_list[-1].base_offset if clean_end is None else clean_end
        last = {key: offset for offset, (key, _) in enumerate(self.appended[:end])}
        kept = {offset: self.appended[offset] for key, offset in last.items() if key is not None}
        return kept | {o: self.appended[o] for o in range(end, len(self.appended))}

    def names(self) -> list[str]:
        return [entry.name for entry in self.files.list_directory(self.log.directory)]

    async def stop(self) -> None:
        self.files.held.clear()
        self.files.errors.clear()
        self.files.let_go.release(100)
        await self.manager.close(clean=False)
        self.executor.shutdown()


@asynccontextmanager
async def compacted(directory: object, **overrides: str) -> AsyncIterator[Compacted]:
    names = {name.replace("_", "."): value for name, value in overrides.items()}
    made = Compacted(str(directory), names)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def settled(log: PartitionLog) -> None:
    """Until files that are out of use are gone (file.delete.delay.ms=0)."""
    while log._removal.pending or log._removal._running:
        await asyncio.sleep(0.001)

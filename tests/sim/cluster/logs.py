"""The logs of a simulated node: lists instead of files, with what a killed process or a lost power
supply leaves of them.

A record is (leader epoch, value). A `Disk` outlives the node's processes: what was appended is in
the machine's page cache, what was synced survives the machine. Logs of real batches, for what
coordinators read and write: batch_logs.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tidelog._native.log import STATUS_NEEDS_ROLL, LogCore
from tidelog._native.producer_state import ProducerStates
from tidelog.protocol.error_codes import ErrorCode
from tidelog.storage.leader_epochs import EpochEnd, EpochEntry, LeaderEpochCache

FETCH_RECORDS_MAX = 5


class Record(NamedTuple):
    """leader_epoch, and a value that is written once in a run."""

    leader_epoch: int
    value: int


@dataclass
class Stored:
    """One log on a disk."""

    topic_id: bytes
    records: list[Record] = field(default_factory=list)
    synced: int = 0
    high_watermark: int = -1

    def lose_power(self, rng: random.Random) -> None:
        """Of what was not synced, any part from its beginning on is left."""
        kept = rng.randint(self.synced, len(self.records))
        del self.records[kept:]
        self.synced = kept


class Disk:
    """Of one node."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.logs: dict[tuple[str, int], Any] = {}  # Stored, StoredBatches

    def lose_power(self) -> None:
        for stored in self.logs.values():
            stored.lose_power(self._rng)


class SimLog:
    """What the replica manager and a follower see of a PartitionLog."""

    def __init__(
        self, topic: str, index: int, config: Any, stored: Any, rng: random.Random
    ) -> None:
        self.topic, self.index, self.topic_id = topic, index, stored.topic_id
        self.config = config
        self.stored = stored
        self.core = LogCore(ProducerStates(), self)
        self.offline = False
        self.is_replicated = False
        self.on_progress: Any = None
        self.high_watermark: Any = None
        self._rng = rng
        # As recovery does: epochs are what the records say.
        entries: list[EpochEntry] = []
        for offset, epoch in self._recover():
            if not entries or entries[-1].epoch != epoch:
                entries.append(EpochEntry(epoch, offset))
        self.epochs = LeaderEpochCache(entries)
        self._moved()

    def _recover(self) -> Iterator[tuple[int, int]]:
        """(offset, leader epoch) of everything that is stored."""
        for offset, record in enumerate(self.stored.records):
            yield offset, record.leader_epoch

    @property
    def end(self) -> int:
        return len(self.stored.records)

    def contents(self) -> object:
        """Equal when two logs hold the same."""
        return self.stored.records

    def values(self, start: int, end: int) -> Iterator[tuple[int, Any]]:
        """(offset, value) of what stands between the two offsets."""
        for offset in range(start, end):
            yield offset, self.stored.records[offset].value

    def fetched(self, offset: int) -> tuple[Any, ...]:
        """What a follower gets that has everything below the offset."""
        return tuple(self.stored.records[offset : offset + FETCH_RECORDS_MAX])

    def append_fetched(self, base_offset: int, records: list[Any], now_ms: int) -> int:
        """As ReplicaFetch.append: 0, STATUS_NEEDS_ROLL, or an error code, negative."""
        if self.must_roll():
            return STATUS_NEEDS_ROLL
        if base_offset != self.end:
            return -int(ErrorCode.OFFSET_OUT_OF_RANGE)
        self.append(records)
        return 0

    def _moved(self) -> None:
        self.core.install(
            [],
            log_start_offset=0,
            log_end_offset=self.end,
            recovery_point=self.end,
            leader_epoch=self.epochs.latest_epoch,
        )

    def set_config(self, config: Any) -> None:
        self.config = config

    def assign_epoch(self, epoch: int) -> None:
        self.epochs.assign(epoch, self.end)
        self.core.set_leader_epoch(self.epochs.latest_epoch)

    def end_offset_for_epoch(self, epoch: int) -> EpochEnd:
        return self.epochs.end_offset_for(epoch, self.end)

    def append(self, records: list[Record]) -> None:
        """As leader or follower: the records have their epochs."""
        for record in records:
            if record.leader_epoch > self.epochs.latest_epoch:
                self.epochs.assign(record.leader_epoch, self.end)
            self.stored.records.append(record)
        self._moved()

    def sync(self) -> None:
        self.stored.synced = self.end

    def must_roll(self) -> bool:
        """Now and then an append needs a new segment first."""
        return self._rng.random() < 0.02

    async def roll(self, *, force: bool = False) -> None:
        await asyncio.sleep(self._rng.random() * 0.01)

    async def flush(self) -> None:
        await asyncio.sleep(self._rng.random() * 0.01)
        self.sync()

    async def truncate_to(self, offset: int) -> bool:
        # As in production: readers do not see what goes from the first moment on; and an epoch that
        # begins at the end goes, too.
        if offset > self.end:
            return False
        self._cut(offset)
        await asyncio.sleep(self._rng.random() * 0.01)
        return True

    async def truncate_fully_and_start_at(self, offset: int) -> None:
        assert offset == 0, "no log of this simulation starts elsewhere"
        self._cut(0)
        await asyncio.sleep(self._rng.random() * 0.01)

    async def advance_log_start(self, offset: int) -> None:
        raise AssertionError("no log of this simulation starts elsewhere")

    def _cut(self, offset: int) -> None:
        del self.stored.records[offset:]
        self.stored.synced = min(self.stored.synced, offset)
        self.epochs.truncate_from_end(offset)
        self._moved()


class SimLogs:
    """What the replica manager sees of LogDirectories. kind(topic): the classes of its logs and of
    what they have on the disk.
    """

    def __init__(
        self,
        disk: Disk,
        rng: random.Random,
        kind: Callable[[str], tuple[type[SimLog], Callable[[bytes], Any]]],
    ) -> None:
        self._disk = disk
        self._rng = rng
        self._kind = kind
        self._open: dict[tuple[str, int], SimLog] = {}
        self.on_offline: Any = None
        self.on_opened: Any = None

    def take_high_watermark(self, log: SimLog) -> int:
        """The high watermark in the checkpoint."""
        return self._disk.logs[log.topic, log.index].high_watermark

    def note_high_watermarks(self) -> None:
        for log in self._open.values():
            if log.high_watermark is not None:
                log.stored.high_watermark = log.high_watermark()

    def get(self, topic: str, index: int) -> SimLog | None:
        return self._open.get((topic, index))

    def logs(self) -> list[SimLog]:
        return list(self._open.values())

    def is_opening(self, topic: str, index: int) -> bool:
        return False

    async def end_of_opening(self, topic: str, index: int) -> None:
        return

    async def create(self, topic: str, topic_id: bytes, index: int, config: Any) -> SimLog:
        await asyncio.sleep(self._rng.random() * 0.005)
        make, make_stored = self._kind(topic)
        stored = self._disk.logs.get((topic, index))
        if stored is None or stored.topic_id != topic_id:
            stored = self._disk.logs[topic, index] = make_stored(topic_id)
        made = self._open[topic, index] = make(topic, index, config, stored, self._rng)
        return made

    async def delete(self, log: SimLog) -> None:
        del self._open[log.topic, log.index]
        del self._disk.logs[log.topic, log.index]

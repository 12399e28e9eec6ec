"""Logs of real batches for a simulated node: production's LogCore, segment and producer state on a
file in memory, for what coordinators and transactional producers read and write.

What is left of it after a kill or a power cut is whole batches (what recovery cuts off a torn one
is tested elsewhere); epochs and producer state are then made anew from them, as recovery does.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections.abc import Iterator
from typing import Any

from tests.sim.cluster.logs import SimLog
from tidelog._native.index import OffsetIndex, TimeIndex
from tidelog._native.log import STATUS_APPENDED, STATUS_NEEDS_ROLL
from tidelog._native.producer_state import ProducerStates
from tidelog._native.segment import Segment
from tidelog.record.view import BatchView, iterate_batches

FETCH_BYTES_MAX = 600  # a few batches
READ_BYTES_MAX = 1 << 26
NO_INDEX_ENTRIES_BYTES = 1 << 40


class StoredBatches:
    """One log on a disk."""

    def __init__(self, topic_id: bytes) -> None:
        self.topic_id = topic_id
        self.fd = os.memfd_create("log")
        self.synced = 0  # bytes
        self.high_watermark = -1

    def __del__(self) -> None:
        os.close(self.fd)

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def data(self) -> bytes:
        return os.pread(self.fd, self.size, 0)

    def cut(self, size: int) -> None:
        os.ftruncate(self.fd, size)
        self.synced = min(self.synced, size)

    def lose_power(self, rng: random.Random) -> None:
        """Of what was not synced, any whole batches from its beginning on are left."""
        ends = [self.synced]
        ends += [
            batch.position + batch.header.size
            for batch in batches_of(self.data())
            if batch.position >= self.synced
        ]
        self.cut(rng.choice(ends))
        self.synced = self.size


def batches_of(data: bytes) -> Iterator[BatchView]:
    return iterate_batches(data, check_crc=False)


class BatchLog(SimLog):
    """What replica manager, followers and coordinators see of a PartitionLog; owner of its core."""

    stored: StoredBatches

    def _recover(self) -> Iterator[tuple[int, int]]:
        for batch in batches_of(self.stored.data()):
            yield batch.header.base_offset, batch.header.partition_leader_epoch

    @property
    def end(self) -> int:
        return self.core.log_end_offset

    def contents(self) -> object:
        return self.stored.data()

    def values(self, start: int, end: int) -> Iterator[tuple[int, Any]]:
        for batch in batches_of(self._read(start, end, READ_BYTES_MAX)):
            yield batch.header.base_offset, bytes(batch.data)

    def _read(self, start: int, end: int, max_bytes: int) -> bytes:
        error_code, segment, position, size, _ = self.core.read_region(start, max_bytes, end)
        assert error_code == 0, error_code
        return segment.read_at(position, size) if segment is not None else b""

    def fetched(self, offset: int) -> tuple[Any, ...]:
        data = self._read(offset, self.end, FETCH_BYTES_MAX)
        return (data,) if data else ()

    def append_fetched(self, base_offset: int, records: list[Any], now_ms: int) -> int:
        for data in records:
            status, error_code, _, _, _ = self.core.append_fetched(data, now_ms)
            if status == STATUS_NEEDS_ROLL:
                return status
            if status != STATUS_APPENDED:
                return -error_code
        return 0

    def sync(self) -> None:
        self.stored.synced = self.stored.size

    def wish_roll(self) -> None:
        """The next append needs a new segment first."""
        if not self.core.rolling and not self.core.offline_error:
            self.core.begin_roll()

    async def roll(self, *, force: bool = False) -> None:
        await asyncio.sleep(self._rng.random() * 0.01)
        if self.core.rolling:
            self.core.end_roll()

    def close(self) -> None:
        """The process has ended: nothing of it writes any more."""
        self.core.retire()

    def _cut(self, offset: int) -> None:
        segment = self.core.active_segment
        assert segment is not None
        found = segment.find(offset) if offset < self.end else None
        if found is not None:
            self.stored.cut(found[0])
        self.epochs.truncate_from_end(offset)
        self._moved()

    def _moved(self) -> None:
        """Segment and producer state as they follow from what is stored."""
        producers = ProducerStates()
        data = self.stored.data()
        end = 0
        for batch in batches_of(data):
            producers.replay(batch.data)
            end = batch.header.last_offset + 1
        self.core.install(
            [_segment(os.dup(self.stored.fd), len(data), end)],
            log_start_offset=0,
            log_end_offset=end,
            recovery_point=end,
            leader_epoch=self.epochs.latest_epoch,
            producers=producers,
        )

    # -- owner of LogCore -------------------------------------------------------------------------

    def on_epoch(self, epoch: int, start_offset: int) -> None:
        self.epochs.assign(epoch, start_offset)

    def on_disk_error(self, error: OSError) -> None:
        raise error  # no disk fails here

    def on_aborted_transaction(self, producer_id: int, first_offset: int, marker: int) -> None:
        return  # its index is a file of readers, which read the batches themselves here


@functools.cache
def _index_fd() -> int:
    """A file for all indexes: nothing is ever written to one, as segments are short."""
    fd = os.memfd_create("index")
    os.ftruncate(fd, 4096)
    return fd


def _segment(fd: int, size: int, next_offset: int) -> Segment:
    path = f"/proc/self/fd/{_index_fd()}"
    offsets, times = OffsetIndex(path, 0), TimeIndex(path, 0)
    offsets.attach(_index_fd(), 4096, 0)
    times.attach(_index_fd(), 4096, 0)
    return Segment(
        "log", 0, fd, offsets, times,
        size=size,
        next_offset=next_offset,
        created_ms=0,
        index_interval_bytes=NO_INDEX_ENTRIES_BYTES,
    )  # fmt: skip

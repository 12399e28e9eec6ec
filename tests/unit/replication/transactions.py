"""A partition with a real log, and transactional batches for it."""

from __future__ import annotations

from pathlib import Path

from tests.unit.native.lane_harness import NOW_MS, Owner, topic_id_of
from tidelog._native.partition import Partition, Progress
from tidelog.errors import KafkaError
from tidelog.record.builder import NewRecord, Producer, build_batch


class Led:
    """One partition that this node leads; the part of the replica manager that markers need."""

    def __init__(self, directory: Path, index: int = 0, *, segment_bytes: int = 1 << 20) -> None:
        self.owner = Owner(directory, segment_bytes)
        self.core = self.owner.core
        self.partition = Partition(b"t", topic_id_of("t"), index, Progress())
        self.partition.set_leadership(1, 0, 0, (1,), (1,))

    async def lead(self) -> Led:
        await self.owner.roll()
        self.partition.open_as_leader(self.core)
        return self

    async def roll(self, partition: Partition) -> None:
        assert partition is self.partition
        await self.owner.roll()

    async def wait_committed(self, partition: Partition, last_offset: int) -> None:
        if partition.error_code:
            raise KafkaError(partition.error_code)
        assert partition.is_acknowledged(last_offset)

    async def write(self, producer_id: int, epoch: int, sequence: int) -> int:
        """A transactional batch of the producer, as a client's. Its offset, or a negative code."""
        data = build_batch(
            [NewRecord(NOW_MS, None, b"x" * 40)],
            producer=Producer(producer_id, epoch, sequence),
            is_transactional=True,
        )
        while True:
            status, code, base, *_ = self.core.produce(data, 0, 12, NOW_MS)
            if status != 3:
                break
            await self.owner.roll()
        self.partition.update_progress()
        return -code if code else base

    async def begin(self, producer_id: int, epoch: int, sequence: int = 0) -> int:
        """The same when the coordinator knows of the transaction."""
        expected = self.core.producers.expect(producer_id, epoch, sequence)
        assert expected is not None
        assert self.core.producers.verified(producer_id, expected)
        return await self.write(producer_id, epoch, sequence)

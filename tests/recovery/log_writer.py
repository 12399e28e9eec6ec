"""A process that appends to logs and says on its standard output what it was answered, until it is
killed. Used by test_killed_writer.

    python log_writer.py DIRECTORY LOGS FIRST_SEQUENCE

Each line `index base_offset sequence` is written after the append was answered; with
flush.messages=1 (odd indexes) after the flush that covers it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog.clock import SystemClock
from tidelog.config import BrokerConfig, TopicConfig
from tidelog.record.builder import NewRecord, Producer, build_batch
from tidelog.storage.log import PartitionLog
from tidelog.storage.manager import KnownLog, LogManager

ID = bytes(range(16))


def config_of(index: int) -> TopicConfig:
    return TopicConfig.resolve(
        {
            "internal.segment.bytes": "20000",
            "index.interval.bytes": "1000",
            "segment.index.bytes": "4096",
            "flush.messages": "1" if index % 2 else str(2**63 - 1),
            "file.delete.delay.ms": "1",
            "retention.bytes": "100000" if index % 3 == 2 else "-1",
        }
    )


def value_of(index: int, sequence: int) -> bytes:
    return b"%d:%d:" % (index, sequence) + b"v" * (sequence % 300)


async def write(log: PartitionLog, sequence: int) -> None:
    clock = SystemClock()
    # So that each life continues where the answers of the last one ended.
    producer_id = 1000 + sequence
    first = sequence
    while True:
        record = NewRecord(clock.wall_ms(), b"k", value_of(log.index, sequence))
        batch = build_batch([record], producer=Producer(producer_id, 0, sequence - first))
        status, code, base, *_ = log.core.produce(batch, 0, 9, clock.wall_ms())
        if status == STATUS_NEEDS_ROLL:
            await log.roll()
            continue
        if code:
            raise RuntimeError(f"error {code}")
        if log.config.flush_messages == 1:
            await log.flush()
        os.write(1, b"%d %d %d\n" % (log.index, base, sequence))
        sequence += 1
        await asyncio.sleep(0)


async def main(directory: str, logs: int, sequence: int) -> None:
    executor = ThreadPoolExecutor(3)
    manager = LogManager(directory, 1, BrokerConfig.resolve(), SystemClock(), executor)
    await manager.start([KnownLog("t", ID, i, config_of(i)) for i in range(logs)])
    opened = [await manager.create("t", ID, i, config_of(i)) for i in range(logs)]

    async def retention() -> None:
        while True:
            await manager.apply_retention()
            await manager.checkpoint()
            await asyncio.sleep(0.005)

    await asyncio.gather(retention(), *(write(log, sequence) for log in opened))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

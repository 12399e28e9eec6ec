"""The slow way of a produced batch: rebuilt on a helper thread, then appended on the loop.

Also what a refusal says of single records. The slow way is
for batches that the log answers NEEDS_RECOMPRESS for: `compression.type` asks for another codec, or
the records of a compressed batch must be seen. Belongs to the worker's loop task; the producer's
connection waits meanwhile, others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tidelog._native.log import STATUS_APPENDED, STATUS_DUPLICATE, STATUS_NEEDS_ROLL
from tidelog._native.partition import Partition
from tidelog.clock import Clock
from tidelog.errors import InvariantError, KafkaError
from tidelog.record.reasons import RecordError
from tidelog.record.recompress import Limits, explain, recompress
from tidelog.storage.log_config import core_settings

if TYPE_CHECKING:
    from tidelog.storage.log import PartitionLog

NO_TIMESTAMP: Final = -1


class AppendAnswer(NamedTuple):
    """What the answer says of the batch. Offsets are -1 unless error_code is 0."""

    error_code: int
    base_offset: int
    last_offset: int
    log_append_time: int
    log_start_offset: int


class SlowAppend:
    """Rebuilds on `executor`, and appends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, executor: Executor, clock: Clock) -> None:
        self._loop = loop
        self._executor = executor
        self._clock = clock
        #: One batch at a time, in the order in which they came: each may need much memory.
        self._turn = asyncio.Lock()

    async def append(
        self, partition: Partition, records: Callable[[], bytes], api_version: int
    ) -> AppendAnswer:
        """Append the batch in the topic's codec. `records` gives it when its turn has come.

        Raises InvalidBatchError (a KafkaError) when its records are refused, StorageError or
        OSError when the disk fails.
        """
        async with self._turn:
            return await self._append(partition, records(), api_version)

    async def _append(self, partition: Partition, data: bytes, api_version: int) -> AppendAnswer:
        now_ms = self._clock.wall_ms()
        config = self._held(partition).config
        work = partial(
            recompress,
            data,
            now_ms=now_ms,
            limits=_limits(core_settings(config)),
            level=config.compression_level,
            place=_place(partition),
        )
        batch = await self._loop.run_in_executor(self._executor, work)
        while True:
            if partition.error_code:
                raise KafkaError(partition.error_code)
            held = self._held(partition)
            status, error_code, base_offset, last_offset = partition.append_built(batch, now_ms)
            if status != STATUS_NEEDS_ROLL:
                break
            # (Who is cancelled while it waits must not leave half a roll.)
            await asyncio.shield(held.roll())
        if status not in (STATUS_APPENDED, STATUS_DUPLICATE):
            base_offset = last_offset = -1
        return AppendAnswer(
            error_code,
            base_offset,
            last_offset,
            now_ms if config.log_append_time and not error_code else NO_TIMESTAMP,
            held.core.log_start_offset,
        )

    def explain(self, partition: Partition, records: bytes, now_ms: int) -> tuple[RecordError, ...]:
        """What is wrong with single records of a batch that the partition's log refused."""
        config = self._held(partition).config
        limits = _limits(core_settings(config))
        return explain(records, now_ms=now_ms, limits=limits, place=_place(partition))

    @staticmethod
    def _held(partition: Partition) -> PartitionLog:
        if partition.log is None:
            raise KafkaError(partition.error_code)
        owner = partition.log.owner
        if owner is None:
            raise InvariantError(f"{partition!r} is served without a log")
        return owner  # type: ignore[return-value]


def _place(partition: Partition) -> str:
    return f"{partition.topic.decode()}-{partition.index}"


def _limits(settings: dict[str, Any]) -> Limits:
    """The native check's limits out of the log's settings."""
    return (
        settings["max_message_bytes"],
        settings["timestamp_before_max_ms"],
        settings["timestamp_after_max_ms"],
        settings["log_append_time"],
        settings["compacted"],
        settings["target_codec"],
    )

"""Drives a PartitionLog for tests: a folder, a loop, helper threads and a clock moved by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.oracle.storage.log_twin import TwinBatch
from tidelog._native.batch import parse
from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.record.builder import NewRecord, Producer, build_batch
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.loader import LoadReport, LoadRequest, load_log
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_config import LogServices, segment_settings

T = TypeVar("T")
NO_PRODUCER = Producer()
PRODUCE_VERSION = 9


def make_batch(
    timestamps: list[int],
    value_size: int = 20,
    codec: int = 0,
    leader_epoch: int = 0,
    producer: Producer = NO_PRODUCER,
) -> TwinBatch:
    """A batch with one record for each timestamp, as a client sends it."""
    records = [NewRecord(at, b"k%d" % i, b"v" * value_size) for i, at in enumerate(timestamps)]
    data = bytes(build_batch(records, codec=codec, producer=producer))
    header = parse(data)
    assert header is not None
    return TwinBatch(
        0,
        len(timestamps) - 1,
        data,
        header.max_timestamp,
        leader_epoch,
        tuple((at, i) for i, at in enumerate(timestamps)),
        tuple(producer),
    )


class LogDriver:
    """One log in `directory`. Close it."""

    def __init__(
        self,
        directory: str,
        overrides: Mapping[str, str] | None = None,
        files: Files = SYSTEM_FILES,
    ) -> None:
        self.directory = directory
        self.files = files
        self.config = TopicConfig.resolve(overrides or {})
        self.clock = ManualClock(1_000_000)
        self.loop = asyncio.new_event_loop()
        self.executor = ThreadPoolExecutor(2)
        self.log: PartitionLog | None = None
        self.report: LoadReport | None = None

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """A plain function, called on the loop as everything of a log is."""

        async def call() -> T:
            return function(*args)

        return self.run(call())

    def open(
        self, *, clean: bool = False, recovery_point: int = 0, log_start_offset: int = 0
    ) -> PartitionLog:
        request = LoadRequest(
            self.directory,
            segment_settings(self.config),
            self.clock.wall_ms(),
            log_start_offset=log_start_offset,
            recovery_point=recovery_point,
            clean=clean,
            verify_transactions=False,
        )
        loaded = load_log(self.files, request)
        self.report = loaded.report

        async def make() -> PartitionLog:
            services = LogServices(
                self.files, self.executor, self.clock, random.Random(1), verify_transactions=False
            )
            return PartitionLog(
                "topic", bytes(16), 0, self.directory, self.config, loaded, services
            )

        self.log = self.run(make())
        return self.log

    def produce(
        self, data: bytes, leader_epoch: int = 0
    ) -> tuple[int, int, int, int, int, int, int]:
        """The answer of the core, after the rolls that it wanted."""
        assert self.log is not None
        for _ in range(3):
            answer = self.call(
                self.log.core.produce,
                bytearray(data),
                leader_epoch,
                PRODUCE_VERSION,
                self.clock.wall_ms(),
            )
            if answer[0] != STATUS_NEEDS_ROLL:
                return answer
            self.run(self.log.roll())
        raise AssertionError("the log wants to roll again and again")

    def close(self, clean: bool = True) -> None:
        """Ends the log; without `clean` as a killed process would, but for open descriptors."""
        if self.log is not None:
            self.run(self.log.close(clean))
            self.log = None

    def shut(self) -> None:
        self.close(clean=False)
        self.executor.shutdown()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

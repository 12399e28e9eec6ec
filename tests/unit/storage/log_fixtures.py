"""A log on the test's own loop, with file operations that can be held, counted or failed."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.storage.files import Files
from tidelog.storage.loader import LoadRequest, load_log
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_config import LogServices, segment_settings

T = TypeVar("T")

VERSION = 9


HOUR_MS = 3_600_000


@dataclass
class ManagerSettings:
    """What a log manager asks of a broker's configs; nothing periodic happens within a test."""

    num_recovery_threads_per_data_dir: int = 1
    log_retention_check_interval_ms: int = HOUR_MS
    log_flush_offset_checkpoint_interval_ms: int = HOUR_MS
    log_flush_start_offset_checkpoint_interval_ms: int = HOUR_MS
    producer_id_expiration_ms: int = HOUR_MS
    producer_id_expiration_check_interval_ms: int = HOUR_MS
    replica_high_watermark_checkpoint_interval_ms: int = HOUR_MS
    log_cleaner_enable: bool = True
    log_cleaner_threads: int = 1
    log_cleaner_backoff_ms: int = HOUR_MS
    log_cleaner_dedupe_buffer_size: int = 1 << 20
    log_cleaner_io_buffer_size: int = 1 << 19
    log_cleaner_io_buffer_load_factor: float = 0.9
    log_cleaner_io_max_bytes_per_second: float = 1e308


class InlineExecutor(Executor):
    """Helper threads without threads: the work is done when it is submitted, the same each time."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class FaultyFiles(Files):
    """Real files. `errors`: by operation, what to raise; `held`: operations that wait for
    `let_go`."""

    def __init__(self) -> None:
        self.errors: dict[str, OSError] = {}
        self.held: set[str] = set()
        self.let_go = threading.Semaphore(0)
        self.calls: list[str] = []

    def _enter(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.held and not self.let_go.acquire(timeout=20):
            raise AssertionError(f"nobody let {operation} go")
        if operation in self.errors:
            raise self.errors[operation]

    def create(self, path: str) -> int:
        self._enter("create")
        return super().create(path)

    def sync_data(self, fd: int) -> None:
        self._enter("sync_data")
        super().sync_data(fd)

    def sync_directory(self, path: str) -> None:
        self._enter("sync_directory")
        super().sync_directory(path)

    def rename(self, old: str, new: str) -> None:
        self._enter("rename")
        super().rename(old, new)


class LogHarness:
    """Opens logs in a folder; `checkpoints` counts the checkpoints that a log asked for."""

    def __init__(self, directory: str, **overrides: str) -> None:
        self.directory = directory
        self.files = FaultyFiles()
        self.executor = ThreadPoolExecutor(3)
        self.clock = ManualClock()
        self.checkpoints = 0
        self.config = self.configure(overrides)
        self.logs: list[PartitionLog] = []

    @staticmethod
    def configure(overrides: Mapping[str, str]) -> TopicConfig:
        names = {name.replace("_", "."): value for name, value in overrides.items()}
        return TopicConfig.resolve({"message.timestamp.after.max.ms": str(2**62)} | names)

    async def _checkpoint(self) -> None:
        self.checkpoints += 1

    def open(self, **request: bool | int) -> PartitionLog:
        loaded = load_log(
            self.files,
            LoadRequest(
                self.directory, segment_settings(self.config), self.clock.wall_ms(), **request
            ),
        )
        services = LogServices(
            self.files, self.executor, self.clock, random.Random(7), checkpoint=self._checkpoint
        )
        log = PartitionLog("topic", bytes(16), 3, self.directory, self.config, loaded, services)
        self.logs.append(log)
        return log

    async def produce(self, log: PartitionLog, data: bytes | bytearray, epoch: int = 0) -> int:
        """Returns the base offset."""
        while True:
            status, code, base, *_ = log.core.produce(
                bytearray(data), epoch, VERSION, self.clock.wall_ms()
            )
            if status != STATUS_NEEDS_ROLL:
                assert code == 0, code
                return base
            await log.roll()

    async def close(self) -> None:
        self.files.held.clear()
        self.files.errors.clear()
        self.files.let_go.release(100)
        for log in self.logs:
            await log.close(clean=False)
        self.executor.shutdown()


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: object) -> None:
    """Waits, within the test's timeout, until condition() holds."""
    assert callable(condition)
    while not condition():
        await asyncio.sleep(0.001)

"""A node's log directory with two logs, kept in memory and laid out anew for each input.

`t-0` is the victim: one of its files, or one of the directory's, is replaced by the input. `t-1` is
the bystander, whose records have to be there whatever that file holds. Owned by one fuzz target;
files lie in shared memory where there is some.
"""

from __future__ import annotations

import functools
import shutil
import struct
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from tests.fuzz.lanes.lane_model import MEMORY, TimelessLoop
from tests.oracle.storage.log_driver import make_batch
from tests.unit.storage.log_fixtures import InlineExecutor, ManagerSettings
from tidelog._native.crc32c import crc32c
from tidelog._native.log import STATUS_APPENDED, STATUS_NEEDS_ROLL
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.record.builder import Producer
from tidelog.record.view import iterate_batches
from tidelog.storage import manager
from tidelog.storage.log import PartitionLog
from tidelog.storage.manager import KnownLog, LogManager, StartReport
from tidelog.storage.written_positions import WRITTEN_FILE

T = TypeVar("T")

NODE_ID, CLUSTER_ID = 1, "fuzzfuzzfuzzfuzzfuzzfu"
TOPIC, TOPIC_ID = "t", bytes(range(16))
VICTIM, BYSTANDER = 0, 1
NOW_MS = 1_700_000_000_000
BATCHES = 14
CONFIG = TopicConfig.resolve(
    {
        "internal.segment.bytes": "700",
        "index.interval.bytes": "100",
        "segment.index.bytes": "480",
        "message.timestamp.after.max.ms": str(2**62),
        "retention.ms": "-1",
    }
)


#: (base offset, bytes) of every batch that is read from a log's start to its end.
Content = list[tuple[int, bytes]]


class Opened:
    """A log manager over a folder, on a loop of its own; `failure` is why it did not start."""

    def __init__(self, folder: Path) -> None:
        self.loop = TimelessLoop()
        self.clock = ManualClock(NOW_MS)
        self.failures: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.manager = LogManager(
            str(folder),
            NODE_ID,
            ManagerSettings(),
            self.clock,
            InlineExecutor(),
            cluster_id=CLUSTER_ID,
        )

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """A plain function, called on the loop as everything of a log is."""

        async def call() -> T:
            return function(*args)

        return self.run(call())

    def start(self) -> StartReport:
        """Raises StorageError, OSError."""
        known = [KnownLog(TOPIC, TOPIC_ID, index, CONFIG) for index in (VICTIM, BYSTANDER)]
        return self.run(self.manager.start(known))

    def log(self, index: int) -> PartitionLog | None:
        return self.manager.get(TOPIC, index)

    def append(self, log: PartitionLog, data: bytes, leader_epoch: int = 9) -> int:
        """Appends the batch; returns its base offset."""

        async def append() -> int:
            for _ in range(3):
                answer = log.core.produce(bytearray(data), leader_epoch, 9, NOW_MS)
                if answer[0] == STATUS_NEEDS_ROLL:
                    await log.roll()
                    continue
                assert answer[0] == STATUS_APPENDED, answer
                return answer[2]
            raise AssertionError("the log wants to roll again and again")

        return self.run(append())

    def close(self, clean: bool) -> None:
        with mock.patch.object(manager.logger, "error", _fail):  # what close() does not raise
            self.run(self.manager.close(clean))
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()
        assert self.failures == []


def _fail(text: str, *arguments: object) -> None:
    raise AssertionError(text % arguments)


def batch_bytes(number: int, producer: Producer | None = None) -> bytes:
    """A small batch, each one different."""
    at = [NOW_MS + number] * (1 + number % 3)
    codec = (0, 0, 4)[number % 3]
    if producer is None:
        return make_batch(at, 10 + number, codec).data
    return make_batch(at, 10 + number, codec, producer=producer).data


@functools.cache
def template(clean: bool) -> dict[str, bytes]:
    """The files of a directory that was closed in order, or whose process was killed."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        opened = Opened(folder)
        opened.run(opened.manager.start())
        for index in (VICTIM, BYSTANDER):
            log = opened.run(opened.manager.create(TOPIC, TOPIC_ID, index, CONFIG))
            opened.call(log.assign_epoch, 0)
            for number in range(BATCHES):
                producer = Producer(7, 0, sum(1 + n % 3 for n in range(1, number, 4)))
                mine = number % 4 == 1
                if number == BATCHES // 2:
                    opened.call(log.assign_epoch, 1)
                    opened.run(log.flush())
                opened.append(log, batch_bytes(number, producer if mine else None), 1)
        opened.run(opened.manager.checkpoint())
        opened.close(clean)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in (WRITTEN_FILE, ".lock")
        }
    finally:
        shutil.rmtree(folder)


def original(index: int, clean: bool) -> Content:
    """What the log of the template holds, out of its files."""
    files = template(clean)
    names = sorted(name for name in files if name.startswith(f"t-{index}/") and name[-4:] == ".log")
    data = b"".join(files[name] for name in names)
    return [(view.header.base_offset, bytes(view.data)) for view in iterate_batches(data)]


def lay_out(folder: Path, clean: bool) -> None:
    """Writes the template's files."""
    for name, data in template(clean).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def sealed_batches(data: bytes) -> bytes:
    """The bytes of a .log with right checksums, as far as its batches' sizes lead."""
    out = bytearray(data)
    position = 0
    while position + 61 <= len(out):
        size = 12 + struct.unpack_from(">i", out, position + 8)[0]
        if not 61 <= size <= len(out) - position:
            break
        checksum = crc32c(bytes(out[position + 21 : position + size]))
        struct.pack_into(">I", out, position + 17, checksum)
        position += size
    return bytes(out)

"""Apache's kafka-dump-log accepts what recovery, truncation and retention leave in a log's folder,
and its index checks find the same entries as Kafka's own code would look for."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from tests.compat.test_dump_log import COMPLAINT, FIRST_RECORD, files
from tests.compat.tools import ToolServer
from tests.oracle.storage.log_driver import LogDriver, make_batch
from tidelog.record.builder import Producer

pytestmark = [pytest.mark.usefixtures("java"), pytest.mark.timeout(300)]
CONFIG = {
    "internal.segment.bytes": "30000",
    "index.interval.bytes": "500",
    "segment.index.bytes": "4096",
    "segment.ms": "100000",
    "message.timestamp.after.max.ms": str(2**62),
    "file.delete.delay.ms": "0",
}


class Workload:
    """A log under appends that is cut, crashed and opened again, from a seed."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.driver = LogDriver(str(directory), CONFIG)
        self.driver.open()
        self.epoch = 0
        self.sequence = 0
        self.producer = 100

    def append(self, count: int) -> None:
        for _ in range(count):
            now = self.driver.clock.wall_ms()
            times = [now + self.random.randrange(-500, 500) for _ in range(5)]
            producer = Producer(self.producer, 0, self.sequence)
            size, codec = self.random.randrange(300), self.random.choice([0, 0, 1, 2, 3, 4])
            batch = make_batch(times, size, codec, producer=producer)
            assert self.driver.produce(batch.data, self.epoch)[0] == 0
            self.sequence += 5
            self.driver.clock.advance(self.random.randrange(200))

    def crash(self) -> None:
        """Some of the end is lost, some garbage is left."""
        log = self.driver.log
        assert log is not None
        self.driver.run(log.flush())
        point = log.core.recovery_point
        self.append(20)
        active = log.core.active_segment
        assert active is not None
        path, size = active.log_path, active.size
        self.driver.close(clean=False)
        if self.random.random() < 0.5:
            os.truncate(path, max(size - self.random.randrange(400), 0))
        else:
            with open(path, "ab") as file:
                file.write(self.random.randbytes(self.random.randrange(1, 200)))
        self.driver.open(recovery_point=min(point, size))
        self._new_producer()

    def lose_indexes(self) -> None:
        self.driver.close()
        for path in Path(self.driver.directory).iterdir():
            if path.suffix in (".index", ".timeindex") and self.random.random() < 0.5:
                path.unlink()
        self.driver.open(clean=True)

    def truncate(self) -> None:
        log = self.driver.log
        assert log is not None
        base = log.core.log_start_offset
        target = base + (log.core.log_end_offset - base) * 4 // 5
        batch_start = log.core.read_region(target, 1, log.core.log_end_offset)[4]
        self.driver.run(log.truncate_to(max(batch_start, base)))
        self._new_producer()

    def remove(self) -> None:
        log = self.driver.log
        assert log is not None
        core = log.core
        offset = core.log_start_offset + (core.log_end_offset - core.log_start_offset) // 5
        self.driver.run(log.delete_records(offset))
        self.driver.run(log.apply_retention(self.driver.clock.wall_ms()))

    def _new_producer(self) -> None:
        """The old one's last batches may be gone."""
        self.producer += 1
        self.sequence = 0
        self.epoch += 1


@pytest.mark.parametrize("seed", range(8))
def test_dump_log_accepts_what_is_left(tools: ToolServer, tmp_path: Path, seed: int) -> None:
    work = Workload(tmp_path, seed)
    work.append(200)
    for _ in range(8):
        work.random.choice([work.crash, work.lose_indexes, work.truncate, work.remove])()
        work.append(60)
    work.driver.close()
    work.driver.shut()
    found = {suffix: files(tmp_path, suffix) for suffix in (".log", ".index", ".timeindex")}
    assert len(found[".log"]) > 2
    snapshots = files(tmp_path, ".snapshot")
    every = [str(path) for paths in (*found.values(), snapshots) for path in paths]
    deep = tools.run("kafka-dump-log", "--deep-iteration", "--files", ",".join(every)).ok()
    sane = tools.run(
        "kafka-dump-log", "--index-sanity-check", "--files",
        ",".join(str(path) for suffix in (".index", ".timeindex") for path in found[suffix]),
    ).ok()  # fmt: skip
    for text in (deep.out, deep.err, sane.out, sane.err):
        complaint = COMPLAINT.search(FIRST_RECORD.sub("", text))
        assert complaint is None, text[max(0, complaint.start() - 400) : complaint.end() + 200]
    entries = sum(path.stat().st_size // 8 for path in found[".index"])
    assert entries > 20
    assert len(re.findall(r"^offset: \d+ position: \d+", deep.out, re.MULTILINE)) == entries
    filled = [p for suffix in (".index", ".timeindex") for p in found[suffix] if p.stat().st_size]
    assert sane.out.count("passed sanity check") == len(filled)

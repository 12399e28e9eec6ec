"""Kills the node again and again while it compacts a large log, and checks what is left of it.

    python -m tests.recovery.cleaning [--bytes 5G] [--kills 20] [--seed N] [--data-parent DIR]

A topic with cleanup.policy=compact is filled with keyed records, every key many times and some of
them deleted in the end. The cleaner is slowed down, so that each kill (SIGKILL to the worker) meets
it at work, at a random time after its files appeared; between kills more records are written. In
the end the cleaner runs at full speed until nothing is dirty. What must hold:

- of every key the last acknowledged value is read, at its offset, and below the cleaned offset at
  most one record;
- what was deleted does not come back;
- `tidelog scrub` finds nothing, and no file of an unfinished compaction is left.

Signals only processes of the broker that it started. Owned by test_cleaning_kills.py and by hand.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin

from tests.clients.python_clients import TIMEOUT_S
from tests.clients.test_restarts import wait_for, workers
from tests.house.broker import ServedBroker
from tidelog.storage.checkpoints import CLEANER_CHECKPOINT, read_offsets
from tidelog.storage.segment_files import LOG_SUFFIX, parse_name

TOPIC = "compacted"
VALUE_BYTES = 1000
DELETED_SHARE = 0.05
#: Of the keys that there are, how often each is written on average.
WRITES_PER_KEY = 8
FILLER = random.Random(0).randbytes(2 * VALUE_BYTES)
UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}


def size_of(text: str) -> int:
    """5G, 200M, 1000."""
    unit = UNITS.get(text[-1:].upper(), 1)
    return int(float(text[:-1] if unit > 1 else text) * unit)


@dataclass
class Findings:
    """What a run saw."""

    records: int = 0
    keys: int = 0
    bytes_written: int = 0
    bytes_left: int = 0
    kills: int = 0
    kills_at_work: int = 0  # there were files of a compaction when the worker ended
    fill_s: float = 0.0
    final_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.records} records of {self.keys} keys, {self.bytes_written / 1e6:.0f} MB"
                f" written in {self.fill_s:.0f} s, {self.bytes_left / 1e6:.0f} MB left;"
                f" {self.kills} kills, {self.kills_at_work} of them during a compaction;"
                f" the last one {self.final_s:.1f} s; {len(self.problems)} problems",
                *self.problems[:20],
            ]
        )


def value_of(number: int) -> bytes:
    """Different for every write, and known from its number."""
    head = b"%d:" % number
    start = number % 400
    return head + FILLER[start : start + VALUE_BYTES - len(head)]


class Model:
    """(offset, number of the write or None for a deletion) of each key's last record."""

    def __init__(self) -> None:
        self.last: dict[bytes, tuple[int, int | None]] = {}


class Writer:
    """Writes to the one partition; `model` follows the acknowledgements."""

    def __init__(self, bootstrap: str, keys: int, seed: int, findings: Findings) -> None:
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 20,
                "batch.size": 500_000,
                "queue.buffering.max.kbytes": 100_000,
                "compression.type": "none",
                "message.timeout.ms": 120_000,
                "reconnect.backoff.max.ms": 200,
                "retry.backoff.max.ms": 200,
            }
        )
        self._rng = random.Random(seed)
        self._keys = keys
        self._findings = findings
        self._number = 0
        self.model = Model()

    def write(self, count: int, *, deleted_share: float) -> None:
        """Returns when all of it is acknowledged."""
        rng = self._rng
        for _ in range(count):
            key = b"key-%d" % rng.randrange(self._keys)
            self._number += 1
            number = None if rng.random() < deleted_share else self._number
            value = None if number is None else value_of(number)
            while True:
                try:
                    self._producer.produce(
                        TOPIC, value, key, partition=0, on_delivery=self._acknowledged(number)
                    )
                    break
                except BufferError:
                    self._producer.poll(0.05)
            self._findings.bytes_written += len(key) + (len(value) if value else 0)
            self._producer.poll(0)
        if left := self._producer.flush(TIMEOUT_S * 4):
            self._findings.problems.append(f"{left} records without an answer")
        self._findings.records += count

    def _acknowledged(self, number: int | None):  # type: ignore[no-untyped-def]
        def note(error: object, message: confluent_kafka.Message) -> None:
            key, offset = message.key(), message.offset()
            if error is not None or offset is None or not isinstance(key, bytes):
                self._findings.problems.append(f"not acknowledged: {error}")
                return
            before = self.model.last.get(key)
            if before is None or before[0] < offset:
                self.model.last[key] = (offset, number)

        return note


def unfinished(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith((".cleaned", ".swap"))]
    except FileNotFoundError:
        return []


def active_base(folder: Path) -> int:
    parsed = [parse_name(name) for name in os.listdir(folder)]
    return max(found[0] for found in parsed if found and found[1] == LOG_SUFFIX)


def kill_at_work(broker: ServedBroker, folder: Path, rng: random.Random, most_s: float) -> bool:
    """Waits for a compaction's files and some time more, then SIGKILL. Whether it was at work."""
    wait_for(lambda: unfinished(folder), "a compaction begins")
    time.sleep(rng.random() * most_s)
    pid = workers(broker)[1]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{pid}/fd").exists(), "the worker has ended")
    at_work = bool(unfinished(folder))
    wait_for(lambda: workers(broker).get(1, pid) != pid, "the worker is back")
    return at_work


def create_topic(bootstrap: str, segment_bytes: int) -> None:
    client = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
    config = {
        "cleanup.policy": "compact",
        "segment.bytes": str(segment_bytes),
        "min.cleanable.dirty.ratio": "0",
        "delete.retention.ms": "0",
        "file.delete.delay.ms": "0",
    }
    new = confluent_kafka.admin.NewTopic(TOPIC, 1, 1, config=config)
    client.create_topics([new])[TOPIC].result(TIMEOUT_S)


def check_content(bootstrap: str, cleaned: int, model: Model, findings: Findings) -> None:
    """Reads everything and compares."""
    reader = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "check",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 4_000_000,
        }
    )
    partition = confluent_kafka.TopicPartition(TOPIC, 0, 0)
    _, end = reader.get_watermark_offsets(partition, TIMEOUT_S)
    reader.assign([partition])
    problems = findings.problems
    seen: dict[bytes, int] = {}
    position, deadline = -1, time.monotonic() + 20 * TIMEOUT_S
    while position < end - 1 and time.monotonic() < deadline:
        for message in reader.consume(2000, 1.0):
            if message.error() is not None:
                problems.append(f"read error {message.error()}")
                continue
            offset, key, value = message.offset(), message.key(), message.value()
            assert offset is not None and isinstance(key, bytes)
            if offset <= position:
                problems.append(f"{offset} comes after {position}")
            position = offset
            known_offset, number = model.last.get(key, (-1, None))
            if offset == known_offset:
                expected = None if number is None else value_of(number)
                if value != expected:
                    problems.append(f"{key!r}@{offset} has another value than was written")
            elif offset < cleaned and (known_offset < cleaned or seen.get(key, -1) >= 0):
                problems.append(f"{key!r}@{offset} is left, its last one is at {known_offset}")
            seen[key] = offset
        if reader.position([partition])[0].offset >= end:
            break
    reader.close()
    for key, (offset, number) in model.last.items():
        if seen.get(key) != offset and (number is not None or offset >= cleaned):
            problems.append(f"{key!r}@{offset} is lost, {seen.get(key)} is left")
        elif number is None and key in seen and seen[key] < offset:
            problems.append(f"{key!r} came back at {seen[key]}, it was deleted at {offset}")


def run(
    data_dir: Path, size_bytes: int, kills: int, seed: int, segment_bytes: int = 64 * 1024 * 1024
) -> Findings:
    rng = random.Random(seed)
    findings = Findings()
    count = size_bytes // VALUE_BYTES
    findings.keys = max(count // WRITES_PER_KEY, 1)
    always = ["--workers", "1", "--set", "log.cleaner.backoff.ms=50"]
    always += ["--set", "log.retention.check.interval.ms=3600000", "--log-level", "info"]
    # About a second and a half of work between two kills.
    slow = max(size_bytes * 3 / (kills + 1) / 1.5, 1e6)
    limit = f"log.cleaner.io.max.bytes.per.second={slow:.0f}"
    broker = ServedBroker(data_dir, [*always, "--set", limit])
    broker.start()
    try:
        create_topic(broker.bootstrap_servers, segment_bytes)
        folder = data_dir / "node-1" / f"{TOPIC}-0"
        writer = Writer(broker.bootstrap_servers, findings.keys, seed, findings)
        began = time.monotonic()
        writer.write(count // 2, deleted_share=0.0)
        for _ in range(kills):
            findings.kills_at_work += kill_at_work(broker, folder, rng, most_s=1.0)
            findings.kills += 1
            writer.write(count // 2 // kills, deleted_share=DELETED_SHARE)
        findings.fill_s = time.monotonic() - began
        broker.stop()
        broker.arguments = always
        broker.start()
        began = time.monotonic()
        checkpoint = str(data_dir / "node-1" / CLEANER_CHECKPOINT)

        def all_clean() -> bool:
            return read_offsets(checkpoint).get((TOPIC, 0)) == active_base(folder)

        wait_for(all_clean, "everything is compacted")
        findings.final_s = time.monotonic() - began
        wait_for(lambda: not unfinished(folder), "no file of a compaction is left")
        cleaned = active_base(folder)
        check_content(broker.bootstrap_servers, cleaned, writer.model, findings)
        findings.bytes_left = sum(path.stat().st_size for path in folder.glob("*.log"))
    finally:
        broker.stop()
    tidelog = str(Path(sys.executable).with_name("tidelog"))
    scrub = subprocess.run([tidelog, "scrub", str(data_dir)], capture_output=True, text=True)
    if scrub.returncode:
        findings.problems.append(f"scrub: {scrub.stdout[-1000:]} {scrub.stderr[-1000:]}")
    return findings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bytes", type=size_of, default=size_of("5G"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data-parent", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidelog-cleaning-", dir=args.data_parent) as parent:
        findings = run(Path(parent) / "data", args.bytes, args.kills, args.seed)
    print(findings)
    raise SystemExit(1 if findings.problems else 0)


if __name__ == "__main__":
    main()

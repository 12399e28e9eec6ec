"""A well-behaved client beside thousands of hostile ones: it is served throughout.

    python -m tests.recovery.hostile [--scenario kinds|idle|deaf|holders|members] [--seconds 30]

A broker with its real processes; a client that writes with acks=all and reads every record back,
first alone, then while hostile_peers.py attacks. The scenarios, one after the other unless one is
named: 3,000 connections of every hostile kind, 5,000 that are idle, 500 that ask for large answers
and never read, 500 that stop in the middle of a large request, 60 that join groups with very large
metadata. What must hold in each:

- every record is acknowledged and read at its offset;
- no worker is started again;
- the resident memory of all processes grows by less than MEMORY_GROWTH_MB;
- when the peers are gone, the broker has no more open descriptors than before;
- the log says what was refused, in no more lines than it may.

Signals only processes that it started. Owned by test_hostile.py and by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final

import confluent_kafka
import confluent_kafka.admin

from tests.clients.python_clients import TIMEOUT_S
from tests.clients.test_restarts import children, wait_for, workers
from tests.house.broker import ServedBroker
from tests.recovery import hostile_peers
from tidelog.limits import CONNECTION_LOG_LINES_PER_SECOND

TOPIC: Final = "good"
PARTITIONS: Final = 6
#: The issue's limit.
MEMORY_GROWTH_MB: Final = 150
#: Of the topic that makes every Metadata answer large.
WIDE_PARTITIONS: Final = 1_000
#: Read before anything is measured.
WARM_UP_RECORDS: Final = 200
#: Seconds between two records of the client.
RECORD_EVERY_S: Final = 0.004
#: Records that may be on their way: when the broker is slow the client waits, it does not pile up.
OUTSTANDING_MAX: Final = 200


@dataclass(frozen=True)
class Scenario:
    """`kinds`: of hostile_peers, as it wants them; "" for all."""

    connections: int
    kinds: str = ""
    is_wide: bool = False


SCENARIOS: Final = {
    "kinds": Scenario(3_000),
    "idle": Scenario(5_000, "idle"),
    "deaf": Scenario(500, "deaf", is_wide=True),
    "holders": Scenario(500, "half_a_batch"),
    "members": Scenario(60, "large_members"),
}


@dataclass
class Latencies:
    """Of one phase: from the client's send to the acknowledgement, and to the reader, in ms."""

    acknowledged_ms: list[float] = field(default_factory=list)
    read_ms: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return ", ".join(
            f"{name} median {median(values):.1f} p99 {sorted(values)[len(values) * 99 // 100]:.1f}"
            f" max {max(values):.0f} ms"
            for name, values in (("ack", self.acknowledged_ms), ("read", self.read_ms))
            if values
        )


@dataclass
class Findings:
    """What a run saw."""

    quiet: Latencies = field(default_factory=Latencies)
    attacked: Latencies = field(default_factory=Latencies)
    acknowledged: int = 0
    read: int = 0
    memory_before_mb: float = 0.0
    memory_most_mb: float = 0.0
    memory_after_mb: float = 0.0
    descriptors_before: int = 0
    descriptors_most: int = 0
    descriptors_after: int = 0
    peers: dict[str, int] = field(default_factory=dict)
    log_lines: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        return self.memory_most_mb - self.memory_before_mb

    def __str__(self) -> str:
        lines = [
            f"{self.acknowledged} records acknowledged, {self.read} read, {len(self.problems)}"
            " problems",
            f"quiet:    {self.quiet}",
            f"attacked: {self.attacked}",
            f"resident memory: {self.memory_before_mb:.0f} MB before, {self.memory_most_mb:.0f} MB"
            f" at most (+{self.growth_mb:.0f}), {self.memory_after_mb:.0f} MB after",
            f"descriptors: {self.descriptors_before} before, {self.descriptors_most} at most,"
            f" {self.descriptors_after} after",
            "peers: " + ", ".join(f"{what} {n}" for what, n in self.peers.items()),
            f"log: {self.log_lines} lines, "
            + ", ".join(f"{reason!r} {n}" for reason, n in self.reasons.most_common()),
        ]
        return "\n".join(lines + self.problems[:20])


class Client:
    """Writes numbered records with acks=all and reads them back, until it is finished."""

    def __init__(self, bootstrap: str, findings: Findings) -> None:
        self._findings = findings
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": 60_000,
            }
        )
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "good",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
            }
        )
        places = [confluent_kafka.TopicPartition(TOPIC, i) for i in range(PARTITIONS)]
        self._next = [self._consumer.get_watermark_offsets(place)[1] for place in places]
        for place, offset in zip(places, self._next, strict=True):
            place.offset = offset
        self._consumer.assign(places)
        self.latencies = Latencies()
        self._lock = threading.Lock()
        self._sent: dict[int, float] = {}
        self._offsets: dict[tuple[int, int], bytes] = {}
        self._finish = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, name="writer"),
            threading.Thread(target=self._read, name="reader"),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Stop writing; returns when everything was acknowledged and read."""
        self._finish.set()
        for thread in self._threads:
            thread.join()
        self._consumer.close()

    def _write(self) -> None:
        number = 0
        due = time.monotonic()
        while not self._finish.is_set():
            if len(self._producer) < OUTSTANDING_MAX:
                value = b"%d" % number
                with self._lock:
                    self._sent[number] = time.monotonic()
                self._producer.produce(
                    TOPIC, value, partition=number % PARTITIONS, on_delivery=self._delivered
                )
                number += 1
            due = max(due + RECORD_EVERY_S, time.monotonic() - 1)
            while (left_s := due - time.monotonic()) > 0:
                self._producer.poll(left_s)
            self._producer.poll(0)
        if left := self._producer.flush(TIMEOUT_S):
            self._findings.problems.append(f"{left} records without an answer")

    def _delivered(self, error: object, message: confluent_kafka.Message) -> None:
        value = message.value()
        partition, offset = message.partition(), message.offset()
        assert isinstance(value, bytes) and partition is not None
        if error is not None or offset is None:
            self._findings.problems.append(f"{value!r} was not acknowledged: {error}")
            return
        with self._lock:
            took_s = time.monotonic() - self._sent[int(value)]
            self.latencies.acknowledged_ms.append(took_s * 1000)
            self._findings.acknowledged += 1
        self._note(partition, offset, value)

    def _note(self, partition: int, offset: int, value: bytes) -> None:
        with self._lock:
            before = self._offsets.setdefault((partition, offset), value)
        if before != value:
            self._findings.problems.append(f"{partition}@{offset}: {before!r}, then {value!r}")

    def _read(self) -> None:
        deadline = None
        while True:
            for message in self._consumer.consume(500, 0.05):
                if message.error() is None:
                    self._take(message)
            if self._threads[0].is_alive():
                continue
            deadline = deadline or time.monotonic() + TIMEOUT_S
            if self._findings.read >= self._findings.acknowledged:
                return
            if time.monotonic() > deadline:
                unread = self._findings.acknowledged - self._findings.read
                self._findings.problems.append(f"{unread} acknowledged records were not read")
                return

    def _take(self, message: confluent_kafka.Message) -> None:
        partition, offset, value = message.partition(), message.offset(), message.value()
        assert isinstance(value, bytes) and partition is not None and offset is not None
        if offset != self._next[partition]:
            problem = f"partition {partition}: offset {offset} came for {self._next[partition]}"
            self._findings.problems.append(problem)
        self._next[partition] = offset + 1
        self._findings.read += 1
        with self._lock:
            sent = self._sent[int(value)]
        self.latencies.read_ms.append((time.monotonic() - sent) * 1000)
        self._note(partition, offset, value)


class Watch(threading.Thread):
    """Samples memory and descriptors of the broker's processes."""

    def __init__(self, broker: ServedBroker, findings: Findings) -> None:
        super().__init__(name="watch")
        self._broker = broker
        self._findings = findings
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        while not self._stop_wanted.wait(0.1):
            found = self._findings
            found.memory_most_mb = max(found.memory_most_mb, resident_mb(self._broker))
            found.descriptors_most = max(found.descriptors_most, descriptors(self._broker))

    def stop(self) -> None:
        self._stop_wanted.set()
        self.join()


def resident_mb(broker: ServedBroker) -> float:
    """Of all processes of the broker."""
    total = 0
    for pid in [broker.pid, *children(broker.pid)]:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total / 1024


def descriptors(broker: ServedBroker) -> int:
    """Open ones of all processes of the broker."""
    return sum(
        len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in [broker.pid, *children(broker.pid)]
    )


def create_topics(bootstrap: str, is_wide: bool) -> None:
    """And a record in each partition that is used, so that every file is open."""
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
    new_topic = confluent_kafka.admin.NewTopic
    peers = hostile_peers
    new = [
        new_topic(TOPIC, PARTITIONS, 1),
        new_topic(peers.TOPIC, peers.PARTITIONS, 1),
        new_topic(
            peers.OPENED_TOPIC, peers.OPENED_PARTITIONS, 1, config={"compression.type": "gzip"}
        ),
    ]
    if is_wide:
        new.append(new_topic("wide", WIDE_PARTITIONS, 1))
    for created in admin.create_topics(new).values():
        created.result(TIMEOUT_S)
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for i in range(peers.PARTITIONS):
        for _ in range(20):
            producer.produce(peers.TOPIC, bytes(50_000), partition=i)
    for i in range(peers.OPENED_PARTITIONS):
        producer.produce(peers.OPENED_TOPIC, b"", partition=i)
    if producer.flush(TIMEOUT_S):
        raise TimeoutError("the topics cannot be written")


class Attackers:
    """The process of hostile_peers.py."""

    def __init__(self, bootstrap: str, scenario: Scenario, seed: int) -> None:
        command = [sys.executable, "-m", "tests.recovery.hostile_peers", bootstrap]
        command += ["--connections", str(scenario.connections), "--seed", str(seed)]
        command += ["--kinds", scenario.kinds]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("attacking"):
            raise ChildProcessError(f"the hostile peers did not connect: {line!r}")

    def stop(self) -> dict[str, int]:
        """What they saw, by kind."""
        seen, _ = self._process.communicate(timeout=TIMEOUT_S)
        counts: dict[str, int] = json.loads(seen)
        return counts

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def run(
    data_dir: Path, scenario: Scenario, *, seconds: float, worker_count: int, seed: int
) -> Findings:
    findings = Findings()
    broker = ServedBroker(data_dir, ["--workers", str(worker_count)])
    broker.start()
    try:
        create_topics(broker.bootstrap_servers, scenario.is_wide)
        warm_up = Findings()
        client = Client(broker.bootstrap_servers, warm_up)
        client.start()
        wait_for(lambda: warm_up.read >= WARM_UP_RECORDS, "the client is served")
        client.finish()
        findings.problems += warm_up.problems
        before = workers(broker)
        findings.descriptors_before = descriptors(broker)
        findings.memory_before_mb = resident_mb(broker)
        _attacked(broker, findings, scenario, seconds, seed)
        if workers(broker) != before:
            findings.problems.append(f"workers were started again: {before}, {workers(broker)}")
        wait_for(
            lambda: descriptors(broker) <= findings.descriptors_before, "descriptors are closed"
        )
        findings.descriptors_after = descriptors(broker)
        findings.memory_after_mb = resident_mb(broker)
    finally:
        broker.stop()
    if findings.growth_mb >= MEMORY_GROWTH_MB:
        findings.problems.append(f"memory grew by {findings.growth_mb:.0f} MB")
    check_log(broker.log(), worker_count, findings)
    return findings


def _attacked(
    broker: ServedBroker, findings: Findings, scenario: Scenario, seconds: float, seed: int
) -> None:
    watch = Watch(broker, findings)
    client = Client(broker.bootstrap_servers, findings)
    watch.start()
    client.start()
    try:
        wait_for(lambda: findings.read >= WARM_UP_RECORDS, "the client has its connections")
        client.latencies = findings.quiet
        time.sleep(min(seconds, 5.0))
        client.latencies = findings.attacked
        attackers = Attackers(broker.bootstrap_servers, scenario, seed)
        try:
            time.sleep(seconds)
            findings.peers = attackers.stop()
        finally:
            attackers.kill()
    finally:
        client.finish()
        watch.stop()


def check_log(text: str, worker_count: int, findings: Findings) -> None:
    """What was refused is told, and at a bounded rate: lines of a flood must not fill the disk."""
    times = []
    for line in text.splitlines():
        told = _REFUSED.match(line)
        if told is None:
            findings.problems.append(f"logged: {line}")
            continue
        times.append(datetime.fromisoformat(told["time"]))
        findings.log_lines += 1
        if told["reason"]:
            findings.reasons[_NUMBER.sub("N", told["reason"])] += 1
    if times:
        # Each worker has its own seconds: one more has begun, one more has not ended.
        windows = int((max(times) - min(times)).total_seconds()) + 2
        most = worker_count * windows * (CONNECTION_LOG_LINES_PER_SECOND + 1)
        if findings.log_lines > most:
            findings.problems.append(f"{findings.log_lines} lines in {windows} seconds")


_REFUSED: Final = re.compile(
    r"(?P<time>\S+) warning node=\d+ "
    r"event=\"(connection (closed|refused)|group member refused|more of the same)\" "
    r".*?(reason=\"?(?P<reason>[^\"]*)\"?)?$"
)
_NUMBER: Final = re.compile(r"-?\d+")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", choices=SCENARIOS, help="all when left out")
    parser.add_argument("--connections", type=int, help="as the scenario has it when left out")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", help="of hostile_peers, instead of the scenario's")
    args = parser.parse_args()
    problems = 0
    for name in [args.scenario] if args.scenario else SCENARIOS:
        scenario = SCENARIOS[name]
        if args.connections:
            scenario = replace(scenario, connections=args.connections)
        if args.kinds is not None:
            scenario = replace(scenario, kinds=args.kinds)
        with tempfile.TemporaryDirectory(prefix="tidelog-hostile-") as parent:
            findings = run(
                Path(parent) / "data",
                scenario,
                seconds=args.seconds,
                worker_count=args.workers,
                seed=args.seed,
            )
        print(f"{name}: {scenario.connections} connections\n{findings}\n", flush=True)
        problems += len(findings.problems)
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()

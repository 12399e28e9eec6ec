"""Kills workers and supervisors under load and checks that nothing was lost, doubled or changed.

    python -m tests.recovery.kills [--workers-killed 50] [--supervisors-killed 10] [--seed N]

Three workers; an idempotent producer writes numbered records to every partition; a reader follows
each partition and remembers what stood at every offset. Random workers are killed (SIGKILL), then
the supervisor with what it leaves. In the end everything is read once more. What must hold:

- every acknowledged record is there, at the offset that was acknowledged, once;
- no offset of a partition ever shows two values;
- a killed worker serves again soon, and its address refuses no connection meanwhile.

Signals only processes of the broker that it started. Owned by test_kills.py and by hand.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import confluent_kafka
import kafka

from tests.clients.python_clients import TIMEOUT_S
from tests.clients.test_restarts import children, create, wait_for, workers
from tests.house.broker import ServedBroker

TOPIC = "kills"
PARTITIONS = 12
WORKERS = 3
#: Records acknowledged between two kills.
BETWEEN = 400
API_VERSIONS = bytes.fromhex("0000000a 0012 0000 00000001 ffff")


@dataclass
class Findings:
    """What a run saw."""

    acknowledged: int = 0
    worker_kills: int = 0
    supervisor_kills: int = 0
    refused: int = 0  # connections, while a worker was away
    worker_back_s: list[float] = field(default_factory=list)  # from the kill to an answer
    start_s: list[float] = field(default_factory=list)  # of the broker after its supervisor's end
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.acknowledged} records acknowledged, {self.worker_kills} workers and"
            f" {self.supervisor_kills} supervisors killed, {len(self.problems)} problems,"
            f" {self.refused} connections refused",
        ]
        for name, seconds in (("worker back", self.worker_back_s), ("start", self.start_s)):
            if seconds:
                lines.append(
                    f"{name}: median {median(seconds):.3f} s, largest {max(seconds):.3f} s"
                )
        return "\n".join(lines + self.problems[:20])


class Offsets:
    """What stood at each offset, whoever saw it: the producer's acknowledgements, and readers."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._lock = threading.Lock()
        self.seen: list[dict[int, bytes]] = [{} for _ in range(PARTITIONS)]
        self.acknowledged: list[dict[bytes, int]] = [{} for _ in range(PARTITIONS)]

    def note(self, partition: int, offset: int, value: bytes) -> None:
        with self._lock:
            before = self.seen[partition].setdefault(offset, value)
        if before != value:
            self._findings.problems.append(f"{partition}@{offset}: {before!r}, then {value!r}")

    def acknowledge(self, partition: int, offset: int, value: bytes) -> None:
        self.note(partition, offset, value)
        with self._lock:
            self.acknowledged[partition][value] = offset
            self._findings.acknowledged += 1


class Producer:
    """Numbered records to all partitions in turn, acknowledged ones noted."""

    def __init__(self, bootstrap: str, offsets: Offsets, findings: Findings) -> None:
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 2,
                "message.timeout.ms": 120_000,
                "reconnect.backoff.max.ms": 200,
                "retry.backoff.max.ms": 200,
            }
        )
        self._offsets = offsets
        self._findings = findings
        self.sent = 0

    def _delivered(self, error: object, message: confluent_kafka.Message) -> None:
        value, partition, offset = message.value(), message.partition(), message.offset()
        assert isinstance(value, bytes) and partition is not None
        if error is not None:
            self._findings.problems.append(f"{value!r} was not acknowledged: {error}")
        elif offset is None or offset < 0:
            self._findings.problems.append(f"{value!r} was acknowledged at {offset}")
        else:
            self._offsets.acknowledge(partition, offset, value)

    def send_until(self, acknowledged: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while self._findings.acknowledged < acknowledged:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._findings.acknowledged} of {acknowledged} acknowledged")
            if len(self._producer) < 2 * BETWEEN:
                self._producer.produce(
                    TOPIC,
                    b"%d" % self.sent,
                    partition=self.sent % PARTITIONS,
                    on_delivery=self._delivered,
                )
                self.sent += 1
            self._producer.poll(0.0005)

    def finish(self) -> None:
        if left := self._producer.flush(TIMEOUT_S):
            self._findings.problems.append(f"{left} records without an answer")


class Reader(threading.Thread):
    """Follows every partition from the first record on until it is stopped.

    With kafka-python: librdkafka 2.16 may lock itself up for ever when a consumer is closed while
    brokers come and go (rd_kafka_toppar_forget_leader against rd_kafka_metadata_refresh_topics).
    """

    def __init__(self, bootstrap: str, offsets: Offsets) -> None:
        super().__init__(name="reader")
        self._offsets = offsets
        self._stop_wanted = threading.Event()
        self._consumer = kafka.KafkaConsumer(
            bootstrap_servers=bootstrap.split(","),
            enable_auto_commit=False,
            reconnect_backoff_max_ms=200,
        )
        partitions = [kafka.TopicPartition(TOPIC, i) for i in range(PARTITIONS)]
        self._consumer.assign(partitions)
        for partition in partitions:
            self._consumer.seek(partition, 0)

    def run(self) -> None:
        while not self._stop_wanted.is_set():
            for partition, records in self._consumer.poll(timeout_ms=100).items():
                for record in records:
                    self._offsets.note(partition.partition, record.offset, record.value)
        self._consumer.close()

    def stop(self) -> None:
        self._stop_wanted.set()
        self.join()


def read_everything(bootstrap: str, counts: list[int]) -> list[dict[int, bytes]]:
    """Every record by offset; `counts`: how many each partition is to have."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "all", "enable.auto.commit": False}
    )
    consumer.assign([confluent_kafka.TopicPartition(TOPIC, i, 0) for i in range(PARTITIONS)])
    found: list[dict[int, bytes]] = [{} for _ in range(PARTITIONS)]
    deadline = time.monotonic() + TIMEOUT_S
    while sum(map(len, found)) < sum(counts) and time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.2):
            if message.error() is None:
                partition, offset, value = message.partition(), message.offset(), message.value()
                assert partition is not None and offset is not None and isinstance(value, bytes)
                found[partition][offset] = value
    consumer.close()
    return found


def check(found: list[dict[int, bytes]], offsets: Offsets, findings: Findings) -> None:
    for partition in range(PARTITIONS):
        values = found[partition]
        for offset, value in values.items():
            offsets.note(partition, offset, value)
        for value, offset in offsets.acknowledged[partition].items():
            if values.get(offset) != value:
                problem = (
                    f"{partition}@{offset}: {value!r} was acknowledged, {values.get(offset)!r}"
                )
                findings.problems.append(problem)
        if len(set(values.values())) != len(values):
            findings.problems.append(f"partition {partition} has a record twice")
        if sorted(values) != list(range(len(values))):
            findings.problems.append(f"partition {partition} has holes")


def is_answered(address: tuple[str, int]) -> bool:
    """Whether who listens there answers ApiVersions now. Raises ConnectionRefusedError."""
    try:
        with socket.create_connection(address, timeout=5) as client:
            client.sendall(API_VERSIONS)
            return len(client.recv(4)) == 4
    except ConnectionRefusedError:
        raise
    except OSError:
        return False


def kill_worker(broker: ServedBroker, node: int, findings: Findings) -> None:
    """SIGKILL; asks the node's address all the time until it answers again."""
    host, _, port = broker.bootstrap_servers.split(",")[node - 1].rpartition(":")
    killed = workers(broker)[node]
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: not Path(f"/proc/{killed}/fd").exists(), "the worker has ended")
    while True:
        try:
            if is_answered((host, int(port))):
                break
        except ConnectionRefusedError:
            findings.refused += 1
        if time.monotonic() - began > TIMEOUT_S:
            raise TimeoutError(f"node {node} does not serve again")
        time.sleep(0.002)
    findings.worker_back_s.append(time.monotonic() - began)
    findings.worker_kills += 1


def kill_supervisor(broker: ServedBroker, findings: Findings) -> None:
    """SIGKILL to the supervisor alone: its workers must end by themselves; then a new start."""
    left = children(broker.pid)
    addresses = broker.bootstrap_servers
    broker.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "no orphan is left")
    broker.arguments = ["--workers", str(WORKERS), "--listen", addresses.split(",")[0]]
    began = time.monotonic()
    broker.start()
    findings.start_s.append(time.monotonic() - began)
    findings.supervisor_kills += 1


def free_ports() -> int:
    """The first of as many neighbouring free ports as there are workers."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
        try:
            for i in range(WORKERS):
                socket.create_server(("127.0.0.1", port + i)).close()
        except OSError:
            continue
        return port


def run(data_dir: Path, workers_killed: int, supervisors_killed: int, seed: int) -> Findings:
    rng = random.Random(seed)
    findings = Findings()
    arguments = ["--workers", str(WORKERS), "--listen", f"127.0.0.1:{free_ports()}"]
    # Small segments, so that kills also hit rolls.
    arguments += ["--set", "log.segment.bytes=1048576"]
    broker = ServedBroker(data_dir, arguments)
    broker.start()
    try:
        bootstrap = broker.bootstrap_servers
        create(bootstrap, TOPIC, PARTITIONS)
        offsets = Offsets(findings)
        producer = Producer(bootstrap, offsets, findings)
        reader = Reader(bootstrap, offsets)
        reader.start()
        try:
            kills = ["worker"] * workers_killed + ["supervisor"] * supervisors_killed
            rng.shuffle(kills)
            for kill in kills:
                producer.send_until(findings.acknowledged + rng.randrange(1, BETWEEN))
                if kill == "worker":
                    kill_worker(broker, rng.randrange(WORKERS) + 1, findings)
                else:
                    kill_supervisor(broker, findings)
            producer.send_until(findings.acknowledged + BETWEEN)
            producer.finish()
        finally:
            reader.stop()
        counts = [len(acknowledged) for acknowledged in offsets.acknowledged]
        check(read_everything(bootstrap, counts), offsets, findings)
    finally:
        broker.stop()
    return findings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers-killed", type=int, default=50)
    parser.add_argument("--supervisors-killed", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidelog-kills-") as parent:
        data = Path(parent) / "data"
        findings = run(data, args.workers_killed, args.supervisors_killed, args.seed)
    print(findings)
    raise SystemExit(1 if findings.problems else 0)


if __name__ == "__main__":
    main()

"""Money and words through Kafka Streams with exactly-once processing, while everything is killed.

Two instances of `java/MoneyAndWords.java` move money between the accounts of four banks and count
words; a producer feeds them. Instances and the broker's workers are killed (SIGKILL) at random and
come back. A reader of committed records looks again and again: whatever it sees, the balances of
each bank add up to nothing. In the end every balance and every count is exact.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import confluent_kafka
from confluent_kafka import admin

from tests.clients.test_restarts import kill_worker
from tests.compat.reference.install import Installation, install_from
from tests.house.broker import ServedBroker

BANKS = 4
ACCOUNTS = 10
WORDS = ("tide", "log", "wave", "shore", "moon")
WORKERS = (1, 2)
INSTANCES = 2
TOPICS = ("transfers", "balances", "lines", "counts")
TIMEOUT_S = 30.0
#: How long the application may take to come to the end when nobody is killed any more.
SETTLE_S = 120.0
START_S = 60.0


class Ordeal:
    """Use it in a `with`; `run`, then look at `problems`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.problems: list[str] = []
        self.transfers = self.lines = self.looks = 0
        self.kills: Counter[str] = Counter()
        self.balances: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.broker = ServedBroker(folder / "data", ["--workers", str(len(WORKERS))])
        self.installation: Installation = install_from(
            Path(__file__).resolve().parent, "kafka-streams"
        )
        self.instances: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.broker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for instance in self.instances:
            instance.kill()
            instance.wait()
        self.broker.stop()

    def told(self) -> str:
        return (
            f"{self.transfers} transfers, {self.lines} lines, {self.looks} looks at all balances,"
            f" killed: {dict(self.kills)}, {len(self.problems)} problems"
        )

    # ---- the run

    def run(self, seconds: float) -> None:
        self._make_topics()
        self.instances = [self._start(number) for number in range(INSTANCES)]
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": self.broker.bootstrap_servers,
                "enable.idempotence": True,
                "delivery.timeout.ms": 120_000,
                "error_cb": lambda error: None,
            }
        )
        self._await_first_results(producer)
        until = time.monotonic() + seconds
        next_kill = time.monotonic() + 3
        while time.monotonic() < until:
            self._feed(producer)
            if time.monotonic() > next_kill:
                self._kill_something()
                next_kill = time.monotonic() + self.rng.uniform(4, 10)
            self._look()
        if producer.flush(TIMEOUT_S * 4):
            self.problems.append("the producer of the input could not deliver all of it")
        self._settle()

    def _make_topics(self) -> None:
        client = admin.AdminClient({"bootstrap.servers": self.broker.bootstrap_servers})
        made = client.create_topics([admin.NewTopic(name, BANKS, 1) for name in TOPICS])
        for future in made.values():
            future.result(TIMEOUT_S)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        command = self.installation.command(
            "MoneyAndWords",
            self.broker.bootstrap_servers,
            "money-and-words",
            str(self.folder / f"state-{number}"),
            heap_mb=128,
        )
        with open(self.folder / f"instance-{number}.log", "ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def _await_first_results(self, producer: confluent_kafka.Producer) -> None:
        """The ordeal begins when the application works."""
        self._feed(producer)
        deadline = time.monotonic() + START_S
        while not self._committed("balances"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the application did not start:\n{self._logs()}")

    def _logs(self) -> str:
        return "\n".join(
            path.read_text(errors="replace")[-3000:] for path in self.folder.glob("instance-*.log")
        )

    def _feed(self, producer: confluent_kafka.Producer) -> None:
        for _ in range(50):
            bank = self.rng.randrange(BANKS)
            source, target = self.rng.sample(range(ACCOUNTS), 2)
            amount = self.rng.randrange(1, 100)
            self.balances[f"{bank}/{source}"] -= amount
            self.balances[f"{bank}/{target}"] += amount
            self.transfers += 1
            producer.produce("transfers", f"{source} {target} {amount}", str(bank), partition=bank)
        for _ in range(20):
            words = self.rng.choices(WORDS, k=5)
            self.counts.update(words)
            self.lines += 1
            producer.produce("lines", " ".join(words), partition=self.rng.randrange(BANKS))
        producer.poll(0.2)

    def _kill_something(self) -> None:
        if self.rng.random() < 0.5:
            node = self.rng.choice(WORKERS)
            kill_worker(self.broker, node)
            self.kills["worker"] += 1
            return
        number = self.rng.randrange(INSTANCES)
        instance = self.instances[number]
        with contextlib.suppress(ProcessLookupError):
            os.kill(instance.pid, signal.SIGKILL)
        instance.wait()
        self.instances[number] = self._start(number)
        self.kills["instance"] += 1

    # ---- looking

    def _committed(self, topic: str) -> dict[str, int]:
        """The last committed value of every key, read from the beginning to the stable end."""
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.broker.bootstrap_servers,
                "group.id": "looks",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "error_cb": lambda error: None,
            }
        )
        found: dict[str, int] = {}
        ended: set[int] = set()
        deadline = time.monotonic() + TIMEOUT_S
        try:
            consumer.assign(
                [confluent_kafka.TopicPartition(topic, index, 0) for index in range(BANKS)]
            )
            while len(ended) < BANKS and time.monotonic() < deadline:
                for message in consumer.consume(1000, 1.0):
                    if message.error() is None:
                        found[message.key().decode()] = int(message.value())
                        ended.discard(message.partition())
                    elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
        finally:
            consumer.close()
        return found if len(ended) == BANKS else {}

    def _look(self) -> None:
        found = self._committed("balances")
        if not found:
            return
        self.looks += 1
        for bank in range(BANKS):
            total = sum(value for key, value in found.items() if key.startswith(f"{bank}/"))
            if total:
                self.problems.append(f"bank {bank} has {total} too much")

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_S
        wanted = dict(self.balances)
        balances: dict[str, int] = {}
        counts: dict[str, int] = {}
        while time.monotonic() < deadline:
            balances, counts = self._committed("balances"), self._committed("counts")
            if balances == wanted and counts == dict(self.counts):
                return
        if balances != wanted:
            wrong = {
                key: (balances.get(key), wanted[key])
                for key in wanted
                if balances.get(key) != wanted[key]
            }
            self.problems.append(f"balances are wrong: {wrong}")
        if counts != dict(self.counts):
            self.problems.append(f"counts are {counts}, not {dict(self.counts)}")

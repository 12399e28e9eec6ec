"""A chain of copies, each in transactions, while members and workers are killed:

python -m tests.recovery.chain [--records 100000] [--steps 5] [--members 3] [--kills 30]

Topic 0 is filled with numbered records. Every step is a group of members, each a process with a
consumer of committed records and a transactional producer: they copy what they read from one topic
to the next, with the offsets in the same transactions. Members and workers are killed (SIGKILL) at
random. In the end the last topic has to hold every record once, in order within its partition.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import confluent_kafka
from confluent_kafka import admin

from tests.clients.test_restarts import kill_worker
from tests.house.broker import ServedBroker

PARTITIONS = 4
TRANSACTION_RECORDS = 500
WORKERS = (1, 2)
TIMEOUT_S = 60.0
#: A chain that makes no progress for so long has failed.
STALL_S = 120.0
_CONTEXT = multiprocessing.get_context("spawn")


def topic_of(step: int) -> str:
    return f"chain-{step}"


# ---- a member


def member(bootstrap: str, step: int, number: int) -> None:
    """Copies from a step's topic to the next one until it is killed."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"step-{step}-{number}",
            "transaction.timeout.ms": 10_000,
            "error_cb": lambda error: None,
        }
    )
    producer.init_transactions(TIMEOUT_S)
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"step-{step}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 1_000,
            "error_cb": lambda error: None,
        }
    )
    consumer.subscribe([topic_of(step)])
    while True:
        messages = [
            one for one in consumer.consume(TRANSACTION_RECORDS, 0.5) if one.error() is None
        ]
        if not messages:
            continue
        producer.begin_transaction()
        try:
            copy(producer, consumer, step, messages)
            producer.commit_transaction(TIMEOUT_S)
        except confluent_kafka.KafkaException as error:
            failure = error.args[0]
            if failure.fatal():
                raise
            abort(producer)
            rewind(consumer)


def copy(
    producer: confluent_kafka.Producer,
    consumer: confluent_kafka.Consumer,
    step: int,
    messages: list[confluent_kafka.Message],
) -> None:
    offsets: dict[int, int] = {}
    for message in messages:
        while True:
            try:
                producer.produce(topic_of(step + 1), message.value(), partition=message.partition())
                break
            except BufferError:
                producer.poll(0.1)
        offsets[message.partition()] = message.offset() + 1
    producer.send_offsets_to_transaction(
        [
            confluent_kafka.TopicPartition(topic_of(step), index, offset)
            for index, offset in offsets.items()
        ],
        consumer.consumer_group_metadata(),
        TIMEOUT_S,
    )


def abort(producer: confluent_kafka.Producer) -> None:
    while True:
        try:
            producer.abort_transaction(TIMEOUT_S)
            return
        except confluent_kafka.KafkaException as error:
            if not error.args[0].retriable():
                raise


def rewind(consumer: confluent_kafka.Consumer) -> None:
    """Back to what is committed: what was read since was not copied."""
    held = consumer.assignment()
    for found in consumer.committed(held, TIMEOUT_S) if held else ():
        offset = found.offset if found.offset >= 0 else confluent_kafka.OFFSET_BEGINNING
        consumer.seek(confluent_kafka.TopicPartition(found.topic, found.partition, offset))


# ---- the chain


class Chain:
    """See the module. `problems`: what is wrong in the end."""

    def __init__(self, folder: Path, steps: int, members: int, seed: int) -> None:
        self.steps = steps
        self.rng = random.Random(seed)
        self.kills = {"worker": 0, "member": 0}
        self.problems: list[str] = []
        self.broker = ServedBroker(folder / "data", ["--workers", str(len(WORKERS))])
        self.members: dict[tuple[int, int], BaseProcess] = {
            (step, number): None
            for step in range(steps)
            for number in range(members)  # type: ignore[misc]
        }

    def run(self, records: int, kills: int, pause_s: tuple[float, float]) -> None:
        self.broker.start()
        try:
            self._fill(records)
            for key in self.members:
                self._start(key)
            self._watch(records, kills, pause_s)
            self._check(records)
        finally:
            for process in self.members.values():
                if process is not None:
                    process.kill()
                    process.join()
            self.broker.stop()

    def _fill(self, records: int) -> None:
        settings = {"bootstrap.servers": self.broker.bootstrap_servers}
        client = admin.AdminClient(settings)
        names = [topic_of(step) for step in range(self.steps + 1)]
        made = client.create_topics([admin.NewTopic(name, PARTITIONS, 1) for name in names])
        for future in made.values():
            future.result(TIMEOUT_S)
        producer = confluent_kafka.Producer(settings | {"enable.idempotence": True})
        for number in range(records):
            value = str(number // PARTITIONS)
            producer.produce(topic_of(0), value, partition=number % PARTITIONS)
            if number % 10_000 == 0:
                producer.flush(TIMEOUT_S)
        assert producer.flush(TIMEOUT_S) == 0

    def _start(self, key: tuple[int, int]) -> None:
        process = _CONTEXT.Process(target=member, args=(self.broker.bootstrap_servers, *key))
        process.start()
        self.members[key] = process

    def _watch(self, records: int, kills: int, pause_s: tuple[float, float]) -> None:
        """Kills, starts anew what died, until everything has come through."""
        reader = _Reader(self.broker.bootstrap_servers, topic_of(self.steps))
        next_kill = time.monotonic() + pause_s[0]
        last_progress = time.monotonic()
        seen = -1
        while True:
            for key, process in self.members.items():
                if not process.is_alive():
                    process.join()
                    self._start(key)
            if sum(self.kills.values()) < kills and time.monotonic() > next_kill:
                self._kill()
                next_kill = time.monotonic() + self.rng.uniform(*pause_s)
            now = reader.read()
            if now >= records:
                break
            if now != seen:
                seen, last_progress = now, time.monotonic()
            elif time.monotonic() - last_progress > STALL_S:
                self.problems.append(f"{now} of {records} records, and no more in {STALL_S} s")
                break
        reader.settle()
        self._found = reader.found
        reader.close()

    def _kill(self) -> None:
        if self.rng.random() < 0.4:
            kill_worker(self.broker, self.rng.choice(WORKERS))
            self.kills["worker"] += 1
            return
        process = self.members[self.rng.choice(list(self.members))]
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            self.kills["member"] += 1

    def _check(self, records: int) -> None:
        for index in range(PARTITIONS):
            wanted = [
                str(i).encode() for i in range((records - index + PARTITIONS - 1) // PARTITIONS)
            ]
            found = self._found[index]
            if found == wanted:
                continue
            at = next(
                (
                    i
                    for i, pair in enumerate(zip(found, wanted, strict=False))
                    if pair[0] != pair[1]
                ),
                -1,
            )
            self.problems.append(
                f"partition {index}: {len(found)} records, not {len(wanted)};"
                f" {len(set(found))} different ones; the first wrong one at {at}"
            )


class _Reader:
    """Reads committed records of the last topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.found: dict[int, list[bytes]] = {index: [] for index in range(PARTITIONS)}
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "error_cb": lambda error: None,
            }
        )
        self._consumer.assign(
            [confluent_kafka.TopicPartition(topic, index, 0) for index in range(PARTITIONS)]
        )

    def read(self, wait_s: float = 0.5) -> int:
        """How many there are by now."""
        for message in self._consumer.consume(5000, wait_s):
            if message.error() is None:
                self.found[message.partition()].append(message.value())
        return sum(map(len, self.found.values()))

    def settle(self) -> None:
        """Reads on until nothing more comes: what is too much is to be seen as well."""
        before = -1
        while (now := self.read(2.0)) != before:
            before = now

    def close(self) -> None:
        self._consumer.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidelog-chain-") as folder:
        chain = Chain(Path(folder), args.steps, args.members, args.seed)
        began = time.monotonic()
        chain.run(args.records, args.kills, (1.0, 4.0))
    took_s = time.monotonic() - began
    print(
        f"{args.records} records through {args.steps} steps in {took_s:.0f} s,"
        f" killed: {chain.kills}"
    )
    for problem in chain.problems:
        print(f"PROBLEM {problem}")
    return 1 if chain.problems else 0


if __name__ == "__main__":
    sys.exit(main())

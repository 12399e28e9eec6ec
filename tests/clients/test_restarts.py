"""What clients have after a restart: records, committed offsets, topics; and across killed workers.

Only ever signals processes of the broker that the test started.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
import pytest

from tests.clients.python_clients import CONSUME, PRODUCE, TIMEOUT_S, Sent
from tests.house.broker import ServedBroker

PARTITIONS = 4


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """All processes below one, by id."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def workers(broker: ServedBroker) -> dict[int, int]:
    """Process id of each worker by node id, told by its command line."""
    found = {}
    for pid in children(broker.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        _, marker, node = words.strip("\0 ").partition("node=")
        if marker:
            found[int(node.split("\0")[0])] = pid
    return found


def kill_worker(broker: ServedBroker, node: int) -> None:
    """SIGKILL, and wait until another process serves as that node."""
    killed = workers(broker)[node]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: workers(broker).get(node, killed) != killed, f"node {node} is back")


def create(bootstrap: str, topic: str, partitions: int = PARTITIONS) -> None:
    client = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
    new = confluent_kafka.admin.NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})
    client.create_topics([new])[topic].result(TIMEOUT_S)


def committed(bootstrap: str, group: str, topic: str) -> int:
    """The sum of a group's committed offsets, without joining it."""
    reader = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        partitions = [confluent_kafka.TopicPartition(topic, i) for i in range(PARTITIONS)]
        return sum(max(each.offset, 0) for each in reader.committed(partitions, TIMEOUT_S))
    finally:
        reader.close()


def records(first: int, count: int) -> list[Sent]:
    return [Sent(b"%d" % i, b"value %d" % i) for i in range(first, first + count)]


@pytest.mark.parametrize(
    ("end", "then"), [("stopped", 2), ("killed", 2), ("stopped", 1), ("killed", 1), ("killed", 3)]
)
def test_a_restart_keeps_everything(tmp_path: Path, end: str, then: int) -> None:
    """Records, committed offsets, topic and its configs; after kill -9 of all processes too, and
    with fewer or more workers."""
    broker = ServedBroker(tmp_path / "data", ["--workers", "2"])
    broker.start()
    try:
        create(broker.bootstrap_servers, "t")
        PRODUCE["confluent-kafka"](broker.bootstrap_servers, "t", records(0, 100), "none")
        read = CONSUME["confluent-kafka"](broker.bootstrap_servers, "t", 100, "g")
        assert len(read) == 100
        if end == "stopped":
            assert broker.stop() == 0
        else:
            pids = [broker.pid, *children(broker.pid)]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            broker.kill()
            wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all ended")
        broker.arguments = ["--workers", str(then)]
        broker.start()
        bootstrap = broker.bootstrap_servers
        client = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
        metadata = client.list_topics("t", TIMEOUT_S)
        assert sorted(metadata.brokers) == list(range(1, then + 1))
        assert len(metadata.topics["t"].partitions) == PARTITIONS
        resource = confluent_kafka.admin.ConfigResource("topic", "t")
        configs = client.describe_configs([resource])[resource].result(TIMEOUT_S)
        assert configs["retention.ms"].value == "-1"
        PRODUCE["kafka-python"](bootstrap, "t", records(100, 50), "gzip")
        # The group goes on behind what it has committed; another one reads it all.
        rest = CONSUME["confluent-kafka"](bootstrap, "t", 50, "g")
        assert Counter(r.value for r in rest) == Counter(s.value for s in records(100, 50))
        everything = CONSUME["aiokafka"](bootstrap, "t", 150, "other")
        assert Counter(r.value for r in everything) == Counter(s.value for s in records(0, 150))
        assert set(read) <= set(everything)
    finally:
        broker.stop()


def test_an_idempotent_producer_does_not_notice_killed_workers(tmp_path: Path) -> None:
    """Each record once and in order, while both workers are killed twice under the producer."""
    with ServedBroker(tmp_path / "data", ["--workers", "2"]) as broker:
        bootstrap = broker.bootstrap_servers
        create(bootstrap, "t")
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 1}
        )
        failures: list[object] = []
        done = [0]

        def delivered(error: object, _: confluent_kafka.Message) -> None:
            done[0] += 1
            if error is not None:
                failures.append(error)

        sent = 0
        for node in (1, 2, 1, 2):
            target = done[0] + 200
            killed = False
            while done[0] < target:
                producer.produce(
                    "t", b"%d" % sent, partition=sent % PARTITIONS, on_delivery=delivered
                )
                sent += 1
                producer.poll(0.001)
                if not killed and done[0] >= target - 100:
                    kill_worker(broker, node)
                    killed = True
        assert producer.flush(TIMEOUT_S) == 0
        assert not failures
        read = CONSUME["confluent-kafka"](bootstrap, "t", sent, "g")
        assert len(read) == sent
        for partition in range(PARTITIONS):
            values = [int(r.value) for r in read if r.partition == partition]
            assert values == list(range(partition, sent, PARTITIONS))


def test_a_group_goes_on_when_its_workers_are_killed(tmp_path: Path) -> None:
    """A consumer stays subscribed while each worker is killed once; nothing is skipped, and what
    it has committed stays committed.
    """
    with ServedBroker(tmp_path / "data", ["--workers", "2"]) as broker:
        bootstrap = broker.bootstrap_servers
        create(bootstrap, "t")
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "g",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe(["t"])
        seen: Counter[bytes] = Counter()

        def read_all(count: int) -> bool:
            for message in consumer.consume(100, 0.2):
                if message.error() is None:
                    seen[message.value()] += 1
            return len(seen) >= count

        try:
            for step, node in enumerate((1, 2)):
                sent = records(100 * step, 100)
                PRODUCE["confluent-kafka"](bootstrap, "t", sent, "lz4")
                wait_for(lambda count=100 * (step + 1): read_all(count), "everything is read")
                consumer.commit(asynchronous=False)
                kill_worker(broker, node)
            PRODUCE["confluent-kafka"](bootstrap, "t", records(200, 100), "zstd")
            wait_for(lambda: read_all(300), "everything is read")
        finally:
            consumer.close()
        assert set(seen) == {s.value for s in records(0, 300)}
        # 200 records were committed, whatever happened to the coordinator since.
        assert committed(bootstrap, "g", "t") == 200

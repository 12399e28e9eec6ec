"""Transactions with real clients: committed, aborted, fenced, timed out, with offsets, and after a
coordinator died. The broker has two nodes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import aiokafka.errors
import confluent_kafka
import kafka.errors
import pytest
from confluent_kafka import admin as confluent

from tests.clients.python_clients import TIMEOUT_S
from tests.clients.test_restarts import kill_worker
from tests.clients.transactional_clients import CLIENTS, Confluent, Transactional
from tests.house.broker import ServedBroker

#: What clients raise in a producer that was replaced. (The first one's binding may stumble over
#: its own callback then.)
FENCED = (
    confluent_kafka.KafkaException,
    SystemError,
    kafka.errors.KafkaError,
    aiokafka.errors.KafkaError,
)
CLEANUP = "transaction.abort.timed.out.transaction.cleanup.interval.ms=100"
ARGUMENTS = ("--workers", "2", "--set", CLEANUP)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    data_dir = tmp_path_factory.mktemp("transactions") / "data"
    with ServedBroker(data_dir, ARGUMENTS) as served:
        yield served


@pytest.fixture
def topics(broker: ServedBroker) -> tuple[str, str]:
    """Two fresh topics of two partitions each."""
    name = f"txn-{uuid.uuid4().hex[:12]}"
    client = confluent.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    wanted = [confluent.NewTopic(f"{name}-{end}", 2, 1) for end in "ab"]
    for future in client.create_topics(wanted).values():
        future.result(TIMEOUT_S)
    return f"{name}-a", f"{name}-b"


def read(bootstrap: str, topic: str, isolation: str, expected: int | None = None) -> list[bytes]:
    """Everything that such a reader sees in the topic, up to its end as the reader knows it."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "readers",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": isolation,
        }
    )
    found: list[bytes] = []
    ended: set[int] = set()
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, index, 0) for index in (0, 1)])
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error() is None:
                found.append(message.value())
                ended.discard(message.partition())
            elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                ended.add(message.partition())
                if len(ended) == 2 and (expected is None or len(found) >= expected):
                    return sorted(found)
            else:
                raise AssertionError(message.error())
        raise AssertionError(f"read {len(found)} of {expected}")
    finally:
        consumer.close()


def committed(bootstrap: str, topic: str, expected: int | None = None) -> list[bytes]:
    return read(bootstrap, topic, "read_committed", expected)


def offset_of(bootstrap: str, group: str, topic: str) -> int:
    """What the group committed for partition 0, when it is stable."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        (found,) = consumer.committed([confluent_kafka.TopicPartition(topic, 0)], TIMEOUT_S)
        return found.offset
    finally:
        consumer.close()


def make(
    name: str, broker: ServedBroker, transactional_id: str, timeout_ms: int = 60_000
) -> Transactional:
    return CLIENTS[name](broker.bootstrap_servers, transactional_id, timeout_ms)


@pytest.mark.parametrize("client", CLIENTS)
def test_all_or_nothing(broker: ServedBroker, topics: tuple[str, str], client: str) -> None:
    producer = make(client, broker, topics[0])
    try:
        for round_, commits in enumerate((True, False, True, False, True)):
            producer.begin()
            for topic in topics:
                for partition in (0, 1):
                    value = f"{round_} {'yes' if commits else 'no'} {partition}"
                    producer.send(topic, partition, value.encode())
            (producer.commit if commits else producer.abort)()
    finally:
        producer.close()
    wanted = sorted(f"{i} yes {p}".encode() for i in (0, 2, 4) for p in (0, 1))
    for topic in topics:
        assert committed(broker.bootstrap_servers, topic, 6) == wanted
        assert len(read(broker.bootstrap_servers, topic, "read_uncommitted", 10)) == 10


@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_is_seen_before_the_commit(
    broker: ServedBroker, topics: tuple[str, str], client: str
) -> None:
    producer = make(client, broker, topics[0])
    try:
        producer.begin()
        producer.send(topics[0], 0, b"in")
        other = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap_servers})
        other.produce(topics[0], b"behind", partition=0)
        other.produce(topics[0], b"beside", partition=1)
        assert other.flush(TIMEOUT_S) == 0
        # What stands behind an open transaction has to wait for it.
        assert committed(broker.bootstrap_servers, topics[0]) == [b"beside"]
        assert len(read(broker.bootstrap_servers, topics[0], "read_uncommitted", 3)) == 3
        producer.commit()
    finally:
        producer.close()
    assert committed(broker.bootstrap_servers, topics[0], 3) == [b"behind", b"beside", b"in"]


@pytest.mark.parametrize("client", CLIENTS)
def test_offsets_are_committed_with_the_records(
    broker: ServedBroker, topics: tuple[str, str], client: str
) -> None:
    group = f"{topics[0]}-group"
    producer = make(client, broker, topics[0])
    try:
        producer.begin()
        producer.send(topics[1], 0, b"one")
        producer.send_offsets({(topics[0], 0): 5}, group)
        producer.commit()
        assert offset_of(broker.bootstrap_servers, group, topics[0]) == 5
        producer.begin()
        producer.send(topics[1], 0, b"two")
        producer.send_offsets({(topics[0], 0): 9}, group)
        producer.abort()
        assert offset_of(broker.bootstrap_servers, group, topics[0]) == 5
    finally:
        producer.close()
    assert committed(broker.bootstrap_servers, topics[1], 1) == [b"one"]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_second_producer_of_an_id_fences_the_first(
    broker: ServedBroker, topics: tuple[str, str], client: str
) -> None:
    first = make(client, broker, topics[0])
    second = None
    try:
        first.begin()
        first.send(topics[0], 0, b"lost")
        second = make(client, broker, topics[0])
        with pytest.raises(FENCED):
            first.send(topics[0], 0, b"zombie")
            first.commit()
        second.begin()
        second.send(topics[0], 0, b"kept")
        second.commit()
    finally:
        for one in (first, second):
            if one is not None:
                one.close()
    assert committed(broker.bootstrap_servers, topics[0], 1) == [b"kept"]


def test_what_takes_too_long_is_aborted(broker: ServedBroker, topics: tuple[str, str]) -> None:
    producer = make("confluent-kafka", broker, topics[0], timeout_ms=1000)
    producer.begin()
    producer.send(topics[0], 0, b"slow")
    other = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap_servers})
    other.produce(topics[0], b"behind", partition=0)
    assert other.flush(TIMEOUT_S) == 0
    assert committed(broker.bootstrap_servers, topics[0], 1) == [b"behind"]
    with pytest.raises(confluent_kafka.KafkaException):
        producer.commit()
    producer.close()


@pytest.mark.parametrize("commits", [True, False])
def test_workers_die_in_the_middle(
    broker: ServedBroker, topics: tuple[str, str], commits: bool
) -> None:
    """Both nodes, one after the other: whoever led and coordinated comes back and goes on."""
    producer = Confluent(broker.bootstrap_servers, topics[0])
    producer.begin()
    for topic in topics:
        for partition in (0, 1):
            producer.send(topic, partition, b"before")
    for node_id in (1, 2):
        kill_worker(broker, node_id)
        for topic in topics:
            for partition in (0, 1):
                producer.send(topic, partition, b"after")
    (producer.commit if commits else producer.abort)()
    producer.begin()
    producer.send(topics[0], 0, b"next")
    producer.commit()
    producer.close()
    wanted = [b"after"] * 4 + [b"before"] * 2 if commits else []
    assert committed(broker.bootstrap_servers, topics[0], len(wanted) + 1) == [*wanted, b"next"]
    assert committed(broker.bootstrap_servers, topics[1], len(wanted)) == wanted


def test_the_command_line_shows_and_ends_what_hangs(
    broker: ServedBroker, topics: tuple[str, str]
) -> None:
    producer = make("confluent-kafka", broker, topics[0])
    producer.begin()
    producer.send(topics[0], 1, b"lost")
    listed = tidelog(broker, "list", "--state", "Ongoing")
    assert topics[0] in [one["transactional_id"] for one in listed]
    described = tidelog(broker, "describe", topics[0])
    assert (described["state"], described["partitions"]) == ("Ongoing", [f"{topics[0]}-1"])
    tidelog(broker, "abort", topics[0])
    with pytest.raises(confluent_kafka.KafkaException):
        producer.commit()
    producer.close()
    assert committed(broker.bootstrap_servers, topics[0]) == []
    assert read(broker.bootstrap_servers, topics[0], "read_uncommitted", 1) == [b"lost"]


def tidelog(broker: ServedBroker, *arguments: str) -> Any:
    """What `tidelog transactions` prints."""
    as_json = ["--json"] if arguments[0] != "abort" else []
    done = subprocess.run(
        [sys.executable, "-m", "tidelog", "transactions", *arguments, *as_json],
        env=os.environ | {"TIDELOG_BOOTSTRAP": broker.bootstrap_servers},
        capture_output=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    return json.loads(done.stdout) if as_json else done.stdout

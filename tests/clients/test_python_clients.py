"""confluent-kafka, kafka-python and aiokafka on one broker with default settings: every codec, what
one writes all read, where records go, and groups that go on where they stopped.

`TIDELOG_CLIENTS_BOOTSTRAP=HOST:PORT` runs them against another broker, to check the tests.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator

import confluent_kafka
import confluent_kafka.admin
import pytest
from kafka.partitioner.default import murmur2

from tests.clients.python_clients import CODECS, CONSUME, PRODUCE, TIMEOUT_S, Seen, Sent
from tests.house.broker import ServedBroker

PARTITIONS = 3
COUNT = 90


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of two nodes, so that clients have to find the leaders."""
    if given := os.environ.get("TIDELOG_CLIENTS_BOOTSTRAP"):
        yield given
        return
    with ServedBroker(tmp_path_factory.mktemp("clients") / "data", ["--workers", "2"]) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def topic(bootstrap: str) -> str:
    """A fresh topic. Its creation is answered when its leaders serve, so no test waits for it."""
    name = f"clients-{uuid.uuid4().hex[:12]}"
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
    new = confluent_kafka.admin.NewTopic(name, num_partitions=PARTITIONS, replication_factor=1)
    admin.create_topics([new])[name].result(TIMEOUT_S)
    return name


def keyed(count: int, first: int = 0) -> list[Sent]:
    return [Sent(f"key-{i}".encode(), f"value-{i}".encode()) for i in range(first, first + count)]


def assert_complete(records: list[Seen], sent: list[Sent]) -> None:
    """Every record once, and the offsets of each partition without a gap from 0."""
    assert Counter((r.key, r.value) for r in records) == Counter((s.key, s.value) for s in sent)
    offsets = defaultdict(list)
    for record in records:
        offsets[record.partition].append(record.offset)
    for seen in offsets.values():
        assert seen == list(range(len(seen)))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("producer", PRODUCE)
def test_what_one_client_writes_all_read(
    bootstrap: str, topic: str, producer: str, codec: str
) -> None:
    sent = keyed(COUNT)
    acknowledged = PRODUCE[producer](bootstrap, topic, sent, codec)
    for name, consume in CONSUME.items():
        records = consume(bootstrap, topic, COUNT, f"{topic}-{name}")
        assert_complete(records, sent)
        assert set(records) == set(acknowledged), name


@pytest.mark.parametrize("producer", PRODUCE)
def test_a_given_partition_is_kept(bootstrap: str, topic: str, producer: str) -> None:
    sent = [Sent(None, b"%d" % i, i % PARTITIONS) for i in range(COUNT)]
    PRODUCE[producer](bootstrap, topic, sent, "none")
    records = CONSUME["confluent-kafka"](bootstrap, topic, COUNT, topic)
    assert {r.value: r.partition for r in records} == {s.value: s.partition for s in sent}


@pytest.mark.parametrize("producer", ["kafka-python", "aiokafka"])
def test_a_key_goes_where_its_hash_says(bootstrap: str, topic: str, producer: str) -> None:
    PRODUCE[producer](bootstrap, topic, keyed(COUNT), "none")
    for record in CONSUME["confluent-kafka"](bootstrap, topic, COUNT, topic):
        assert record.key is not None
        assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % PARTITIONS


def test_librdkafkas_hash_keeps_a_key_in_its_partition(bootstrap: str, topic: str) -> None:
    PRODUCE["confluent-kafka"](bootstrap, topic, keyed(COUNT) + keyed(COUNT), "none")
    places = defaultdict(set)
    for record in CONSUME["aiokafka"](bootstrap, topic, 2 * COUNT, topic):
        places[record.key].add(record.partition)
    assert {len(partitions) for partitions in places.values()} == {1}
    assert len(set().union(*places.values())) == PARTITIONS


def test_round_robin_spreads_evenly(bootstrap: str, topic: str) -> None:
    """The producer deals records out in turn; the broker keeps them where they were put."""
    turns = [Sent(None, b"%d" % i, i % PARTITIONS) for i in range(COUNT)]
    PRODUCE["aiokafka"](bootstrap, topic, turns, "none")
    records = CONSUME["kafka-python"](bootstrap, topic, COUNT, topic)
    assert set(Counter(r.partition for r in records).values()) == {COUNT // PARTITIONS}


@pytest.mark.parametrize("reader", CONSUME)
def test_a_group_goes_on_where_it_stopped(bootstrap: str, topic: str, reader: str) -> None:
    for first in (0, COUNT):
        sent = keyed(COUNT, first)
        acknowledged = PRODUCE["confluent-kafka"](bootstrap, topic, sent, "none")
        assert set(CONSUME[reader](bootstrap, topic, COUNT, topic)) == set(acknowledged)


def test_an_idempotent_producer_writes_each_record_once(bootstrap: str, topic: str) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0}
    )
    for number in range(COUNT):
        producer.produce(topic, b"%d" % number, partition=0)
        producer.poll(0)
    assert producer.flush(TIMEOUT_S) == 0
    records = CONSUME["aiokafka"](bootstrap, topic, COUNT, topic)
    assert [r.value for r in records] == [b"%d" % number for number in range(COUNT)]


def test_a_missing_topic_is_created_by_a_producer(bootstrap: str) -> None:
    name = f"clients-auto-{uuid.uuid4().hex[:12]}"
    acknowledged = PRODUCE["confluent-kafka"](bootstrap, name, [Sent(None, b"first")], "none")
    assert CONSUME["confluent-kafka"](bootstrap, name, 1, name) == acknowledged

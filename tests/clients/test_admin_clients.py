"""Administration with real clients: topics, partitions, configs, offsets by time, deleted records.

Every client keeps its default settings. Each test makes its own topics on a broker of two nodes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import aiokafka
import aiokafka.admin
import confluent_kafka
import kafka
import kafka.admin
import pytest
from confluent_kafka import admin as confluent

from tests.clients.python_clients import TIMEOUT_S
from tests.house.broker import ServedBroker

TIME_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ServedBroker(tmp_path_factory.mktemp("admin") / "data", ["--workers", "2"]) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def client(bootstrap: str) -> confluent.AdminClient:
    return confluent.AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def name() -> str:
    return f"admin-{uuid.uuid4().hex[:12]}"


def only(futures: dict[Any, Any]) -> Any:
    """The result of a request about one thing."""
    (future,) = futures.values()
    return future.result(TIMEOUT_S)


def code(futures: dict[Any, Any]) -> str:
    """The name of the error of a request about one thing."""
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        only(futures)
    return caught.value.args[0].name()


def timed(bootstrap: str, topic: str, count: int) -> None:
    """`count` records in partition 0, one every 1000 ms."""
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for i in range(count):
        producer.produce(topic, b"%d" % i, partition=0, timestamp=TIME_MS + 1000 * i)
    assert producer.flush(TIMEOUT_S) == 0


# --- confluent-kafka -----------------------------------------------------------------------------


def test_a_topics_life(client: confluent.AdminClient, name: str) -> None:
    only(client.create_topics([confluent.NewTopic(name, 3, 1, config={"retention.ms": "5000"})]))
    partitions = client.list_topics(name, TIMEOUT_S).topics[name].partitions
    assert len(partitions) == 3
    assert {p.leader for p in partitions.values()} == {1, 2}
    only(client.create_partitions([confluent.NewPartitions(name, 5)]))
    assert len(client.list_topics(name, TIMEOUT_S).topics[name].partitions) == 5
    described = only(client.describe_topics(confluent_kafka.TopicCollection([name])))
    assert [len(p.replicas) for p in described.partitions] == [1] * 5
    only(client.delete_topics([name]))
    assert name not in client.list_topics(timeout=TIMEOUT_S).topics


@pytest.mark.parametrize(
    ("topic", "words", "error"),
    [
        ("exists", {}, "TOPIC_ALREADY_EXISTS"),
        ("bad name", {}, "TOPIC_EXCEPTION"),
        ("new", {"replication_factor": 3}, "INVALID_REPLICATION_FACTOR"),
        ("new", {"num_partitions": 0}, "INVALID_PARTITIONS"),
        ("new", {"config": {"retention.ms": "soon"}}, "INVALID_CONFIG"),
        ("new", {"config": {"no.such.config": "1"}}, "INVALID_CONFIG"),
        ("new", {"replica_assignment": [[1, 1]]}, "INVALID_REPLICA_ASSIGNMENT"),
    ],
)
def test_refused_topics(
    client: confluent.AdminClient, name: str, topic: str, words: dict[str, Any], error: str
) -> None:
    only(client.create_topics([confluent.NewTopic(f"{name}.exists", 1, 1)]))
    words = {"num_partitions": 1, **words}
    if "replica_assignment" not in words:
        words.setdefault("replication_factor", 1)
    futures = client.create_topics([confluent.NewTopic(f"{name}.{topic}", **words)])
    assert code(futures) == error
    assert f"{name}.new" not in client.list_topics(timeout=TIMEOUT_S).topics


def test_validation_only(client: confluent.AdminClient, name: str) -> None:
    only(client.create_topics([confluent.NewTopic(name, 1, 1)], validate_only=True))
    assert name not in client.list_topics(timeout=TIMEOUT_S).topics


@pytest.mark.filterwarnings("ignore:alter_configs has been deprecated:DeprecationWarning")
def test_configs(client: confluent.AdminClient, name: str) -> None:
    only(client.create_topics([confluent.NewTopic(name, 1, 1, config={"segment.ms": "9000"})]))
    kind = confluent.ResourceType.TOPIC

    def described() -> dict[str, str]:
        return {
            entry.name: entry.value
            for entry in only(
                client.describe_configs([confluent.ConfigResource(kind, name)])
            ).values()
        }

    assert (described()["segment.ms"], described()["cleanup.policy"]) == ("9000", "delete")
    set_, append = confluent.AlterConfigOpType.SET, confluent.AlterConfigOpType.APPEND
    changes = [
        confluent.ConfigEntry("retention.ms", "7000", incremental_operation=set_),
        confluent.ConfigEntry("cleanup.policy", "compact", incremental_operation=append),
    ]
    resource = confluent.ConfigResource(kind, name, incremental_configs=changes)
    only(client.incremental_alter_configs([resource]))
    now = described()
    assert (now["segment.ms"], now["retention.ms"]) == ("9000", "7000")
    assert now["cleanup.policy"] == "delete,compact"
    replaced = confluent.ConfigResource(kind, name, set_config={"retention.ms": "8000"})
    only(client.alter_configs([replaced]))
    now = described()
    assert (now["segment.ms"], now["retention.ms"]) == ("604800000", "8000")


def test_configs_of_a_broker(client: confluent.AdminClient) -> None:
    broker = confluent.ConfigResource(confluent.ResourceType.BROKER, "1")
    entries = only(client.describe_configs([broker]))
    assert entries["node.id"].value == "1"
    assert entries["log.retention.hours"].value == "168"
    assert len(entries) > 300


def test_the_cluster(client: confluent.AdminClient, bootstrap: str) -> None:
    described = client.describe_cluster().result(TIMEOUT_S)
    addresses = sorted(f"{node.host}:{node.port}" for node in described.nodes)
    assert addresses == sorted(bootstrap.split(","))
    assert described.controller.id in (1, 2)
    assert described.cluster_id


def test_offsets(client: confluent.AdminClient, bootstrap: str, name: str) -> None:
    only(client.create_topics([confluent.NewTopic(name, 1, 1)]))
    timed(bootstrap, name, 10)
    partition = confluent_kafka.TopicPartition(name, 0)
    asked = {
        confluent.OffsetSpec.earliest(): 0,
        confluent.OffsetSpec.latest(): 10,
        confluent.OffsetSpec.max_timestamp(): 9,
        confluent.OffsetSpec.for_timestamp(TIME_MS + 2500): 3,
        confluent.OffsetSpec.for_timestamp(TIME_MS + 2000): 2,
        confluent.OffsetSpec.for_timestamp(TIME_MS + 60000): -1,
    }
    for spec, expected in asked.items():
        assert only(client.list_offsets({partition: spec})).offset == expected


def test_deleted_records(client: confluent.AdminClient, bootstrap: str, name: str) -> None:
    only(client.create_topics([confluent.NewTopic(name, 1, 1)]))
    timed(bootstrap, name, 10)

    def delete(offset: int) -> dict[Any, Any]:
        return client.delete_records([confluent_kafka.TopicPartition(name, 0, offset)])

    assert only(delete(4)).low_watermark == 4
    assert code(delete(11)) == "OFFSET_OUT_OF_RANGE"
    earliest = {confluent_kafka.TopicPartition(name, 0): confluent.OffsetSpec.earliest()}
    assert only(client.list_offsets(earliest)).offset == 4
    consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap.split(","), group_id=None)
    consumer.assign([kafka.TopicPartition(name, 0)])
    consumer.seek_to_beginning()
    first = next(iter(next(iter(consumer.poll(timeout_ms=10000).values()))))
    assert (first.offset, first.value) == (4, b"4")
    consumer.close()
    assert only(delete(-1)).low_watermark == 10


# --- kafka-python --------------------------------------------------------------------------------


def test_kafka_python(bootstrap: str, name: str) -> None:
    servers = bootstrap.split(",")
    client = kafka.KafkaAdminClient(bootstrap_servers=servers)
    try:
        client.create_topics([kafka.admin.NewTopic(name, 2, 1)])
        assert name in client.list_topics()
        client.create_partitions({name: kafka.admin.NewPartitions(4)})
        timed(bootstrap, name, 5)
        consumer = kafka.KafkaConsumer(bootstrap_servers=servers, group_id=None)
        partition = kafka.TopicPartition(name, 0)
        assert consumer.partitions_for_topic(name) == {0, 1, 2, 3}
        assert consumer.beginning_offsets([partition]) == {partition: 0}
        assert consumer.end_offsets([partition]) == {partition: 5}
        found = consumer.offsets_for_times({partition: TIME_MS + 1500})[partition]
        assert (found.offset, found.timestamp) == (2, TIME_MS + 2000)
        assert consumer.offsets_for_times({partition: TIME_MS + 60000}) == {partition: None}
        consumer.close()
        client.delete_topics([name])
        assert name not in client.list_topics()
    finally:
        client.close()


# --- aiokafka ------------------------------------------------------------------------------------


async def test_aiokafka(bootstrap: str, name: str) -> None:
    client = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        await client.create_topics([aiokafka.admin.NewTopic(name, 2, 1)])
        assert name in await client.list_topics()
        timed(bootstrap, name, 5)
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap)
        await consumer.start()
        partition = aiokafka.TopicPartition(name, 0)
        assert await consumer.beginning_offsets([partition]) == {partition: 0}
        assert await consumer.end_offsets([partition]) == {partition: 5}
        found = (await consumer.offsets_for_times({partition: TIME_MS + 1500}))[partition]
        assert (found.offset, found.timestamp) == (2, TIME_MS + 2000)
        await consumer.stop()
        await client.delete_topics([name])
        assert name not in await client.list_topics()
    finally:
        await client.close()

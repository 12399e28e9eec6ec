"""Administration of groups with real clients: list, describe, move, delete.

Every client keeps its default settings. The broker has two nodes, and the groups' coordinators are
on both.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiokafka
import aiokafka.admin
import confluent_kafka
import kafka
import kafka.admin
import kafka.errors
import pytest
from confluent_kafka import admin as confluent

from tests.clients.python_clients import TIMEOUT_S
from tests.house.broker import ServedBroker
from tidelog.coordinator.partitioning import coordinator_partition

RECORDS = 5


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ServedBroker(tmp_path_factory.mktemp("groups") / "data", ["--workers", "2"]) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def client(bootstrap: str) -> confluent.AdminClient:
    return confluent.AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def topic(client: confluent.AdminClient, bootstrap: str) -> str:
    """A topic with some records in each of its two partitions."""
    name = f"groups-{uuid.uuid4().hex[:12]}"
    only(client.create_topics([confluent.NewTopic(name, 2, 1)]))
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for partition in (0, 1):
        for n in range(RECORDS):
            producer.produce(name, b"%d" % n, partition=partition)
    assert producer.flush(TIMEOUT_S) == 0
    return name


def only(futures: dict[Any, Any]) -> Any:
    (future,) = futures.values()
    return future.result(TIMEOUT_S)


def refused(futures: dict[Any, Any]) -> str:
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        only(futures)
    return str(caught.value.args[0].name())


def pair() -> tuple[str, str]:
    """Names of two groups whose coordinators are different nodes: neighbours in the partitions of
    the offsets topic.
    """
    while True:
        names = (uuid.uuid4().hex, uuid.uuid4().hex)
        if sum(coordinator_partition(name, 50) for name in names) % 2:
            return names


@contextmanager
def member(bootstrap: str, group: str, topic: str) -> Iterator[None]:
    """A live member that has read and committed everything."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "client.id": "me",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(2 * RECORDS, TIMEOUT_S)
        assert len(messages) == 2 * RECORDS
        consumer.commit(asynchronous=False)
        yield
    finally:
        consumer.close()


def test_confluent_kafka(client: confluent.AdminClient, bootstrap: str, topic: str) -> None:
    names = pair()
    both = [confluent_kafka.TopicPartition(topic, index) for index in (0, 1)]

    def listed(**filters: Any) -> dict[str, tuple[str, str]]:
        found = client.list_consumer_groups(**filters).result(TIMEOUT_S)
        assert found.errors == []
        return {
            group.group_id: (group.state.name, group.type.name)
            for group in found.valid
            if group.group_id in names
        }

    for name in names:
        with member(bootstrap, name, topic):
            assert listed()[name] == ("STABLE", "CLASSIC")
            described = only(client.describe_consumer_groups([name]))
            assert described.state.name == "STABLE"
            assert described.partition_assignor == "range"
            (one,) = described.members
            assert (one.client_id, one.host) == ("me", "/127.0.0.1")
            assert sorted(one.assignment.topic_partitions) == both
            assert refused(client.delete_consumer_groups([name])) == "NON_EMPTY_GROUP"
    states = {confluent_kafka.ConsumerGroupState.EMPTY}
    assert listed(states=states) == dict.fromkeys(names, ("EMPTY", "CLASSIC"))
    assert listed(states={confluent_kafka.ConsumerGroupState.STABLE}) == {}
    described = client.describe_consumer_groups(list(names), include_authorized_operations=True)
    results = {name: future.result(TIMEOUT_S) for name, future in described.items()}
    coordinators = {each.coordinator.id for each in results.values()}
    assert coordinators == {1, 2}
    assert all(each.authorized_operations for each in results.values())

    moved = [confluent_kafka.TopicPartition(topic, 0, 2)]
    asked = confluent_kafka.ConsumerGroupTopicPartitions(names[0], moved)
    only(client.alter_consumer_group_offsets([asked]))
    asked = confluent_kafka.ConsumerGroupTopicPartitions(names[0])
    offsets = only(client.list_consumer_group_offsets([asked])).topic_partitions
    assert {each.partition: each.offset for each in offsets} == {0: 2, 1: RECORDS}

    deleted = client.delete_consumer_groups(list(names))
    assert [future.result(TIMEOUT_S) for future in deleted.values()] == [None, None]
    assert listed() == {}
    assert refused(client.delete_consumer_groups([names[0]])) == "GROUP_ID_NOT_FOUND"


def test_kafka_python(bootstrap: str, topic: str) -> None:
    client = kafka.KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    names = pair()
    first, second = (kafka.TopicPartition(topic, index) for index in (0, 1))
    try:
        for name in names:
            with member(bootstrap, name, topic):
                described = client.describe_groups([name])[name]
                assert described["group_state"] == "Stable"
                assert [each["client_id"] for each in described["members"]] == ["me"]
                assert client.delete_group_offsets(name, [first]) == {
                    first: kafka.errors.GroupSubscribedToTopicError
                }
        listed = client.list_groups(states_filter=["Empty"], types_filter=["classic"])
        assert set(names) <= {each["group_id"] for each in listed}
        assert client.reset_group_offsets(names[0], {first: kafka.admin.OffsetSpec.EARLIEST}) == {
            first: {"error": kafka.errors.NoError, "offset": 0}
        }
        found = client.list_group_offsets({names[0]: [first, second]})[names[0]]
        assert (found[first].offset, found[second].offset) == (0, RECORDS)
        assert client.delete_group_offsets(names[0], [first]) == {first: kafka.errors.NoError}
        assert list(client.list_group_offsets(names[0])[names[0]]) == [second]
        client.delete_groups(list(names))
        assert not set(names) & {each["group_id"] for each in client.list_groups()}
    finally:
        client.close()


async def test_aiokafka(bootstrap: str, topic: str) -> None:
    names = pair()
    client = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        for name in names:
            consumer = aiokafka.AIOKafkaConsumer(
                topic, bootstrap_servers=bootstrap, group_id=name, auto_offset_reset="earliest"
            )
            await consumer.start()
            await consumer.getone()
            (answer,) = await client.describe_consumer_groups([name])
            ((code, group_id, state, kind, *_),) = answer.groups
            assert (code, group_id, state, kind) == (0, name, "Stable", "consumer")
            await consumer.stop()
        assert {(name, "consumer") for name in names} <= set(await client.list_consumer_groups())
        offsets = await client.list_consumer_group_offsets(names[0])
        assert {each.topic for each in offsets} == {topic}
    finally:
        await client.close()


def test_what_was_deleted_stays_away_after_a_kill(tmp_path: Path) -> None:
    with ServedBroker(tmp_path / "data", ["--workers", "2"]) as broker:
        client = confluent.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        only(client.create_topics([confluent.NewTopic("t", 2, 1)]))
        kept, deleted = pair()
        for name in (kept, deleted):
            offsets = [confluent_kafka.TopicPartition("t", index, 3) for index in (0, 1)]
            asked = confluent_kafka.ConsumerGroupTopicPartitions(name, offsets)
            only(client.alter_consumer_group_offsets([asked]))
        only(client.delete_consumer_groups([deleted]))
        broker.kill()
        broker.start()
        client = confluent.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        found = client.list_consumer_groups().result(TIMEOUT_S)
        while found.errors:  # A node is still loading its groups.
            found = client.list_consumer_groups().result(TIMEOUT_S)
        assert [each.group_id for each in found.valid] == [kept]
        asked = confluent_kafka.ConsumerGroupTopicPartitions(kept)
        offsets = only(client.list_consumer_group_offsets([asked])).topic_partitions
        assert [each.offset for each in offsets] == [3, 3]

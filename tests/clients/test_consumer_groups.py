"""Consumer groups of KIP-848 with real clients: confluent-kafka with `group.protocol=consumer`, and
others that speak the classic protocol beside it.

Every client keeps its other default settings. The broker has two nodes.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiokafka
import confluent_kafka
import kafka
import pytest
from confluent_kafka import admin as confluent

from tests.clients.python_clients import TIMEOUT_S
from tests.clients.test_restarts import kill_worker
from tests.house.broker import ServedBroker

PARTITIONS = 4
#: Members learn soon of what concerns them.
ARGUMENTS = (
    "--workers", "2",
    "--set", "group.consumer.min.heartbeat.interval.ms=100",
    "--set", "group.consumer.heartbeat.interval.ms=200",
)  # fmt: skip
RECORDS = 40


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data_dir = tmp_path_factory.mktemp("consumer-groups") / "data"
    with ServedBroker(data_dir, ARGUMENTS) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def client(bootstrap: str) -> confluent.AdminClient:
    return confluent.AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def name() -> str:
    return f"new-{uuid.uuid4().hex[:12]}"


def create(client: confluent.AdminClient, topic: str) -> None:
    (future,) = client.create_topics([confluent.NewTopic(topic, PARTITIONS, 1)]).values()
    future.result(TIMEOUT_S)


def produce(bootstrap: str, topic: str, first: int) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for n in range(first, first + RECORDS):
        producer.produce(topic, b"%d" % n, partition=n % PARTITIONS)
    assert producer.flush(TIMEOUT_S) == 0


class Member:
    """A consumer that keeps what it read."""

    def __init__(self, bootstrap: str, group: str, topic: str, **settings: Any) -> None:
        self.consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "group.protocol": "consumer",
                "auto.offset.reset": "earliest",
                **settings,
            }
        )
        self.consumer.subscribe([topic])
        self.read: list[int] = []

    def poll(self) -> None:
        message = self.consumer.poll(0.02)
        if message is not None:
            assert message.error() is None, message.error()
            self.read.append(int(message.value()))

    @property
    def partitions(self) -> set[tuple[str, int]]:
        return {(each.topic, each.partition) for each in self.consumer.assignment()}


def poll_until(members: list[Member], condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        for member in members:
            member.poll()


def test_members_share_the_partitions(
    client: confluent.AdminClient, bootstrap: str, name: str
) -> None:
    create(client, name)
    produce(bootstrap, name, 0)
    first = Member(bootstrap, name, name)
    poll_until([first], lambda: len(first.read) == RECORDS, "the first one reads everything")
    second = Member(bootstrap, name, name)
    both = [first, second]
    poll_until(
        both, lambda: [len(each.partitions) for each in both] == [2, 2], "they share the partitions"
    )
    assert not first.partitions & second.partitions
    produce(bootstrap, name, RECORDS)
    poll_until(
        both, lambda: len(first.read) + len(second.read) >= 2 * RECORDS, "both read what comes"
    )
    assert Counter(first.read + second.read) == Counter(range(2 * RECORDS))
    described = client.describe_consumer_groups([name])[name].result(TIMEOUT_S)
    assert (described.state.name, described.type.name) == ("STABLE", "CONSUMER")
    assert sorted(len(each.assignment.topic_partitions) for each in described.members) == [2, 2]
    first.consumer.close()
    poll_until([second], lambda: len(second.partitions) == PARTITIONS, "one has them all")
    produce(bootstrap, name, 2 * RECORDS)
    before = len(second.read)
    poll_until([second], lambda: len(second.read) == before + RECORDS, "it reads them all")
    second.consumer.close()
    assert Counter(first.read + second.read) == Counter(range(3 * RECORDS))


def test_topics_by_a_pattern(client: confluent.AdminClient, bootstrap: str, name: str) -> None:
    create(client, f"{name}.a")
    member = Member(bootstrap, name, f"^{name}[.][a-z]")
    poll_until([member], lambda: len(member.partitions) == PARTITIONS, "the topic is found")
    create(client, f"{name}.b")
    create(client, f"{name}.other")
    poll_until([member], lambda: len(member.partitions) == 2 * PARTITIONS, "so is a new one")
    assert {topic for topic, _ in member.partitions} == {f"{name}.a", f"{name}.b"}
    member.consumer.close()


def test_a_static_member_comes_back(
    client: confluent.AdminClient, bootstrap: str, name: str
) -> None:
    create(client, name)
    other = Member(bootstrap, name, name)
    static = Member(bootstrap, name, name, **{"group.instance.id": "one"})
    poll_until(
        [other, static],
        lambda: (len(static.partitions), len(other.partitions)) == (2, 2),
        "they share the partitions",
    )
    kept = static.partitions
    static.consumer.close()
    static = Member(bootstrap, name, name, **{"group.instance.id": "one"})
    poll_until([other, static], lambda: len(static.partitions) == 2, "it has partitions again")
    assert static.partitions == kept
    assert len(other.partitions) == 2
    for each in (other, static):
        each.consumer.close()


def test_a_group_outlives_its_coordinator(tmp_path: Path) -> None:
    """Both workers are killed, one after the other: the members go on, and nothing is lost."""
    with ServedBroker(tmp_path / "data", ARGUMENTS) as broker:
        bootstrap = broker.bootstrap_servers
        client = confluent.AdminClient({"bootstrap.servers": bootstrap})
        create(client, "t")
        members = [Member(bootstrap, "g", "t") for _ in range(2)]
        poll_until(
            members,
            lambda: sorted(len(each.partitions) for each in members) == [2, 2],
            "they share the partitions",
        )
        shared = [each.partitions for each in members]
        for turn, node in enumerate((1, 2)):
            kill_worker(broker, node)
            produce(bootstrap, "t", turn * RECORDS)
            poll_until(
                members,
                lambda turn=turn: (
                    {n for each in members for n in each.read} == set(range((turn + 1) * RECORDS))
                ),
                "everything is read",
            )
        assert [each.partitions for each in members] == shared
        described = client.describe_consumer_groups(["g"])["g"].result(TIMEOUT_S)
        assert len(described.members) == 2
        for each in members:
            each.consumer.close()


def test_a_group_without_members_changes_its_protocol(
    client: confluent.AdminClient, bootstrap: str, name: str
) -> None:
    """Its committed offsets stay."""
    create(client, name)
    read: list[int] = []
    for turn, protocol in enumerate(("classic", "consumer", "classic")):
        produce(bootstrap, name, turn * RECORDS)
        member = Member(bootstrap, name, name, **{"group.protocol": protocol})
        poll_until([member], lambda m=member: len(m.read) >= RECORDS, "it reads what is new")
        read += member.read
        member.consumer.close()
    assert Counter(read) == Counter(range(3 * RECORDS))


async def test_clients_that_know_only_the_classic_protocol_come_in(
    client: confluent.AdminClient, bootstrap: str, name: str
) -> None:
    """aiokafka and kafka-python beside a consumer of the new protocol."""
    create(client, name)
    words: dict[str, Any] = {"group_id": name, "heartbeat_interval_ms": 200}
    member = Member(bootstrap, name, name)
    poll_until([member], lambda: len(member.partitions) == PARTITIONS, "it has everything")
    python = kafka.KafkaConsumer(name, bootstrap_servers=bootstrap.split(","), **words)
    aio = aiokafka.AIOKafkaConsumer(name, bootstrap_servers=bootstrap, **words)
    starting = asyncio.create_task(aio.start())
    deadline = time.monotonic() + TIMEOUT_S
    shares: list[set[tuple[str, int]]] = []
    while not starting.done() or not all(shares) or sum(map(len, shares)) != PARTITIONS:
        assert time.monotonic() < deadline, shares
        await asyncio.to_thread(member.poll)
        await asyncio.to_thread(python.poll, 20)
        shares = [
            member.partitions,
            {(each.topic, each.partition) for each in python.assignment()},
            {(each.topic, each.partition) for each in aio.assignment()},
        ]
    await starting
    assert len(set.union(*shares)) == PARTITIONS
    await aio.stop()
    python.close()
    poll_until([member], lambda: len(member.partitions) == PARTITIONS, "it gets everything back")
    member.consumer.close()


def test_a_running_group_changes_its_protocol_member_by_member(
    client: confluent.AdminClient, bootstrap: str, name: str
) -> None:
    """There and back. Members of both protocols share the partitions meanwhile, and nothing is
    lost.
    """
    create(client, name)
    classic = {"group.protocol": "classic", "heartbeat.interval.ms": 200}
    old = [Member(bootstrap, name, name, **classic) for _ in range(2)]
    everybody = list(old)

    def shared(members: list[Member]) -> bool:
        owned = [each.partitions for each in members]
        return sum(map(len, owned)) == PARTITIONS == len(set().union(*owned)) and all(owned)

    def read_all(members: list[Member], turn: int) -> None:
        poll_until(members, lambda: shared(members), "they share the partitions")
        produce(bootstrap, name, turn * RECORDS)
        poll_until(
            members,
            lambda: (
                {n for each in everybody for n in each.read} == set(range((turn + 1) * RECORDS))
            ),
            "everything is read",
        )

    read_all(old, 0)
    new = [Member(bootstrap, name, name)]
    everybody += new
    read_all(old + new, 1)
    old[0].consumer.close()
    new.append(Member(bootstrap, name, name))
    everybody.append(new[1])
    read_all([old[1], *new], 2)
    old[1].consumer.close()
    read_all(new, 3)
    described = client.describe_consumer_groups([name])[name].result(TIMEOUT_S)
    assert (described.type.name, len(described.members)) == ("CONSUMER", 2)
    old = [Member(bootstrap, name, name, **classic)]
    everybody += old
    read_all(old + new, 4)
    for each in new:
        each.consumer.close()
    old.append(Member(bootstrap, name, name, **classic))
    everybody.append(old[1])
    read_all(old, 5)
    listed = client.list_consumer_groups().result(TIMEOUT_S).valid
    (group,) = (each for each in listed if each.group_id == name)
    assert (group.type.name, group.state.name) == ("CLASSIC", "STABLE")
    for each in old:
        each.consumer.close()

"""Throttled replication (KIP-73) between three nodes: a partition that moves takes the time that
its quota wants, and nobody else notices.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import admin

from tests.clients.scrapes import scrape
from tests.clients.test_replication import TIMEOUT_S, reassign
from tests.clients.test_restarts import wait_for
from tests.house.broker import ServedBroker

RATE = 5_000_000
NODES = (1, 2, 3)
SIDES = ("leader", "follower")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ServedBroker]:
    words = ["--workers", "3", "--metrics", "127.0.0.1:0"]
    with ServedBroker(tmp_path / "data", words) as served:
        yield served


class Cluster:
    """Topics, and configs as kafka-reassign-partitions sets them."""

    def __init__(self, broker: ServedBroker) -> None:
        self.broker = broker
        self.client = admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers})

    def create(self, name: str, *replicas: int, **configs: str) -> None:
        configs = {key.replace("_", "."): value for key, value in configs.items()}
        topic = admin.NewTopic(name, 1, replica_assignment=[list(replicas)], config=configs)
        self.client.create_topics([topic])[name].result(TIMEOUT_S)

    def producer(self, **configs: object) -> confluent_kafka.Producer:
        return confluent_kafka.Producer(
            {"bootstrap.servers": self.broker.bootstrap_servers, "acks": "all"} | configs
        )

    def fill(self, topic: str, size: int) -> None:
        producer = self.producer(**{"linger.ms": 5})
        for _ in range(size // 100_000):
            producer.produce(topic, bytes(100_000), partition=0)
            producer.poll(0)
        assert producer.flush(TIMEOUT_S) == 0

    def partition(self, topic: str) -> Any:
        return self.client.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions[0]

    def moved(self, topic: str, *replicas: int) -> bool:
        found = self.partition(topic)
        return sorted(found.replicas) == sorted(found.isrs) == sorted(replicas)

    def set_rates(self, rate: int | None, *sides: str) -> None:
        names = [f"{side}.replication.throttled.rate" for side in sides]
        self._alter(admin.ResourceType.BROKER, [str(node) for node in NODES], names, rate)

    def set_replicas(self, topic: str, replicas: str | None, *sides: str) -> None:
        names = [f"{side}.replication.throttled.replicas" for side in sides]
        self._alter(admin.ResourceType.TOPIC, [topic], names, replicas)

    def _alter(
        self, kind: Any, resources: list[str], names: list[str], value: int | str | None
    ) -> None:
        how = admin.AlterConfigOpType.DELETE if value is None else admin.AlterConfigOpType.SET
        text = None if value is None else str(value)
        entries = [admin.ConfigEntry(name, text, incremental_operation=how) for name in names]
        for resource in resources:
            asked = admin.ConfigResource(kind, resource, incremental_configs=entries)
            for future in self.client.incremental_alter_configs([asked]).values():
                future.result(TIMEOUT_S)

    def charged(self, side: str) -> float:
        found = scrape(self.broker.metrics)
        return found.total("tidelog_throttled_replication_bytes_total", side=side)


@pytest.mark.parametrize("sides", [("leader",), ("follower",), SIDES], ids="-".join)
def test_a_move_keeps_its_rate(broker: ServedBroker, sides: tuple[str, ...]) -> None:
    size = 30_000_000 if sides == SIDES else 15_000_000
    cluster = Cluster(broker)
    cluster.create("moved", 1)
    cluster.fill("moved", size)
    cluster.create("beside", 1, 2, 3, min_insync_replicas="3")
    beside = Beside(cluster)
    beside.write_once()
    cluster.set_rates(RATE, *sides)
    for side, replicas in (("leader", "0:1"), ("follower", "0:2,0:3")):
        if side in sides:
            cluster.set_replicas("moved", replicas, side)
    began_s = time.monotonic()
    reassign(broker.bootstrap_servers, "moved", [2])
    while not cluster.moved("moved", 2):
        assert time.monotonic() - began_s < TIMEOUT_S
        beside.write_once()
    took_s = time.monotonic() - began_s
    # (Not how long it took, but that it was not faster than the quota lets it be.)
    assert size / took_s < 2 * RATE
    assert beside.written > 50
    for side in SIDES:
        assert (cluster.charged(side) >= size) == (side in sides)


class Beside:
    """Someone who writes to a topic whose replicas all have to be in sync, and are throttled by
    nothing.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.written = 0
        self._producer = cluster.producer(**{"retries": 0, "linger.ms": 0})

    def write_once(self) -> None:
        answers: list[Any] = []
        self._producer.produce(
            "beside", b"x" * 1000, partition=0, on_delivery=lambda error, _: answers.append(error)
        )
        assert self._producer.flush(TIMEOUT_S) == 0
        assert answers == [None]
        assert sorted(self.cluster.partition("beside").isrs) == list(NODES)
        self.written += 1


@pytest.mark.parametrize("sides", [("leader",), ("follower",)], ids="-".join)
@pytest.mark.parametrize("end", ["rate", "replicas"])
def test_it_ends_when_it_is_taken_away(
    broker: ServedBroker, sides: tuple[str, ...], end: str
) -> None:
    """At this rate the move would take an hour."""
    cluster = Cluster(broker)
    cluster.create("moved", 1)
    cluster.fill("moved", 10_000_000)
    cluster.set_rates(3000, *sides)
    cluster.set_replicas("moved", "*", *sides)
    reassign(broker.bootstrap_servers, "moved", [2])
    wait_for(lambda: cluster.charged(sides[0]) > 0, "something is copied")
    assert not cluster.moved("moved", 2)
    if end == "rate":
        cluster.set_rates(None, *sides)
    else:
        cluster.set_replicas("moved", None, *sides)
    wait_for(lambda: cluster.moved("moved", 2), "the partition has moved")


def test_who_is_in_sync_is_not_throttled(broker: ServedBroker) -> None:
    """A rate of one byte, on both sides: who is in sync stays it, and acks=all is answered."""
    cluster = Cluster(broker)
    cluster.create("beside", 1, 2, 3, min_insync_replicas="3")
    cluster.set_rates(1, *SIDES)
    cluster.set_replicas("beside", "*", *SIDES)
    beside = Beside(cluster)
    for _ in range(200):
        beside.write_once()
    for side in SIDES:
        assert cluster.charged(side) > 2 * 200 * 1000

"""Client quotas hold on every node by itself, over real sockets, and outlive a restart.

What an answer says is compared with Apache Kafka's in `tests/compat/parity`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.compat.parity.batches import Batch, Record
from tests.compat.parity.scenarios_produce import producing
from tests.compat.parity.scenarios_quotas import found, set_quotas
from tests.compat.parity.session import Closed, Connection, Session, wait_until
from tests.house.broker import ServedBroker
from tidelog.protocol.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataResponse
from tidelog.protocol.schema import Request


class Cluster:
    """A broker with so many workers, and a topic with a partition on each node."""

    def __init__(self, data_dir: Path, workers: int) -> None:
        self.served = ServedBroker(data_dir, ["--workers", str(workers)])
        self.served.start()
        self.workers = workers
        self._look()
        nodes = [
            CreatableReplicaAssignment(partition_index=index, broker_ids=[index + 1])
            for index in range(workers)
        ]
        topic = CreatableTopic(
            name="q", num_partitions=-1, replication_factor=-1, assignments=nodes
        )
        request = CreateTopicsRequest(topics=[topic], timeout_ms=10_000)
        answer = self.nodes[0].call(request, 7, CreateTopicsResponse)
        assert answer.topics[0].error_code == 0, answer

    def _look(self) -> None:
        host, _, port = self.served.bootstrap_servers.partition(",")[0].rpartition(":")
        first = Session(host, int(port))
        brokers = first.call(MetadataRequest(topics=[]), 9, MetadataResponse).brokers
        first.close()
        assert len(brokers) == self.workers
        #: One session for each node, by its id.
        self.nodes = [
            Session(each.host, each.port) for each in sorted(brokers, key=lambda b: b.node_id)
        ]

    def restart(self) -> None:
        self.close_sessions()
        self.served.stop()
        self.served.start()
        self._look()

    def close_sessions(self) -> None:
        for node in self.nodes:
            node.close()


@pytest.fixture(params=[1, 3], ids=["one worker", "three workers"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path / "data", request.param)
    try:
        yield running
    finally:
        running.close_sessions()
        running.served.stop()


def ask(connection: Connection, message: Request, version: int, client_id: str) -> Any:
    connection.send(message, version, client_id)
    return connection.answer(message, version)


def until_throttled(connection: Connection, message: Request, version: int, client: str) -> int:
    """How many requests were answered before one that tells a throttle time."""
    for count in range(200):
        if ask(connection, message, version, client).throttle_time_ms:
            return count
    raise AssertionError("never throttled")


def on_every_node(cluster: Cluster, entity: dict[str, str | None], **ops: float | None) -> None:
    """The alteration is answered when every node goes by it."""
    set_quotas(cluster.nodes[0], entity, **ops)


RECORDS = Batch([Record(value=b"x" * 1000) for _ in range(10)]).encode()


def test_bytes_are_measured_by_every_node_for_itself(cluster: Cluster) -> None:
    on_every_node(cluster, {"client-id": "c"}, producer_byte_rate=5_000)
    for index, node in enumerate(cluster.nodes):
        message = producing("q", RECORDS, partition=index)
        connection = node.connect()
        # Ten seconds' worth are five of them, here as well as on the nodes before.
        assert 2 <= until_throttled(connection, message, 9, "c") <= 5
        connection.close()
        other = node.connect()
        assert ask(other, message, 9, "d").throttle_time_ms == 0
        other.close()


def test_a_quota_of_nearly_nothing_lets_each_node_answer_once(cluster: Cluster) -> None:
    """The share of time is that of one loop: it is used up on each node by itself."""
    on_every_node(cluster, {"user": "ANONYMOUS"}, request_percentage=1e-9)
    for node in cluster.nodes:
        connection = node.connect()
        answer = ask(connection, MetadataRequest(topics=[]), 9, "any")
        assert answer.throttle_time_ms == 1000
        connection.close()


def test_a_share_of_a_whole_loop_holds_nobody(cluster: Cluster) -> None:
    """100 % are all the time that there is, on one node as on three."""
    on_every_node(cluster, {"user": "ANONYMOUS"}, request_percentage=100)
    for node in cluster.nodes:
        connection = node.connect()
        for _ in range(300):
            answer = ask(connection, MetadataRequest(topics=[]), 9, "any")
            assert answer.throttle_time_ms == 0
        connection.close()


def test_connections_of_an_address(cluster: Cluster) -> None:
    on_every_node(cluster, {"ip": "127.0.0.1"}, connection_creation_rate=2)
    for node in cluster.nodes:
        answered, opened = 0, []
        for _ in range(25):
            connection = node.connect()
            opened.append(connection)
            try:
                ask(connection, MetadataRequest(topics=[]), 9, "c")
            except (TimeoutError, Closed):
                break
            answered += 1
        # Twenty in the window, some of which are older than the quota or came while it refilled.
        assert 15 <= answered <= 24
        for connection in opened:
            connection.close()


def test_quotas_outlive_a_restart(cluster: Cluster) -> None:
    entity: dict[str, str | None] = {"user": None, "client-id": "c"}
    on_every_node(cluster, entity, producer_byte_rate=5_000, request_percentage=200.5)
    cluster.restart()
    for node in cluster.nodes:
        wait_until(lambda node=node: bool(found(node).entries), "the quotas are gone")  # type: ignore[misc]
        (entry,) = found(node).entries or []
        assert {each.key: each.value for each in entry.values} == {
            "producer_byte_rate": 5000.0,
            "request_percentage": 200.5,
        }
    node = cluster.nodes[-1]
    message = producing("q", RECORDS, partition=cluster.workers - 1)
    connection = node.connect()
    assert 2 <= until_throttled(connection, message, 9, "c") <= 5
    connection.close()


def test_a_client_library_is_held_and_loses_nothing(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", 1)
    try:
        node = cluster.nodes[0]
        set_quotas(node, {"client-id": "slow"}, producer_byte_rate=20_000)
        set_quotas(node, {"client-id": "slow reader"}, consumer_byte_rate=20_000)
        bootstrap = cluster.served.bootstrap_servers
        told: list[float] = []
        producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "client.id": "slow",
                "linger.ms": 0,
                "throttle_cb": lambda event: told.append(event.throttle_time),
            }
        )
        # A little more than the ten seconds' worth that may come at once.
        values = [f"{number:04}".encode() * 250 for number in range(210)]
        for value in values:
            producer.produce("q", value)
            producer.poll(0)
        assert producer.flush(60) == 0
        while not any(told):
            producer.poll(0.1)
        read: list[bytes | None] = []
        reader = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "client.id": "slow reader",
                "group.id": "g",
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": 50_000,
            }
        )
        reader.assign([TopicPartition("q", 0, 0)])
        while len(read) < len(values):
            read.extend(message.value() for message in reader.consume(100, 1))
        reader.close()
        assert read == values
    finally:
        cluster.close_sessions()
        cluster.served.stop()

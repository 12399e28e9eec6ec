"""Three nodes of one host with three copies of each partition: what clients have while nodes die,
stop and return, and what the nodes' files hold afterwards.

Only ever signals processes of the broker that the test started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import kafka
import kafka.errors
import pytest
from confluent_kafka import admin

from tests.clients.test_restarts import kill_worker, wait_for, workers
from tests.house.broker import ServedBroker

TIMEOUT_S = 30.0
TOPIC = "copied"
PARTITIONS = 3


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ServedBroker]:
    words = ["--workers", "3", "--set", "replica.lag.time.max.ms=2000"]
    with ServedBroker(tmp_path / "data", words) as served:
        yield served


class Cluster:
    """A topic with three replicas, and a writer that remembers what was acknowledged."""

    def __init__(self, broker: ServedBroker, min_isr: int = 2, replicas: int = 3) -> None:
        self.replicas = replicas
        self.connect(broker)
        config = {"min.insync.replicas": str(min_isr)}
        topic = admin.NewTopic(TOPIC, PARTITIONS, replicas, config=config)
        self.client.create_topics([topic])[TOPIC].result(TIMEOUT_S)
        self.acknowledged: dict[tuple[int, int], bytes] = {}
        self.errors: list[Any] = []
        self.longest_gap_s = 0.0
        self._last_s = time.monotonic()
        self._sent = 0

    def connect(self, broker: ServedBroker) -> None:
        """To a broker, or to its next life at other ports."""
        self.broker = broker
        self.client = admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        self.producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": broker.bootstrap_servers,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 1,
                "retry.backoff.ms": 20,
            }
        )

    def partition(self, index: int = 0) -> Any:
        topics = self.client.list_topics(TOPIC, timeout=TIMEOUT_S).topics
        return topics[TOPIC].partitions[index]

    def all_in_sync(self) -> bool:
        topics = self.client.list_topics(TOPIC, timeout=TIMEOUT_S).topics
        return all(len(each.isrs) == self.replicas for each in topics[TOPIC].partitions.values())

    def write(self, seconds: float) -> None:
        """As fast as answers come, bounded."""
        self._last_s = time.monotonic()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._sent - len(self.acknowledged) - len(self.errors) < 200:
                value = b"%d" % self._sent
                self.producer.produce(
                    TOPIC, value, partition=self._sent % PARTITIONS, on_delivery=self._delivered
                )
                self._sent += 1
            self.producer.poll(0.001)
        assert self.producer.flush(TIMEOUT_S) == 0

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self.errors.append(error)
            return
        now = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now - self._last_s)
        self._last_s = now
        self.acknowledged[message.partition(), message.offset()] = message.value()

    def read(self) -> dict[tuple[int, int], bytes]:
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.broker.bootstrap_servers, "group.id": "none"}
        )
        parts = [confluent_kafka.TopicPartition(TOPIC, i, 0) for i in range(PARTITIONS)]
        ends = {p.partition: consumer.get_watermark_offsets(p, TIMEOUT_S)[1] for p in parts}
        consumer.assign(parts)
        found: dict[tuple[int, int], bytes] = {}
        deadline = time.monotonic() + TIMEOUT_S
        while len(found) < sum(ends.values()):
            assert time.monotonic() < deadline, f"{len(found)} of {sum(ends.values())} read"
            for message in consumer.consume(1000, 0.2):
                assert message.error() is None
                found[message.partition(), message.offset()] = message.value()
        consumer.close()
        return found

    def check(self) -> None:
        """Everything acknowledged is there, once, and nothing else."""
        assert self.errors == []
        assert self.read() == self.acknowledged
        assert len(set(self.acknowledged.values())) == len(self.acknowledged) == self._sent


def test_every_node_has_the_same_bytes(broker: ServedBroker, tmp_path: Path) -> None:
    cluster = Cluster(broker)
    cluster.write(1.0)
    cluster.check()
    assert cluster.all_in_sync()
    broker.stop()
    for index in range(PARTITIONS):
        logs = {
            (tmp_path / "data" / f"node-{node}" / f"{TOPIC}-{index}" / f"{0:020d}.log").read_bytes()
            for node in (1, 2, 3)
        }
        assert len(logs) == 1
    for node in (1, 2, 3):
        # (After a clean stop every node knows how much is committed: all of it.)
        path = tmp_path / "data" / f"node-{node}" / "replication-offset-checkpoint"
        marks = dict(line.rsplit(" ", 1) for line in path.read_text().splitlines()[2:])
        for index in range(PARTITIONS):
            end = 1 + max(offset for p, offset in cluster.acknowledged if p == index)
            assert int(marks[f"{TOPIC} {index}"]) <= end


def test_killed_leaders_lose_and_double_nothing(broker: ServedBroker) -> None:
    cluster = Cluster(broker)
    cluster.write(0.5)
    for _ in range(6):
        wait_for(cluster.all_in_sync, "all replicas are in sync")
        leader = cluster.partition().leader
        os.kill(workers(broker)[leader], signal.SIGKILL)
        cluster.write(0.7)
        assert cluster.partition().leader != leader
    wait_for(cluster.all_in_sync, "all replicas are in sync")
    cluster.check()
    # (A death is seen at once and another leads; no test asserts a time, but a session timeout
    # would be seen here.)
    assert cluster.longest_gap_s < 9.0


def test_a_node_that_stops_in_order_hands_over_first(broker: ServedBroker) -> None:
    """Every one in turn: no produce fails, and the leaders are others before it is gone."""
    cluster = Cluster(broker)
    cluster.write(0.3)
    for node in (1, 2, 3):
        wait_for(cluster.all_in_sync, "all replicas are in sync")
        stopped = workers(broker)[node]
        os.kill(stopped, signal.SIGTERM)
        cluster.write(0.7)
        wait_for(
            lambda node=node, stopped=stopped: workers(broker).get(node, stopped) != stopped,  # type: ignore[misc]
            f"node {node} is back",
        )
    wait_for(cluster.all_in_sync, "all replicas are in sync")
    cluster.check()


def test_everything_stops_and_starts(broker: ServedBroker, tmp_path: Path) -> None:
    cluster = Cluster(broker)
    cluster.write(0.5)
    broker.stop()
    with ServedBroker(tmp_path / "data", ["--workers", "3"]) as again:
        cluster.broker = again
        cluster.client = admin.AdminClient({"bootstrap.servers": again.bootstrap_servers})
        wait_for(cluster.all_in_sync, "all replicas are in sync")
        assert cluster.read() == cluster.acknowledged


def test_deleted_records_are_gone_everywhere(broker: ServedBroker, tmp_path: Path) -> None:
    cluster = Cluster(broker)
    cluster.write(0.3)
    end = 1 + max(offset for index, offset in cluster.acknowledged if index == 0)
    wanted = confluent_kafka.TopicPartition(TOPIC, 0, end // 2)
    (deleted,) = cluster.client.delete_records([wanted]).values()
    assert deleted.result(TIMEOUT_S).low_watermark == end // 2
    # The next leader begins there, too.
    os.kill(workers(broker)[cluster.partition().leader], signal.SIGKILL)
    reader = confluent_kafka.Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "group.id": "none"}
    )

    def begins_there() -> bool:
        try:
            return bool(reader.get_watermark_offsets(wanted, TIMEOUT_S) == (end // 2, end))
        except confluent_kafka.KafkaException:
            return False  # (It asked who led before.)

    wait_for(begins_there, "the next leader begins where records were deleted")
    reader.close()


def test_too_few_replicas_refuse_what_wants_all(broker: ServedBroker) -> None:
    cluster = Cluster(broker, min_isr=3)
    leader = cluster.partition().leader
    follower = workers(broker)[next(node for node in (1, 2, 3) if node != leader)]
    producer = kafka.KafkaProducer(
        bootstrap_servers=broker.bootstrap_servers,
        acks="all",
        retries=0,
        enable_idempotence=False,
        request_timeout_ms=1500,
    )
    producer.send(TOPIC, b"x", partition=0).get(TIMEOUT_S)
    os.kill(follower, signal.SIGSTOP)
    try:
        # (The first ones wait for the replica, in vain; then it is found to lag.)
        refusals = [refusal(producer)]
        while refusals[-1] is not kafka.errors.NotEnoughReplicasError and len(refusals) < 5:
            refusals.append(refusal(producer))
    finally:
        # (One that is silent for too long is killed, and started again.)
        with contextlib.suppress(ProcessLookupError):
            os.kill(follower, signal.SIGCONT)
    assert kafka.errors.NotEnoughReplicasError in refusals
    assert None not in refusals
    wait_for(cluster.all_in_sync, "all replicas are in sync")
    assert refusal(producer) is None
    producer.close()


def refusal(producer: Any) -> type[Exception] | None:
    try:
        producer.send(TOPIC, b"x", partition=0).get(TIMEOUT_S)
    except kafka.errors.KafkaError as error:
        return type(error)
    return None


def test_groups_go_on_when_their_coordinator_dies(broker: ServedBroker) -> None:
    """Offsets are copied like any other partition: the next coordinator knows them."""
    cluster = Cluster(broker)
    cluster.write(0.3)
    configs = {
        "bootstrap.servers": broker.bootstrap_servers,
        "group.id": "readers",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = confluent_kafka.Consumer(configs)
    consumer.subscribe([TOPIC])
    seen: set[tuple[int, int]] = set()
    deadline = time.monotonic() + TIMEOUT_S
    for killed in range(2):
        goal = (killed + 1) * len(cluster.acknowledged) // 2
        while len(seen) < goal:
            assert time.monotonic() < deadline
            for message in consumer.consume(50, 0.2):
                assert message.error() is None
                seen.add((message.partition(), message.offset()))
        consumer.commit(asynchronous=False)
        partition = coordinator_partition_leader(cluster)
        kill_worker(broker, partition)
    committed = consumer.committed(
        [confluent_kafka.TopicPartition(TOPIC, i) for i in range(PARTITIONS)], TIMEOUT_S
    )
    assert sum(max(each.offset, 0) for each in committed) == len(seen)
    consumer.close()


def coordinator_partition_leader(cluster: Cluster) -> int:
    described = cluster.client.describe_consumer_groups(["readers"])["readers"].result(TIMEOUT_S)
    return int(described.coordinator.id)


def test_a_partition_moves_to_other_nodes(tmp_path: Path) -> None:
    """Reassigned while it is written to: kafka-python's admin client asks as Apache's tool does."""
    words = ["--workers", "3"]
    with ServedBroker(tmp_path / "data", words) as broker:
        client = admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        topic = admin.NewTopic("moved", replica_assignment=[[1]], num_partitions=1)
        client.create_topics([topic])["moved"].result(TIMEOUT_S)
        producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap_servers})
        for number in range(1000):
            producer.produce("moved", b"%d" % number * 10, partition=0)
        assert producer.flush(TIMEOUT_S) == 0
        reassign(broker.bootstrap_servers, "moved", [3, 2])

        def done() -> bool:
            found = client.list_topics("moved", timeout=TIMEOUT_S).topics["moved"].partitions[0]
            return sorted(found.replicas) == sorted(found.isrs) == [2, 3] and found.leader in (2, 3)

        wait_for(done, "the partition has moved")
        wait_for(
            lambda: not (tmp_path / "data" / "node-1" / "moved-0").exists(), "the old copy is gone"
        )
        data = [
            (tmp_path / "data" / f"node-{node}" / "moved-0" / f"{0:020d}.log").read_bytes()
            for node in (2, 3)
        ]
        assert data[0] == data[1] != b""


def reassign(bootstrap: str, topic: str, replicas: list[int]) -> None:
    """AlterPartitionReassignments over a socket: no client from pip has it in every version."""
    import socket

    from tidelog.protocol.codec import decode_response, encode_request_frame
    from tidelog.protocol.messages.alter_partition_reassignments import (
        AlterPartitionReassignmentsRequest,
        ReassignablePartition,
        ReassignableTopic,
    )

    request = AlterPartitionReassignmentsRequest(
        timeout_ms=30_000,
        topics=[
            ReassignableTopic(
                name=topic,
                partitions=[ReassignablePartition(partition_index=0, replicas=replicas)],
            )
        ],
    )
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as peer:
        peer.sendall(encode_request_frame(request, 0, 1, "test"))
        stream = peer.makefile("rb")
        size = int.from_bytes(stream.read(4), "big")
        _, answer = decode_response(request.API, 0, stream.read(size))
    assert answer.error_code == 0, answer  # type: ignore[attr-defined]
    assert answer.responses[0].partitions[0].error_code == 0, answer  # type: ignore[attr-defined]

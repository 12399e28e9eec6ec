"""Several hosts through a real ZooKeeper, as users start them: one cluster for every client, and
what happens when a host stops, dies, or ZooKeeper is away.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.house.broker import BrokerError, ServedBroker
from tests.house.zookeeper import ZooKeeper

#: How long a host may be silent. The smallest time in which a busy machine is not silent itself.
SESSION_MS = 4_000
WORKERS = 2


class Hosts:
    """Hosts of one cluster, and a client of it."""

    def __init__(self, folder: Path, zookeeper: str) -> None:
        self._folder = folder
        self._zookeeper = zookeeper
        self.hosts: list[ServedBroker] = []

    def add(self, *arguments: str, node_id: int | None = None) -> ServedBroker:
        """One more host; it is started."""
        number = len(self.hosts) + 1
        node_id = 10 * number + 1 if node_id is None else node_id
        host = ServedBroker(
            self._folder / f"host-{number}",
            [
                *("--zookeeper", self._zookeeper, "--node-id", str(node_id)),
                *("--workers", str(WORKERS), "--log-level", "info"),
                *("--set", f"broker.session.timeout.ms={SESSION_MS}", *arguments),
            ],
        )
        host.start()
        self.hosts.append(host)
        return host

    @property
    def bootstrap(self) -> str:
        return ",".join(host.bootstrap_servers for host in self.hosts)

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def controllers(self) -> list[ServedBroker]:
        """The hosts that took the seat, in that order."""
        marked = []
        for host in self.hosts:
            for line in host.log().splitlines():
                if 'event="host is the controller"' in line:
                    marked.append((int(line.rpartition("epoch=")[2]), host))
        return [host for _, host in sorted(marked, key=lambda pair: pair[0])]

    def close(self) -> None:
        for host in self.hosts:
            host.stop()


@pytest.fixture
def hosts(one_zookeeper: ZooKeeper, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path, f"{one_zookeeper.hosts}/{tmp_path.name}")
    yield made
    made.close()


class Writer:
    """Writes numbers with acks=all and idempotence, until it is stopped."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.acknowledged: list[bytes] = []
        self.failed: list[KafkaError] = []
        self.gap_s = 0.0
        self._topic = topic
        self._latest = time.monotonic()
        self._stop = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 1,
                "delivery.timeout.ms": 60_000,
            }
        )
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            self._producer.produce(self._topic, str(number).encode(), on_delivery=self._told)
            number += 1
            self._producer.poll(0.002)
        self._producer.flush(60)

    def _told(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(error)
            return
        now = time.monotonic()
        if self.acknowledged:
            self.gap_s = max(self.gap_s, now - self._latest)
        self._latest = now
        self.acknowledged.append(message.value() or b"")

    def go_on(self, records: int = 300) -> None:
        """Until that many more are acknowledged."""
        count = len(self.acknowledged) + records
        until(lambda: len(self.acknowledged) >= count, "records are acknowledged")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def until(holds: Callable[[], bool], what: str, timeout_s: float = 40) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        # A pause between tries: the loop ends as soon as it holds.
        time.sleep(0.05)


def create(admin: AdminClient, topic: str, replicas: int, partitions: int = 6) -> None:
    config = {"min.insync.replicas": str(max(1, replicas - 1))}
    new = NewTopic(topic, partitions, replicas, config=config)
    admin.create_topics([new])[topic].result(30)


def isrs(admin: AdminClient, topic: str) -> list[int]:
    partitions = admin.list_topics(topic, timeout=20).topics[topic].partitions
    return [len(partition.isrs) for partition in partitions.values()]


def cluster_status(bootstrap: str) -> tuple[int, dict[str, Any]]:
    """Exit status and output of the command."""
    tidelog = str(Path(sys.executable).with_name("tidelog"))
    done = subprocess.run(
        [tidelog, "cluster", "status", "--check", "--json", "--bootstrap", bootstrap],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def read_all(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "readers", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[bytes] = []
    deadline = time.monotonic() + 60
    try:
        while len(found) < count and time.monotonic() < deadline:
            for message in consumer.consume(1_000, 0.5):
                if message.error() is None:
                    found.append(message.value() or b"")
    finally:
        consumer.close()
    return found


def check(writer: Writer, hosts: Hosts, topic: str) -> None:
    """Everything that was acknowledged is there, once."""
    writer.stop()
    assert writer.failed == []
    found = read_all(hosts.bootstrap, topic, len(writer.acknowledged))
    assert sorted(found) == sorted(writer.acknowledged)


@pytest.mark.timeout(240)
def test_hosts_come_go_and_die_under_load(hosts: Hosts) -> None:
    for _ in range(3):
        hosts.add()
    admin = hosts.admin()
    create(admin, "t", 3)
    placed = admin.list_topics("t", timeout=20).topics["t"].partitions.values()
    # Nodes 11 and 12 are one host, and so on: no partition has two replicas on one host.
    assert all(len({node // 10 for node in one.replicas}) == 3 for one in placed)
    writer = Writer(hosts.bootstrap, "t")
    writer.go_on()

    # A rolling restart: each hands over before it goes, and nobody notices.
    for host in hosts.hosts:
        assert host.stop() == 0
        host.start()
        until(lambda: isrs(admin, "t") == [3] * 6, "all replicas are in sync")
        writer.go_on()
    assert writer.failed == []
    assert writer.gap_s < 3
    assert len(hosts.controllers()) > 1

    # A host is away: `tidelog cluster status` says which nodes, and what lacks replicas.
    away = hosts.hosts[0]
    away.stop()
    status, found = cluster_status(hosts.hosts[1].bootstrap_servers)
    assert status == 1
    assert [node["id"] for node in found["nodes"] if node["state"] == "fenced"] == [11, 12]
    assert len(found["under_replicated"]) == 6
    assert found["offline"] == found["under_min_isr"] == []
    away.start()
    until(lambda: cluster_status(hosts.bootstrap)[0] == 0, "everything is in order")

    # The controller's host dies with all its processes.
    seats = len(hosts.controllers())
    hosts.controllers()[-1].kill()
    until(lambda: len(hosts.controllers()) > seats, "another host is the controller")
    writer.go_on()
    for host in hosts.hosts:
        if not host.runs:
            host.start()
    until(lambda: isrs(admin, "t") == [3] * 6, "all replicas are in sync")
    writer.go_on()
    check(writer, hosts, "t")


@pytest.mark.timeout(180)
def test_zookeeper_away_stops_decisions_only(one_zookeeper: ZooKeeper, hosts: Hosts) -> None:
    hosts.add()
    hosts.add()
    admin = hosts.admin()
    create(admin, "t", 2)
    writer = Writer(hosts.bootstrap, "t")
    writer.go_on()
    server = one_zookeeper.servers[0]
    server.kill()
    began = time.monotonic()
    with pytest.raises(KafkaException):
        admin.create_topics([NewTopic("u", 1, 1)], operation_timeout=5, request_timeout=5)[
            "u"
        ].result(30)
    until(lambda: time.monotonic() - began > 2 * SESSION_MS / 1000, "every session is over")
    writer.go_on()
    assert writer.gap_s < 3
    one_zookeeper.restart(server)

    def created() -> bool:
        try:
            create(admin, "v", 2)
        except KafkaException:
            return False
        return True

    until(created, "topics are created again")
    check(writer, hosts, "t")


def test_consumers_read_from_the_replica_in_their_rack(hosts: Hosts) -> None:
    """KIP-392, with librdkafka: what it reads from is in its statistics."""
    selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
    for rack in ("a", "b"):
        hosts.add(*("--set", f"broker.rack={rack}", "--set", f"replica.selector.class={selector}"))
    create(hosts.admin(), "t", 2)
    writer = Writer(hosts.bootstrap, "t")
    writer.go_on()
    statistics: dict[str, Any] = {}
    consumer = Consumer(
        {
            "bootstrap.servers": hosts.bootstrap,
            "group.id": "near",
            "auto.offset.reset": "earliest",
            "client.rack": "b",
            "statistics.interval.ms": 100,
            "stats_cb": lambda text: statistics.update(json.loads(text)),
        }
    )
    consumer.subscribe(["t"])

    def brokers() -> set[int]:
        assert all(message.error() is None for message in consumer.consume(1_000, 0.1))
        topic = statistics.get("topics", {}).get("t", {"partitions": {}})
        return {part["broker"] for key, part in topic["partitions"].items() if key != "-1"}

    try:
        until(lambda: brokers() == {21, 22}, "it reads in its rack")
    finally:
        consumer.close()
    check(writer, hosts, "t")


def test_what_was_one_host_becomes_several(one_zookeeper: ZooKeeper, tmp_path: Path) -> None:
    zookeeper = f"{one_zookeeper.hosts}/{tmp_path.name}"
    alone = ServedBroker(tmp_path / "host-1", ["--node-id", "11", "--workers", "2"])
    with alone:
        create(AdminClient({"bootstrap.servers": alone.bootstrap_servers}), "t", 2)
        writer = Writer(alone.bootstrap_servers, "t")
        writer.go_on()
        writer.stop()
    hosts = Hosts(tmp_path, zookeeper)
    try:
        hosts.add(node_id=11)
        hosts.add(node_id=21)
        check(writer, hosts, "t")
        admin = hosts.admin()
        create(admin, "u", 3)
        assert set(admin.list_topics(timeout=20).brokers) == {11, 12, 21, 22}
        first = hosts.hosts[0]
        cluster = json.loads((first.data_dir / "cluster.json").read_text())
        assert cluster["shared"] is True
        assert (first.data_dir / "metadata.db.imported").exists()
        assert not (first.data_dir / "metadata.db").exists()
        # From now on it is one of several, also after a restart.
        first.stop()
        refused = ServedBroker(first.data_dir, ["--node-id", "11"])
        with pytest.raises(BrokerError, match="--zookeeper is needed"):
            refused.start()
        first.start()
    finally:
        hosts.close()


def test_what_does_not_belong_together_is_refused(one_zookeeper: ZooKeeper, tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, f"{one_zookeeper.hosts}/{tmp_path.name}")
    try:
        hosts.add(node_id=11)
        with pytest.raises(BrokerError, match=r"has node 12.*--node-id"):
            hosts.add(node_id=12)
        other = ServedBroker(tmp_path / "other", ["--node-id", "31"])
        with other:
            pass
        other.arguments += ["--zookeeper", f"{one_zookeeper.hosts}/{tmp_path.name}"]
        with pytest.raises(BrokerError, match="belongs to cluster"):
            other.start()
        # It can still be what it was.
        del other.arguments[-2:]
        with other:
            pass
    finally:
        hosts.close()

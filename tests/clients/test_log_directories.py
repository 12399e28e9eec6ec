"""Several log directories: what clients and administrators have of them, over restarts and with a
disk that is gone.

Only ever changes directories of the broker that the test started.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kafka
from confluent_kafka import admin

from tests.clients.test_replication import PARTITIONS, TIMEOUT_S, TOPIC, Cluster
from tests.clients.test_restarts import kill_worker, wait_for
from tests.house.broker import ServedBroker

KAFKA_STORAGE_ERROR = 56


def serve(root: Path, *words: str, workers: int = 1) -> ServedBroker:
    """On the directories a and b of `root`."""
    directories = f"log.dirs={root / 'a'},{root / 'b'}"
    return ServedBroker(root / "a", ["--workers", str(workers), "--set", directories, *words])


def described(broker: ServedBroker) -> dict[str, Any]:
    """What DescribeLogDirs says, by directory: an error code, or partitions with their sizes."""
    client = kafka.KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    try:
        return {
            result["log_dir"]: result["error_code"]
            or {
                (topic["name"], each["partition_index"]): each["partition_size"]
                for topic in result["topics"]
                for each in topic["partitions"]
            }
            for node in client.describe_log_dirs()
            for result in node["log_dirs"]
        }
    finally:
        client.close()


def test_logs_are_spread_and_found_again(tmp_path: Path) -> None:
    broker = serve(tmp_path)
    with broker:
        cluster = Cluster(broker, min_isr=1, replicas=1)
        cluster.write(0.3)
        cluster.check()
        first = described(broker)
    assert list(first) == [str(tmp_path / name / "node-1") for name in "ab"]
    held = [sum(topic == TOPIC for topic, _ in logs) for logs in first.values()]
    assert sorted(held) == [1, 2] and sum(held) == PARTITIONS
    with broker:
        cluster.connect(broker)
        cluster.write(0.3)
        cluster.check()
        again = described(broker)
        assert [set(logs) for logs in again.values()] == [set(logs) for logs in first.values()]
        assert all(again[path][log] >= size for path in first for log, size in first[path].items())


def test_logs_move_while_they_are_written(tmp_path: Path) -> None:
    broker = serve(tmp_path, workers=3)
    with broker:
        cluster = Cluster(broker)
        cluster.write(0.5)
        there = {
            (TOPIC, index, node): str(tmp_path / name / f"node-{node}")
            for name in "ab"
            for node in (1, 2, 3)
            for topic, index in described(broker)[str(tmp_path / name / f"node-{node}")]
            if topic == TOPIC
        }
        assert len(there) == 9
        wanted = {
            place: path.replace(f"/{letter}/node", f"/{other}/node")
            for place, path in there.items()
            for letter, other in ("ab", "ba")
            if f"/{letter}/node" in path
        }
        client = kafka.KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
        client.alter_replica_log_dirs(wanted)
        client.close()
        cluster.write(2.0)

        def all_moved() -> bool:
            found = described(broker)
            return all((topic, index) in found[wanted[topic, index, node]]
                       and (topic, index) not in found[there[topic, index, node]]
                       for topic, index, node in wanted)  # fmt: skip

        wait_for(all_moved, "the logs to move")
        cluster.write(0.5)
        cluster.check()
        wait_for(cluster.all_in_sync, "all replicas")
        assert "log offline" not in broker.log()
    with broker:
        cluster.connect(broker)
        assert all_moved()
        cluster.write(0.3)
        cluster.check()


def limit_moves(broker: ServedBroker, bytes_per_second: int) -> None:
    client = admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    limit = admin.ConfigEntry(
        "replica.alter.log.dirs.io.max.bytes.per.second", str(bytes_per_second),
        incremental_operation=admin.AlterConfigOpType.SET,
    )  # fmt: skip
    resource = admin.ConfigResource("broker", "1", incremental_configs=[limit])
    client.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)


def test_nodes_that_are_killed_while_logs_move_lose_nothing(tmp_path: Path) -> None:
    broker = serve(tmp_path)
    with broker:
        cluster = Cluster(broker, min_isr=1, replicas=1)
        cluster.write(0.7)
        there = {
            (TOPIC, index, 1): path
            for path, held in described(broker).items()
            for topic, index in held
            if topic == TOPIC
        }
        limit_moves(broker, 100)
        a, b = (str(tmp_path / name / "node-1") for name in "ab")
        wanted = {place: {a: b, b: a}[path] for place, path in there.items()}
        client = kafka.KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
        client.alter_replica_log_dirs(wanted)
        client.close()
        wait_for(lambda: len(list(tmp_path.glob("*/node-1/*-future"))) > 0, "copies")
        cluster.write(0.3)
        kill_worker(broker, 1)
        cluster.write(0.5)
        limit_moves(broker, 10**9)

        def all_moved() -> bool:
            found = described(broker)
            return all((topic, index) in found[path] for (topic, index, _), path in wanted.items())

        wait_for(lambda: all_moved() and not list(tmp_path.glob("*/node-1/*-future")), "the moves")
        cluster.write(0.3)
        kill_worker(broker, 1)
        cluster.write(0.3)
        cluster.check()
        assert all_moved()


def offline_at(cluster: Cluster, node_id: int) -> set[int]:
    """The partitions in whose ISR the node is not."""
    topics = cluster.client.list_topics(TOPIC, timeout=TIMEOUT_S).topics
    return {i for i, each in topics[TOPIC].partitions.items() if node_id not in each.isrs}


def test_a_disk_that_is_gone_is_the_matter_of_its_replicas(tmp_path: Path) -> None:
    broker = serve(tmp_path, "--set", "log.flush.offset.checkpoint.interval.ms=200", workers=3)
    disk, away = tmp_path / "b" / "node-1", tmp_path / "b" / "away"
    with broker:
        cluster = Cluster(broker)
        cluster.write(0.5)
        held = {index for topic, index in described(broker)[str(disk)] if topic == TOPIC}
        assert held and len(held) < PARTITIONS
        disk.rename(away)
        cluster.write(1.0)
        wait_for(lambda: offline_at(cluster, 1) == held, "the others to lead")
        topics = cluster.client.list_topics(TOPIC, timeout=TIMEOUT_S).topics
        assert all(topics[TOPIC].partitions[index].leader != 1 for index in held)
        cluster.write(0.5)
        cluster.check()
        assert described(broker)[str(disk)] == KAFKA_STORAGE_ERROR
        # What comes now is made where there is a disk.
        cluster.client.create_topics([admin.NewTopic("later", 4, 3)])["later"].result(TIMEOUT_S)
        first = described(broker)[str(tmp_path / "a" / "node-1")]
        assert {index for topic, index in first if topic == "later"} == set(range(4))
    assert not disk.exists()
    disk.touch()  # (no directory: an empty one would be taken for a new disk)
    with broker:
        cluster.connect(broker)
        cluster.write(0.3)
        assert offline_at(cluster, 1) == held
        assert described(broker)[str(disk)] == KAFKA_STORAGE_ERROR
    disk.unlink()
    away.rename(disk)
    with broker:
        cluster.connect(broker)
        wait_for(cluster.all_in_sync, "the replicas to catch up")
        cluster.write(0.3)
        cluster.check()
        assert {i for topic, i in described(broker)[str(disk)] if topic == TOPIC} == held

"""A broker whose metadata store is lost, after a stop and after kill -9 of everything: rebuilt from
the logs, it serves what it served, and nothing that it gave out before comes again.

Only ever signals processes of the broker that the test started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import confluent_kafka
import confluent_kafka.admin
import pytest

from tests.clients.python_clients import CONSUME, PRODUCE, TIMEOUT_S, Seen, Sent
from tests.house.broker import BrokerError, ServedBroker
from tests.recovery.stub_client import children, is_alive, wait_for
from tidelog.cli.log_files import Options, dump
from tidelog.storage.leader_epochs import read_leader_epochs
from tidelog.storage.partition_metadata import read_partition_metadata

TOPICS = {"plain": 3, "orders": 4}
#: By these defaults every record of a topic without configs of its own is gone within a second.
FORGETFUL = ["--set", "log.retention.ms=500", "--set", "log.retention.check.interval.ms=100"]
GROUP = "billing"


class Batch(NamedTuple):
    offset: int
    epoch: int
    producer_id: int


def create(bootstrap: str) -> None:
    client = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
    new = [
        confluent_kafka.admin.NewTopic(name, count, 1, config={"retention.ms": "-1"})
        for name, count in TOPICS.items()
    ]
    for future in client.create_topics(new).values():
        future.result(TIMEOUT_S)


def records(first: int, count: int) -> list[Sent]:
    return [Sent(b"%d" % i, b"value %d" % i) for i in range(first, first + count)]


def produce_idempotently(bootstrap: str, topic: str, first: int, count: int) -> None:
    problems: list[object] = []
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "zstd"}
    )
    for record in records(first, count):
        producer.produce(
            topic, record.value, record.key, on_delivery=lambda error, _: problems.append(error)
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert problems == [None] * count


def read_all(bootstrap: str, topic: str, count: int) -> list[Seen]:
    """From the beginning: by a group that has not read before."""
    found = CONSUME["aiokafka"](bootstrap, topic, count, f"reader at {bootstrap} of {count}")
    assert len(found) == count
    return sorted(found)


def end(broker: ServedBroker, how: str) -> None:
    if how == "stopped":
        assert broker.stop() == 0
        return
    pids = [broker.pid, *children(broker.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    broker.kill()
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "all ended")


def deleted(store: Path) -> None:
    store.unlink()


def garbage(store: Path) -> None:
    """The journal, too: with a good one SQLite repairs a good deal."""
    for file in store.parent.glob("metadata.db*"):
        file.write_bytes(b"garbage" * 3000)


def cut(store: Path) -> None:
    os.truncate(store, store.stat().st_size // 2)


def rebuild(data_dir: Path, *options: str) -> str:
    command = [str(Path(sys.executable).with_name("tidelog")), "metadata", "rebuild"]
    command += ["--data-dir", str(data_dir), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def batches(data_dir: Path) -> dict[str, list[Batch]]:
    """Of all topics' logs by folder, as they are on the disk."""

    def of(log: Path) -> Iterator[Batch]:
        for segment in sorted(log.glob("*.log")):
            for line in dump(segment, Options()):
                fields: dict[str, Any] = line.fields
                assert not line.broken, line
                yield Batch(
                    fields["baseOffset"], fields["partitionLeaderEpoch"], fields["producerId"] or -1
                )

    logs = [log for topic in TOPICS for log in data_dir.glob(f"node-*/{topic}-*")]
    return {str(log.relative_to(data_dir)): list(of(log)) for log in logs}


def ids(data_dir: Path) -> dict[str, bytes | None]:
    return {
        str(file.parent.relative_to(data_dir)): read_partition_metadata(str(file))
        for file in data_dir.glob("node-*/*/partition.metadata")
    }


@pytest.mark.parametrize(
    ("how", "damage"), [("stopped", cut), ("killed", deleted), ("killed", garbage)]
)
def test_everything_but_the_configs_is_served_again(
    tmp_path: Path, how: str, damage: Callable[[Path], None]
) -> None:
    broker = ServedBroker(tmp_path / "data", ["--workers", "2", *FORGETFUL])
    broker.start()
    try:
        create(broker.bootstrap_servers)
        PRODUCE["kafka-python"](broker.bootstrap_servers, "plain", records(0, 60), "gzip")
        produce_idempotently(broker.bootstrap_servers, "orders", 0, 100)
        produce_idempotently(broker.bootstrap_servers, "orders", 100, 50)
        consumed = CONSUME["confluent-kafka"](broker.bootstrap_servers, "orders", 150, GROUP)
        assert len(consumed) == 150
        before = {
            "plain": read_all(broker.bootstrap_servers, "plain", 60),
            "orders": read_all(broker.bootstrap_servers, "orders", 150),
        }
        end(broker, how)
        on_disk, topic_ids = batches(broker.data_dir), ids(broker.data_dir)
        damage(broker.data_dir / "metadata.db")
        with pytest.raises(BrokerError, match="tidelog metadata rebuild --data-dir"):
            broker.start()
        said = rebuild(broker.data_dir)
        assert "plain" in said and "orders" in said and "configs" in said
        assert ids(broker.data_dir) == topic_ids

        broker.start()
        bootstrap = broker.bootstrap_servers
        client = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
        topics = client.list_topics(timeout=TIMEOUT_S).topics
        assert {name: len(topics[name].partitions) for name in TOPICS} == TOPICS
        assert len(topics["__consumer_offsets"].partitions) == 50
        for topic, seen in before.items():
            assert read_all(bootstrap, topic, len(seen)) == seen
        # It goes on: with new records, behind the old ones, and the group behind its own offset.
        produce_idempotently(bootstrap, "orders", 150, 50)
        rest = CONSUME["confluent-kafka"](bootstrap, "orders", 50, GROUP)
        assert sorted(one.value for one in rest) == sorted(one.value for one in records(150, 50))
        assert set(before["orders"]) < set(read_all(bootstrap, "orders", 200))
        assert broker.stop() == 0
        check_what_is_new(on_disk, batches(broker.data_dir))
        assert ids(broker.data_dir) == topic_ids
        assert not list(broker.data_dir.glob("node-*/*-stray"))
    finally:
        broker.stop()


def check_what_is_new(old: dict[str, list[Batch]], now: dict[str, list[Batch]]) -> None:
    """What was there is unchanged; what came has higher epochs and a producer id of its own."""
    assert old.keys() == now.keys()
    given_out = max(batch.producer_id for log in old.values() for batch in log)
    assert given_out >= 0
    added = 0
    for folder, log in now.items():
        before = old[folder]
        assert log[: len(before)] == before
        assert [batch.epoch for batch in log] == sorted(batch.epoch for batch in log)
        for batch in log[len(before) :]:
            added += 1
            assert batch.producer_id > given_out
            assert batch.epoch > max((one.epoch for one in before), default=-1)
    assert added


def test_clients_that_lived_through_it_go_on(tmp_path: Path) -> None:
    """Some ignore what has a lower leader epoch than they know, so none comes again, also when the
    records tell of fewer than there were.
    """
    broker = ServedBroker(tmp_path / "data", ["--workers", "1"])
    broker.start()
    address = broker.bootstrap_servers
    try:
        create(address)
        broker.arguments += ["--listen", address]
        settings = {"bootstrap.servers": address, "reconnect.backoff.max.ms": 100}
        producer = confluent_kafka.Producer(settings)
        consumer = confluent_kafka.Consumer(
            settings | {"group.id": "g", "auto.offset.reset": "earliest"}
        )
        consumer.assign([confluent_kafka.TopicPartition("plain", 0, 0)])

        def goes_through(value: bytes) -> None:
            delivered: list[object] = []
            producer.produce(
                "plain", value, partition=0, on_delivery=lambda error, _: delivered.append(error)
            )
            assert producer.flush(TIMEOUT_S) == 0
            assert delivered == [None]
            wait_for(lambda: read_value(consumer) == value, f"{value!r} is read")

        goes_through(b"before")
        for _ in range(2):
            # A life in which nothing is written: its leader epoch is in the checkpoint only.
            assert broker.stop() == 0
            broker.start()
            for client in (producer, consumer):
                client.list_topics(timeout=TIMEOUT_S)
        assert broker.stop() == 0
        (broker.data_dir / "metadata.db").unlink()
        checkpoint = broker.data_dir / "node-1/plain-0/leader-epoch-checkpoint"
        known = read_leader_epochs(str(checkpoint)).latest_epoch
        checkpoint.unlink()
        rebuild(broker.data_dir)
        broker.start()
        goes_through(b"after")
        consumer.close()
        assert read_leader_epochs(str(checkpoint)).latest_epoch > known
    finally:
        broker.stop()


def test_a_log_that_the_metadata_does_not_know_is_set_aside_and_can_be_taken(
    tmp_path: Path,
) -> None:
    """The store of an earlier day is put back: the topic of today is kept, and comes back."""
    broker = ServedBroker(tmp_path / "data", ["--workers", "1"])
    store = broker.data_dir / "metadata.db"
    broker.start()
    try:
        assert broker.stop() == 0
        earlier = store.read_bytes()
        broker.start()
        create(broker.bootstrap_servers)
        PRODUCE["kafka-python"](broker.bootstrap_servers, "plain", records(0, 60), "none")
        before = read_all(broker.bootstrap_servers, "plain", 60)
        assert broker.stop() == 0
        store.write_bytes(earlier)
        broker.start()
        assert 'event="unknown log set aside" folder=plain-0 stray=plain-0.' in broker.log()
        create(broker.bootstrap_servers)  # the names are free
        assert broker.stop() == 0
        node = broker.data_dir / "node-1"
        for name in TOPICS:
            for log in node.glob(f"{name}-?"):
                log.rename(tmp_path / log.name)
        strays = [*node.glob("plain-*-stray"), *node.glob("orders-*-stray")]
        assert len(strays) == sum(TOPICS.values())
        for stray in strays:
            stray.rename(node / stray.name.partition(".")[0])
        rebuild(broker.data_dir, "--force")
        broker.start()
        assert read_all(broker.bootstrap_servers, "plain", 60) == before
    finally:
        broker.stop()


def read_value(consumer: confluent_kafka.Consumer) -> bytes | None:
    message = consumer.poll(0.1)
    return None if message is None or message.error() else message.value()

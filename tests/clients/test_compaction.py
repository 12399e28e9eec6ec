"""Clients on compacted topics, and groups whose offsets were compacted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
import pytest

from tests.clients.python_clients import CONSUME, TIMEOUT_S
from tests.clients.test_restarts import wait_for, workers
from tests.house.broker import ServedBroker
from tidelog.storage.checkpoints import CLEANER_CHECKPOINT, read_offsets
from tidelog.storage.segment_files import LOG_SUFFIX, parse_name

SEGMENT_BYTES = 1024 * 1024
ARGUMENTS = [
    "--workers=1",
    "--set=log.cleaner.backoff.ms=20",
    "--set=log.cleaner.min.cleanable.ratio=0",
    "--set=log.segment.delete.delay.ms=0",
    "--set=offsets.topic.num.partitions=1",
    f"--set=offsets.topic.segment.bytes={SEGMENT_BYTES}",
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ServedBroker]:
    with ServedBroker(tmp_path / "data", ARGUMENTS) as served:
        yield served


def folder(broker: ServedBroker, topic: str) -> Path:
    return broker.data_dir / "node-1" / f"{topic}-0"


def active_base(broker: ServedBroker, topic: str) -> int:
    parsed = [parse_name(path.name) for path in folder(broker, topic).iterdir()]
    return max(found[0] for found in parsed if found and found[1] == LOG_SUFFIX)


def wait_compacted(broker: ServedBroker, topic: str) -> None:
    checkpoint = str(broker.data_dir / "node-1" / CLEANER_CHECKPOINT)

    def compacted() -> bool:
        base = active_base(broker, topic)
        return base > 0 and read_offsets(checkpoint).get((topic, 0), -1) >= base

    wait_for(compacted, f"{topic} is compacted")


def create_compacted(broker: ServedBroker, topic: str, **configs: str) -> None:
    client = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    config = {
        "cleanup.policy": "compact",
        "segment.bytes": str(SEGMENT_BYTES),
        **{name.replace("_", "."): value for name, value in configs.items()},
    }
    new = confluent_kafka.admin.NewTopic(topic, 1, 1, config=config)
    client.create_topics([new])[topic].result(TIMEOUT_S)


def test_every_client_reads_what_a_compaction_left(broker: ServedBroker) -> None:
    create_compacted(broker, "t", delete_retention_ms="0")
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": broker.bootstrap_servers, "enable.idempotence": True}
    )
    last: dict[bytes, bytes | None] = {}
    for i in range(9000):
        key = b"key-%d" % (i * 7919 % 300)
        value = None if key.endswith(b"13") else b"%d:" % i + b"v" * 400
        producer.produce("t", value, key, partition=0)
        last[key] = value
        producer.poll(0)
    assert producer.flush(TIMEOUT_S) == 0
    wait_compacted(broker, "t")
    reader = confluent_kafka.Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "g",
            "isolation.level": "read_committed",
        }
    )
    partition = confluent_kafka.TopicPartition("t", 0, 0)
    _, end = reader.get_watermark_offsets(partition, TIMEOUT_S)
    assert end == 9000
    reader.assign([partition])
    found: dict[bytes, bytes | None] = {}
    offsets: list[int] = []
    while not offsets or offsets[-1] < end - 1:
        for message in reader.consume(1000, 0.5):
            assert message.error() is None
            key, offset = message.key(), message.offset()
            assert isinstance(key, bytes) and offset is not None
            found[key] = message.value()
            offsets.append(offset)
    reader.close()
    assert {k: v for k, v in found.items() if v is not None} == {
        k: v for k, v in last.items() if v is not None
    }
    assert offsets == sorted(set(offsets))
    assert len(offsets) < 9000 / 2
    for client, consume in CONSUME.items():
        read = consume(broker.bootstrap_servers, "t", len(offsets), f"of-{client}")
        assert len(read) == len(offsets), client
    # The producer is known, though most of what it wrote is gone.
    producer.produce("t", b"one more", b"key-1", partition=0)
    assert producer.flush(TIMEOUT_S) == 0


def test_a_record_without_a_key_is_refused(broker: ServedBroker) -> None:
    create_compacted(broker, "t")
    errors: list[object] = []
    for codec in ("none", "lz4"):
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": broker.bootstrap_servers, "compression.type": codec}
        )
        producer.produce("t", b"v" * 500, on_delivery=lambda error, _: errors.append(error))
        producer.flush(TIMEOUT_S)
    assert [error.code() for error in errors] == [confluent_kafka.KafkaError.INVALID_RECORD] * 2  # type: ignore[attr-defined]


def test_groups_are_the_same_after_their_offsets_were_compacted(broker: ServedBroker) -> None:
    partitions = 50
    client = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    new = confluent_kafka.admin.NewTopic("t", partitions, 1)
    client.create_topics([new])["t"].result(TIMEOUT_S)
    expected: dict[str, list[tuple[int, int]]] = {}
    groups = [f"group-{i}" for i in range(6)]
    for number, group in enumerate(groups):
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": broker.bootstrap_servers, "group.id": group}
        )
        for turn in range(120):
            offsets = [
                confluent_kafka.TopicPartition("t", i, turn * 1000 + i + number)
                for i in range(partitions)
            ]
            consumer.commit(offsets=offsets, asynchronous=False)
        expected[group] = [(i, 119_000 + i + number) for i in range(partitions)]
        consumer.close()
    topic = "__consumer_offsets"
    wait_compacted(broker, topic)
    written = sum(1 for _ in groups) * 120 * partitions
    assert active_base(broker, topic) > written / 2
    left = sum(path.stat().st_size for path in folder(broker, topic).glob("*.log"))
    assert left < 2 * SEGMENT_BYTES

    def committed() -> dict[str, list[tuple[int, int]]]:
        found = {}
        for group in groups:
            consumer = confluent_kafka.Consumer(
                {"bootstrap.servers": broker.bootstrap_servers, "group.id": group}
            )
            asked = [confluent_kafka.TopicPartition("t", i) for i in range(partitions)]
            found[group] = [(o.partition, o.offset) for o in consumer.committed(asked, TIMEOUT_S)]
            consumer.close()
        return found

    assert committed() == expected
    assert workers(broker)
    broker.stop()
    broker.start()
    assert committed() == expected
    broker.kill()
    wait_for(lambda: not workers_of(broker), "the workers have ended")
    broker.start()
    assert committed() == expected


def workers_of(broker: ServedBroker) -> bool:
    try:
        return bool(workers(broker))
    except OSError:
        return False


def test_the_cleaner_follows_configs_that_change(tmp_path: Path) -> None:
    arguments = [one for one in ARGUMENTS if "backoff" not in one and "ratio" not in one]
    arguments += ["--set=log.cleaner.backoff.ms=3600000", "--set=log.cleaner.min.cleanable.ratio=1"]
    with ServedBroker(tmp_path / "data", arguments) as broker:
        create_compacted(broker, "t")
        producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap_servers})
        for i in range(3000):
            producer.produce("t", b"v" * 500, b"key-%d" % (i % 10), partition=0)
            producer.poll(0)
        assert producer.flush(TIMEOUT_S) == 0
        alter(broker, "BROKER", "1", "log.cleaner.backoff.ms", "20")
        alter(broker, "TOPIC", "t", "min.cleanable.dirty.ratio", "0")
        wait_compacted(broker, "t")


def alter(broker: ServedBroker, kind: str, name: str, config: str, value: str) -> None:
    client = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    entry = confluent_kafka.admin.ConfigEntry(
        config, value, incremental_operation=confluent_kafka.admin.AlterConfigOpType.SET
    )
    resource = confluent_kafka.admin.ConfigResource(
        confluent_kafka.admin.ResourceType[kind], name, incremental_configs=[entry]
    )
    (done,) = client.incremental_alter_configs([resource]).values()
    done.result(TIMEOUT_S)


def test_transactions_on_a_compacted_topic(broker: ServedBroker) -> None:
    """Of aborted ones nothing is left, of committed ones the last value of each key."""
    create_compacted(broker, "t", delete_retention_ms="0")
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": broker.bootstrap_servers, "transactional.id": "x"}
    )
    producer.init_transactions(TIMEOUT_S)
    last: dict[bytes, bytes] = {}
    for turn in range(60):
        producer.begin_transaction()
        for i in range(60):
            key, value = b"key-%d" % (i * (1 + turn % 3)), b"%d:" % turn + b"v" * 700
            producer.produce("t", value, key, partition=0)
            if turn % 3:
                last[key] = value
        if turn % 3:
            producer.commit_transaction(TIMEOUT_S)
        else:
            # (Without, librdkafka may end a transaction that it has not begun at the coordinator.)
            producer.flush(TIMEOUT_S)
            producer.abort_transaction(TIMEOUT_S)
    wait_compacted(broker, "t")
    for _ in range(2):
        for isolation, consistent in (("read_committed", True), ("read_uncommitted", False)):
            found, offsets = read_all(broker, isolation)
            assert offsets == sorted(set(offsets))
            if consistent:
                assert found == last
            assert set(found) >= set(last)
        broker.kill()
        wait_for(lambda: not workers_of(broker), "the workers have ended")
        broker.start()


def read_all(broker: ServedBroker, isolation: str) -> tuple[dict[bytes, bytes], list[int]]:
    reader = confluent_kafka.Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "all",
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
    )
    reader.assign([confluent_kafka.TopicPartition("t", 0, 0)])
    found: dict[bytes, bytes] = {}
    offsets = []
    while True:
        message = reader.poll(TIMEOUT_S)
        assert message is not None
        if message.error() is not None:
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
            break
        key, value, offset = message.key(), message.value(), message.offset()
        assert isinstance(key, bytes) and isinstance(value, bytes) and offset is not None
        found[key] = value
        offsets.append(offset)
    reader.close()
    return found, offsets

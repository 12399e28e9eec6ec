"""Damage to what was full and synced: named by a scrub, an error to read, told at a start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import tidelog

BATCH = 100_000
COUNT = 60
CORRUPT_MESSAGE = 2


def scrub(data_dir: Path) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "tidelog", "scrub", "--json", str(data_dir)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout)


def fill(bootstrap: str) -> None:
    client = {"bootstrap.servers": bootstrap, "linger.ms": 0}
    config = {"segment.bytes": str(1024 * 1024)}
    admin = AdminClient(client)
    admin.create_topics([NewTopic("t", 1, config=config)])["t"].result(30)
    producer = Producer(client)
    for i in range(COUNT):
        producer.produce("t", b"%03d" % i + os.urandom(BATCH))
        producer.flush(30)


def read(bootstrap: str, offset: int) -> tuple[int, list[int]]:
    """The error that ended it (0: none), and the offsets that came from `offset` on."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "readers",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition("t", 0, offset)])
    found: list[int] = []
    try:
        while (message := consumer.poll(30)) is not None:
            error = message.error()
            if error is not None:
                return (0 if error.code() == KafkaError._PARTITION_EOF else error.code()), found
            found.append(message.offset())
        raise AssertionError(f"nothing came behind {found[-1:]}")
    finally:
        consumer.close()


def test_a_lost_end(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with tidelog.Broker(data_dir=data) as broker:
        fill(broker.bootstrap_servers)
        status, found = scrub(data)
        assert (status, found["passed_over"], found["damaged_segments"]) == (0, 1, 0)
    status, found = scrub(data)
    logs = sorted((data / "node-1" / "t-0").glob("*.log"))
    assert (status, found["segments"], found["without_digest"]) == (0, len(logs), 1)

    size = logs[0].stat().st_size // int(logs[1].stem)
    os.truncate(logs[0], logs[0].stat().st_size - size)
    lost = int(logs[1].stem) - 1
    status, found = scrub(data)
    assert (status, found["damaged_segments"]) == (1, 1)

    with tidelog.Broker(data_dir=data) as broker:
        assert read(broker.bootstrap_servers, 0) == (CORRUPT_MESSAGE, list(range(lost)))
        assert read(broker.bootstrap_servers, lost + 1) == (0, list(range(lost + 1, COUNT)))

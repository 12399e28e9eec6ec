"""A topic with records in two partitions, and a member of a group that has read them: what commands
and metrics are looked at with.

Owned by the tests that use it; the caller closes the consumer.
"""

from __future__ import annotations

import time
import uuid

import confluent_kafka
from confluent_kafka import TopicPartition
from confluent_kafka import admin as confluent

from tests.clients.python_clients import TIMEOUT_S

PARTITIONS = (0, 1)


def filled_topic(bootstrap_servers: str, records: int, *, first_timestamp_ms: int = 0) -> str:
    """A new topic with `records` records of 100 bytes in each partition, each a batch of its own;
    their timestamps are the clock's, or a millisecond apart.
    """
    name = f"filled-{uuid.uuid4().hex[:12]}"
    client = confluent.AdminClient({"bootstrap.servers": bootstrap_servers})
    (future,) = client.create_topics([confluent.NewTopic(name, len(PARTITIONS), 1)]).values()
    future.result(TIMEOUT_S)
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap_servers, "linger.ms": 0, "batch.num.messages": 1}
    )
    for n in range(records):
        timestamp_ms = first_timestamp_ms + n if first_timestamp_ms else 0
        for partition in PARTITIONS:
            producer.produce(name, b"x" * 100, partition=partition, timestamp=timestamp_ms)
    assert producer.flush(TIMEOUT_S) == 0
    return name


def reader(
    bootstrap_servers: str,
    topic: str,
    group: str,
    *,
    records: int,
    committed: int,
    protocol: str = "classic",
) -> confluent_kafka.Consumer:
    """A member, `reader` by its client id, that has read `records` records of each partition and
    committed the offset `committed`.
    """
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "group.protocol": protocol,
            "client.id": "reader",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    wanted = len(PARTITIONS) * records
    deadline, seen = time.monotonic() + TIMEOUT_S, 0
    while seen < wanted:
        assert time.monotonic() < deadline
        seen += len(consumer.consume(wanted - seen, 0.1))
    offsets = [TopicPartition(topic, partition, committed) for partition in PARTITIONS]
    consumer.commit(offsets=offsets, asynchronous=False)
    return consumer

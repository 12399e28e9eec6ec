"""confluent-kafka, kafka-python and aiokafka behind one face, for tests that mix them.

Owned by the tests of this folder. Every client keeps its default settings but for the codec, the
group, and where a group begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import aiokafka
import confluent_kafka
import kafka

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
TIMEOUT_S = 30.0


class Sent(NamedTuple):
    """A record to write. partition None: the client's own partitioner decides."""

    key: bytes | None
    value: bytes
    partition: int | None = None


class Seen(NamedTuple):
    """A record that was read, or written and acknowledged."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes


Produce = Callable[[str, str, Sequence[Sent], str], list[Seen]]
Consume = Callable[[str, str, int, str], list[Seen]]


def confluent_produce(
    bootstrap: str, topic: str, records: Sequence[Sent], codec: str
) -> list[Seen]:
    acknowledged: list[Seen] = []
    failures: list[object] = []

    def on_delivery(error: object, message: confluent_kafka.Message) -> None:
        if error is not None:
            failures.append(error)
            return
        acknowledged.append(
            Seen(message.partition(), message.offset(), message.key(), message.value())
        )

    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "compression.type": codec})
    for record in records:
        given = {} if record.partition is None else {"partition": record.partition}
        producer.produce(topic, record.value, record.key, on_delivery=on_delivery, **given)
    left = producer.flush(TIMEOUT_S)
    assert not failures, failures
    assert left == 0
    return acknowledged


def confluent_consume(bootstrap: str, topic: str, count: int, group: str) -> list[Seen]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    seen: list[Seen] = []
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while len(seen) < count and time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                # A topic that was only just made may not be known to every node yet.
                assert message.error().code() == confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART
                continue
            seen.append(Seen(message.partition(), message.offset(), message.key(), message.value()))
    finally:
        consumer.close()  # commits what was read, and leaves the group
    return seen


def kafka_python_produce(
    bootstrap: str, topic: str, records: Sequence[Sent], codec: str
) -> list[Seen]:
    producer = kafka.KafkaProducer(
        bootstrap_servers=bootstrap.split(","), compression_type=None if codec == "none" else codec
    )
    try:
        futures = [
            producer.send(topic, record.value, record.key, partition=record.partition)
            for record in records
        ]
        answers = [future.get(TIMEOUT_S) for future in futures]
    finally:
        producer.close(TIMEOUT_S)
    return [
        Seen(answer.partition, answer.offset, record.key, record.value)
        for answer, record in zip(answers, records, strict=True)
    ]


def kafka_python_consume(bootstrap: str, topic: str, count: int, group: str) -> list[Seen]:
    consumer = kafka.KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap.split(","),
        group_id=group,
        auto_offset_reset="earliest",
    )
    seen: list[Seen] = []
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while len(seen) < count and time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=1000).values():
                seen += [Seen(r.partition, r.offset, r.key, r.value) for r in batch]
    finally:
        consumer.close()
    return seen


def aiokafka_produce(bootstrap: str, topic: str, records: Sequence[Sent], codec: str) -> list[Seen]:
    async def run() -> list[Seen]:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec
        )
        async with producer:
            futures = [
                await producer.send(topic, record.value, record.key, partition=record.partition)
                for record in records
            ]
            answers = await asyncio.wait_for(asyncio.gather(*futures), TIMEOUT_S)
        return [
            Seen(answer.partition, answer.offset, record.key, record.value)
            for answer, record in zip(answers, records, strict=True)
        ]

    return asyncio.run(run())


def aiokafka_consume(bootstrap: str, topic: str, count: int, group: str) -> list[Seen]:
    async def run() -> list[Seen]:
        consumer = aiokafka.AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
        )
        seen: list[Seen] = []
        async with consumer:
            async with asyncio.timeout(TIMEOUT_S):
                while len(seen) < count:
                    for batch in (await consumer.getmany(timeout_ms=1000)).values():
                        seen += [Seen(r.partition, r.offset, r.key, r.value) for r in batch]
        return seen

    return asyncio.run(run())


PRODUCE: dict[str, Produce] = {
    "confluent-kafka": confluent_produce,
    "kafka-python": kafka_python_produce,
    "aiokafka": aiokafka_produce,
}
CONSUME: dict[str, Consume] = {
    "confluent-kafka": confluent_consume,
    "kafka-python": kafka_python_consume,
    "aiokafka": aiokafka_consume,
}

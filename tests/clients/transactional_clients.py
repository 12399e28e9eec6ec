"""confluent-kafka, kafka-python and aiokafka as transactional producers behind one face.

Every client keeps its default settings but for the transactional id and the timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import aiokafka
import confluent_kafka
import kafka

from tests.clients.python_clients import TIMEOUT_S

T = TypeVar("T")
Offsets = dict[tuple[str, int], int]


class Transactional(Protocol):
    """A producer that writes in transactions; it begins none by itself. Close it."""

    def begin(self) -> None: ...

    def send(self, topic: str, partition: int, value: bytes) -> None:
        """Returns when it is acknowledged."""
        ...

    def send_offsets(self, offsets: Offsets, group: str) -> None: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Confluent:
    def __init__(self, bootstrap: str, transactional_id: str, timeout_ms: int = 60_000) -> None:
        self.producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": timeout_ms,
                "log_level": 0,
                "error_cb": lambda error: None,
            }
        )
        self.producer.init_transactions(TIMEOUT_S)

    def begin(self) -> None:
        self.producer.begin_transaction()

    def send(self, topic: str, partition: int, value: bytes) -> None:
        failed: list[Any] = []

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                failed.append(error)

        self.producer.produce(topic, value, partition=partition, on_delivery=delivered)
        assert self.producer.flush(TIMEOUT_S) == 0
        if failed:
            raise confluent_kafka.KafkaException(failed[0])

    def send_offsets(self, offsets: Offsets, group: str) -> None:
        consumer = confluent_kafka.Consumer(self._consumer(group))
        try:
            self.producer.send_offsets_to_transaction(
                [confluent_kafka.TopicPartition(*key, at) for key, at in offsets.items()],
                consumer.consumer_group_metadata(),
                TIMEOUT_S,
            )
        finally:
            consumer.close()

    def _consumer(self, group: str) -> dict[str, Any]:
        # It is asked for the name of its group, not to reach anybody.
        return {"bootstrap.servers": "127.0.0.1:1", "group.id": group, "log_level": 0}

    def commit(self) -> None:
        self.producer.commit_transaction(TIMEOUT_S)

    def abort(self) -> None:
        self.producer.abort_transaction(TIMEOUT_S)

    def close(self) -> None:
        self.producer.purge()


class KafkaPython:
    def __init__(self, bootstrap: str, transactional_id: str, timeout_ms: int = 60_000) -> None:
        self.producer = kafka.KafkaProducer(
            bootstrap_servers=bootstrap,
            transactional_id=transactional_id,
            transaction_timeout_ms=timeout_ms,
        )
        self.producer.init_transactions()

    def begin(self) -> None:
        self.producer.begin_transaction()

    def send(self, topic: str, partition: int, value: bytes) -> None:
        self.producer.send(topic, value, partition=partition).get(TIMEOUT_S)

    def send_offsets(self, offsets: Offsets, group: str) -> None:
        self.producer.send_offsets_to_transaction(
            {
                kafka.TopicPartition(*key): kafka.structs.OffsetAndMetadata(at, "", -1)
                for key, at in offsets.items()
            },
            group,
        )

    def commit(self) -> None:
        self.producer.commit_transaction()

    def abort(self) -> None:
        self.producer.abort_transaction()

    def close(self) -> None:
        self.producer.close(timeout=0)


class AioKafka:
    """On a loop of its own, which runs only while it is asked for something."""

    def __init__(self, bootstrap: str, transactional_id: str, timeout_ms: int = 60_000) -> None:
        self.loop = asyncio.new_event_loop()
        self.producer = self._run(self._make(bootstrap, transactional_id, timeout_ms))

    async def _make(self, bootstrap: str, transactional_id: str, timeout_ms: int) -> Any:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            transactional_id=transactional_id,
            transaction_timeout_ms=timeout_ms,
        )
        await producer.start()
        return producer

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, TIMEOUT_S))

    def begin(self) -> None:
        self._run(self.producer.begin_transaction())

    def send(self, topic: str, partition: int, value: bytes) -> None:
        self._run(self.producer.send_and_wait(topic, value, partition=partition))

    def send_offsets(self, offsets: Offsets, group: str) -> None:
        wanted = {aiokafka.TopicPartition(*key): at for key, at in offsets.items()}
        self._run(self.producer.send_offsets_to_transaction(wanted, group))

    def commit(self) -> None:
        self._run(self.producer.commit_transaction())

    def abort(self) -> None:
        self._run(self.producer.abort_transaction())

    def close(self) -> None:
        self._run(self.producer.stop())
        self.loop.close()


CLIENTS = {"confluent-kafka": Confluent, "kafka-python": KafkaPython, "aiokafka": AioKafka}

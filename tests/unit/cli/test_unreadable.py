"""What keeps a topic from being read, by what a cluster answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tidelog.cli.unreadable import SILENT_S, trouble


class FakeConsumer:
    """errors: of partitions in the metadata; refused: of those that are asked for their offsets."""

    def __init__(self, *, topic: int | None = None, **codes: dict[int, int]) -> None:
        self.topic = None if topic is None else KafkaError(topic)
        self.errors, self.refused = codes.get("errors", {}), codes.get("refused", {})
        self.asked: list[int] = []

    def list_topics(self, topic: str, timeout: float) -> Any:
        partitions = {
            one: SimpleNamespace(error=KafkaError(self.errors[one]) if one in self.errors else None)
            for one in range(3)
        }
        return SimpleNamespace(
            topics={topic: SimpleNamespace(error=self.topic, partitions=partitions)}
        )

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        self.asked.append(partition.partition)
        if partition.partition in self.refused:
            code = self.refused[partition.partition]
            raise KafkaException(KafkaError(code, "Failed to get it: Broker: no"))
        return 0, 1


def why(consumer: FakeConsumer, *unread: int, silent_s: float = 1.0) -> str | None:
    return trouble(consumer, "t", unread, silent_s)  # type: ignore[arg-type]


def test_nothing_is_wrong() -> None:
    consumer = FakeConsumer()
    assert why(consumer) is None
    assert consumer.asked == []
    assert why(consumer, 1, 0) is None
    assert consumer.asked == [0, 1]


def test_a_topic_that_is_gone() -> None:
    gone = why(FakeConsumer(topic=KafkaError.UNKNOWN_TOPIC_OR_PART))
    assert gone is not None and gone.startswith("topic t cannot be read: ")
    assert "UNKNOWN_TOPIC_OR_PART" in gone


def test_a_partition_without_a_leader() -> None:
    consumer = FakeConsumer(errors={1: KafkaError.LEADER_NOT_AVAILABLE})
    assert why(consumer, 0, 2) is None
    found = why(consumer, 0, 1)
    assert found is not None and found.startswith("t-1 cannot be read: ")
    assert "LEADER_NOT_AVAILABLE" in found


def test_a_partition_whose_log_is_offline() -> None:
    consumer = FakeConsumer(refused={2: KafkaError.KAFKA_STORAGE_ERROR})
    assert why(consumer, 0, 1) is None
    found = why(consumer, 2)
    assert found is not None and "t-2 cannot be read: Broker: Disk error" in found
    away = why(FakeConsumer(refused={0: KafkaError._TIMED_OUT}), 0)
    assert away == "t-0 cannot be read: the cluster cannot be reached"


def test_a_partition_that_answers_and_gives_nothing() -> None:
    assert (
        why(FakeConsumer(), 1, silent_s=SILENT_S) == "t-1 cannot be read: nothing came of it in 5 s"
    )

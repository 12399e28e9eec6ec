"""Produce requests of one partition, and their answers."""

from __future__ import annotations

from typing import Any

from tests.unit.native.lane_harness import topic_id_of
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)


def produce(
    records: bytes | None,
    *,
    topic: str = "t",
    index: int = 0,
    acks: int = 1,
    version: int = 9,
    timeout_ms: int = 1000,
) -> ProduceRequest:
    data = TopicProduceData(
        name=topic,
        topic_id=topic_id_of(topic),
        partition_data=[PartitionProduceData(index=index, records=records)],
    )
    return ProduceRequest(acks=acks, timeout_ms=timeout_ms, topic_data=[data])


def only(answer: Any) -> Any:
    assert len(answer.responses) == 1
    assert len(answer.responses[0].partition_responses) == 1
    return answer.responses[0].partition_responses[0]

"""DescribeProducers: what the leader remembers, and the error table."""

from __future__ import annotations

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.describe_producers import DescribeProducersRequest, TopicRequest


async def test_producers_and_refusals() -> None:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    #: producer id, epoch, last sequence, last offset, offset delta, timestamp, coordinator epoch,
    #: first offset of the open transaction
    entry = (4000, 3, 17, 99, 2, 123456, -1, -1)
    node.log("t").core.producers.load([entry], 100)
    request = DescribeProducersRequest(
        topics=[
            TopicRequest(name="t", partition_indexes=[0, 1, 9]),
            TopicRequest(name="none", partition_indexes=[0]),
            TopicRequest(name="b d", partition_indexes=[0]),
        ]
    )
    answer = await node.ask(request, 0)
    results = [
        (t.name, p.partition_index, p.error_code) for t in answer.topics for p in t.partitions
    ]
    assert results == [("t", 0, 0), ("t", 1, 6), ("t", 9, 3), ("none", 0, 3), ("b d", 0, 17)]
    (producer,) = answer.topics[0].partitions[0].active_producers
    assert (producer.producer_id, producer.producer_epoch, producer.last_sequence) == (4000, 3, 17)
    assert producer.last_timestamp == 123456
    assert (producer.coordinator_epoch, producer.current_txn_start_offset) == (-1, -1)
    assert answer.topics[0].partitions[0].error_message is None
    assert all(p.error_message for t in answer.topics for p in t.partitions if p.error_code)

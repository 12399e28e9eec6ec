"""ListPartitionReassignments: what the metadata says is being moved."""

from __future__ import annotations

import msgspec

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.metadata.image import partition_record
from tidelog.protocol.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsTopics,
)


async def world() -> Node:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    return node


async def test_nothing_is_under_way() -> None:
    node = await world()
    some = [
        ListPartitionReassignmentsTopics(name="t", partition_indexes=[0, 9]),
        ListPartitionReassignmentsTopics(name="none", partition_indexes=[0]),
    ]
    for topics in (None, [], some):
        answer = await node.ask(ListPartitionReassignmentsRequest(topics=topics), 0)
        assert (answer.error_code, answer.error_message, answer.topics) == (0, None, [])


async def test_a_move_is_shown() -> None:
    node = await world()
    topic = node.image.topics["t"]
    moving = msgspec.structs.replace(
        topic.partitions[1], replicas=(1, 2), adding_replicas=(2,), removing_replicas=(1,)
    )
    node.controller.apply(partition_record(topic.topic_id, moving))
    answer = await node.ask(ListPartitionReassignmentsRequest(topics=None), 0)
    (found,) = answer.topics
    (partition,) = found.partitions
    assert (found.name, partition.partition_index) == ("t", 1)
    assert (partition.replicas, partition.adding_replicas) == ([1, 2], [2])
    assert partition.removing_replicas == [1]

"""OffsetDelete: what reaches the coordinator, and the answer put together again."""

from __future__ import annotations

from tests.unit.handlers.worlds import Node, refusal
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)


def topic(name: str, *indexes: int) -> OffsetDeleteRequestTopic:
    return OffsetDeleteRequestTopic(
        name=name, partitions=[OffsetDeleteRequestPartition(partition_index=i) for i in indexes]
    )


def deleted(request: OffsetDeleteRequest) -> OffsetDeleteResponse:
    return OffsetDeleteResponse(
        topics=[
            OffsetDeleteResponseTopic(
                name=each.name,
                partitions=[
                    OffsetDeleteResponsePartition(
                        partition_index=p.partition_index, error_code=86 if each.name == "u" else 0
                    )
                    for p in each.partitions
                ],
            )
            for each in request.topics
        ]
    )


async def test_unknown_partitions_are_refused_beside_the_others() -> None:
    node = Node()
    await node.create(NewTopic("t", 2, 1), NewTopic("u", 1, 1), NewTopic("t2", 1, 1))
    node.groups.answers["delete_offsets"] = deleted
    request = OffsetDeleteRequest(
        group_id="g", topics=[topic("t", 0, 5), topic("gone", 0), topic("u", 0), topic("t2")]
    )
    answer = await node.ask(request, 0)
    found = {
        each.name: [(p.partition_index, p.error_code) for p in each.partitions]
        for each in answer.topics
    }
    assert found == {"t": [(0, 0), (5, 3)], "gone": [(0, 3)], "u": [(0, 86)]}


async def test_a_group_is_refused_as_a_whole() -> None:
    node = Node()
    node.groups.answers["delete_offsets"] = refusal(69)
    answer = await node.ask(OffsetDeleteRequest(group_id="g", topics=[]), 0)
    assert (answer.error_code, answer.topics) == (69, [])

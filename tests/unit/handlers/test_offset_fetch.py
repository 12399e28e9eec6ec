"""OffsetFetch: one form for the coordinator, each version's own for the client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.errors import KafkaError
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)

UNKNOWN_ID = b"\x01" * 16
#: The coordinator of the fakes has these, and one for a topic that exists no more.
COMMITTED = {("t", 0): 5, ("gone", 0): 7}


def fetched(group: OffsetFetchRequestGroup, require_stable: bool) -> Any:
    if group.group_id == "elsewhere":
        return KafkaError(16)
    if group.group_id == "stale":
        return OffsetFetchResponseGroup(group_id=group.group_id, error_code=113)
    wanted = [("t", [0]), ("gone", [0])]
    if group.topics is not None:
        wanted = [(topic.name, topic.partition_indexes) for topic in group.topics]
    return OffsetFetchResponseGroup(
        group_id=group.group_id,
        topics=[
            OffsetFetchResponseTopics(
                name=name,
                partitions=[
                    OffsetFetchResponsePartitions(
                        partition_index=index,
                        committed_offset=COMMITTED.get((name, index), -1),
                        committed_leader_epoch=3,
                        metadata="m",
                    )
                    for index in indexes
                ],
            )
            for name, indexes in wanted
        ],
    )


async def world() -> Node:
    node = Node()
    await node.create(NewTopic("t", 2, 1))
    node.groups.answers["fetch_offsets"] = fetched
    return node


def offsets(group: Any) -> list[tuple[str, int, int, int]]:
    return [
        (topic.name, p.partition_index, p.committed_offset, p.error_code)
        for topic in group.topics
        for p in topic.partitions
    ]


def old(group_id: str = "g") -> OffsetFetchRequest:
    topics = [
        OffsetFetchRequestTopic(name="t", partition_indexes=[0, 1]),
        OffsetFetchRequestTopic(name="none", partition_indexes=[0]),
    ]
    return OffsetFetchRequest(group_id=group_id, topics=topics)


def groups(*items: OffsetFetchRequestGroup) -> OffsetFetchRequest:
    return OffsetFetchRequest(groups=list(items), topics=[])


@pytest.mark.parametrize("version", range(1, 8))
async def test_one_group(version: int) -> None:
    answer = await (await world()).ask(old(), version)
    assert answer.error_code == 0
    assert offsets(answer) == [("t", 0, 5, 0), ("t", 1, -1, 0), ("none", 0, -1, 0)]
    assert answer.topics[0].partitions[0].metadata == "m"
    assert answer.topics[0].partitions[0].committed_leader_epoch == (3 if version >= 5 else -1)


@pytest.mark.parametrize("version", range(2, 8))
async def test_all_offsets_of_one_group(version: int) -> None:
    node = await world()
    answer = await node.ask(OffsetFetchRequest(group_id="g", topics=None), version)
    assert offsets(answer) == [("t", 0, 5, 0), ("gone", 0, 7, 0)]
    ((_, group, require_stable),) = node.groups.asked
    assert (group.topics, require_stable) == (None, False)


@pytest.mark.parametrize("version", [8, 9])
async def test_several_groups(version: int) -> None:
    topics = [OffsetFetchRequestTopics(name="t", partition_indexes=[0, 1])]
    request = groups(
        OffsetFetchRequestGroup(group_id="a", topics=topics),
        OffsetFetchRequestGroup(group_id="elsewhere", topics=topics),
        OffsetFetchRequestGroup(group_id="stale", topics=None),
        OffsetFetchRequestGroup(group_id="b", topics=None),
    )
    answer = await (await world()).ask(request, version)
    assert [(g.group_id, g.error_code, offsets(g)) for g in answer.groups] == [
        ("a", 0, [("t", 0, 5, 0), ("t", 1, -1, 0)]),
        ("elsewhere", 16, []),
        ("stale", 113, []),
        ("b", 0, [("t", 0, 5, 0), ("gone", 0, 7, 0)]),
    ]


async def test_topic_ids() -> None:
    node = await world()
    topic_id = node.image.topics["t"].topic_id
    topics = [
        OffsetFetchRequestTopics(topic_id=UNKNOWN_ID, partition_indexes=[0, 3]),
        OffsetFetchRequestTopics(topic_id=topic_id, partition_indexes=[0]),
    ]
    request = groups(
        OffsetFetchRequestGroup(group_id="g", topics=topics),
        OffsetFetchRequestGroup(group_id="g", topics=None),
    )
    answer = await node.ask(request, 10)
    some, everything = answer.groups
    assert {t.topic_id: [p.error_code for p in t.partitions] for t in some.topics} == {
        topic_id: [0],
        UNKNOWN_ID: [100, 100],
    }
    assert [t.topic_id for t in everything.topics] == [topic_id]


@pytest.mark.parametrize("version", range(1, 8))
async def test_a_coordinator_that_is_elsewhere(version: int) -> None:
    answer = await (await world()).ask(old("elsewhere"), version)
    if version == 1:
        assert offsets(answer) == [("t", 0, -1, 16), ("t", 1, -1, 16), ("none", 0, -1, 16)]
    else:
        assert (answer.error_code, answer.topics) == (16, [])

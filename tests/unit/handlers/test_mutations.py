"""The quota of changes (KIP-599): topics and partitions beyond it are refused, or held against
their client.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.metadata.records import QuotaRecord
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic


async def limited(rate: float = 1.0) -> Node:
    """A burst of 11 partitions for the client of these tests."""
    node = Node(nodes=1)
    await node.create(NewTopic("old", 4, 1), NewTopic("other", 1, 1))
    node.controller.apply(QuotaRecord((("client-id", "test"),), "controller_mutation_rate", rate))
    await node.follow()
    return node


def topics(**counts: int) -> CreateTopicsRequest:
    return CreateTopicsRequest(
        topics=[
            CreatableTopic(name=name, num_partitions=count, replication_factor=1)
            for name, count in counts.items()
        ]
    )


def codes(items: list[Any]) -> dict[str, int]:
    return {item.name: item.error_code for item in items}


async def test_topics_beyond_the_quota_are_refused() -> None:
    node = await limited()
    answer = await node.ask(topics(a=5, old=50, b=10, c=1), 6)
    assert codes(answer.topics) == {"a": 0, "old": 36, "b": 0, "c": 89}
    assert answer.throttle_time_ms == 4000
    assert {"a", "b"} <= set(node.image.topics) and "c" not in node.image.topics
    node.clock.advance(4000)
    answer = await node.ask(topics(c=1), 7)
    assert (codes(answer.topics), answer.throttle_time_ms) == ({"c": 0}, 0)


async def test_older_versions_are_carried_out_and_wait() -> None:
    node = await limited()
    answer = await node.ask(topics(a=12, b=3), 5)
    assert codes(answer.topics) == {"a": 0, "b": 0}
    assert answer.throttle_time_ms == 4000


async def test_partitions() -> None:
    node = await limited()

    def more(**counts: int) -> CreatePartitionsRequest:
        wanted = [
            CreatePartitionsTopic(name=n, count=c, assignments=None) for n, c in counts.items()
        ]
        return CreatePartitionsRequest(topics=wanted, timeout_ms=5000)

    answer = await node.ask(more(old=18, none=50, other=2), 3)
    assert codes(answer.results) == {"old": 0, "none": 3, "other": 89}
    assert answer.throttle_time_ms == 3000
    assert len(node.image.topics["other"].partitions) == 1
    answer = await node.ask(more(other=2), 2)
    assert codes(answer.results) == {"other": 0}
    assert answer.throttle_time_ms == 4000


@pytest.mark.parametrize("version", [4, 5, 6])
async def test_deletions(version: int) -> None:
    node = await limited(rate=0.25)

    async def delete(*names: str) -> Any:
        if version < 6:
            return await node.ask(DeleteTopicsRequest(topic_names=list(names)), version)
        wanted = [DeleteTopicState(name=name) for name in names]
        return await node.ask(DeleteTopicsRequest(topics=wanted), version)

    answer = await delete("old", "none", "other")
    strict = version >= 5
    assert codes(answer.responses) == {"old": 0, "none": 3, "other": 89 if strict else 0}
    assert ("other" in node.image.topics) is strict
    assert answer.throttle_time_ms == (5000 if strict else 9000)


async def test_what_only_is_checked_counts_too() -> None:
    node = await limited()
    request = topics(a=12)
    request.validate_only = True
    assert codes((await node.ask(request, 7)).topics) == {"a": 0}
    assert codes((await node.ask(topics(a=1), 7)).topics) == {"a": 89}


async def test_topics_that_come_by_use_count_too() -> None:
    """Asked of 4.3.1: with 0.1 changes a second, 2 of 24 topics were there."""
    node = await limited(0.1)
    wanted = [MetadataRequestTopic(name=f"new-{number}") for number in range(4)]
    answer = await node.ask(MetadataRequest(topics=wanted), 9)
    assert [topic.error_code for topic in answer.topics] == [0, 0, 3, 3]
    assert answer.throttle_time_ms == 0
    assert {"new-0", "new-1"} <= set(node.image.topics)
    assert "new-2" not in node.image.topics
    node.clock.advance(60_000)
    answer = await node.ask(MetadataRequest(topics=wanted), 9)
    assert [topic.error_code for topic in answer.topics] == [0, 0, 0, 0]

"""CreateTopics: results in every version, and the error table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import CreateTopics
from tidelog.protocol.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)


def new(
    name: str,
    partitions: int = 1,
    replication: int = 1,
    assignments: tuple[tuple[int, ...], ...] = (),
    **configs: str | None,
) -> CreatableTopic:
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=replication,
        assignments=[
            CreatableReplicaAssignment(partition_index=i, broker_ids=list(replicas))
            for i, replicas in enumerate(assignments)
        ],
        configs=[
            CreatableTopicConfig(name=key.replace("_", "."), value=value)
            for key, value in configs.items()
        ],
    )


def request(*topics: CreatableTopic, **words: Any) -> CreateTopicsRequest:
    return CreateTopicsRequest(topics=list(topics), timeout_ms=5000, **words)


@pytest.mark.parametrize("version", range(2, 8))
async def test_created_in_every_version(version: int) -> None:
    node = Node()
    answer = await node.ask(request(new("t", 2, retention_ms=" 1000 ")), version)
    (result,) = answer.topics
    assert (result.name, result.error_code, result.error_message) == ("t", 0, None)
    assert result.topic_id == (node.image.topics["t"].topic_id if version >= 7 else bytes(16))
    assert len(node.image.topics["t"].partitions) == 2
    if version < 5:
        assert (result.num_partitions, result.replication_factor) == (-1, -1)
        return
    assert (result.num_partitions, result.replication_factor) == (2, 1)
    configs = {c.name: (c.value, c.config_source, c.read_only) for c in result.configs}
    assert len(configs) == 33
    assert configs["retention.ms"] == (" 1000 ", 1, False)
    assert configs["segment.bytes"] == ("1073741824", 5, False)


async def test_the_leaders_serve_when_the_answer_comes() -> None:
    node = Node(nodes=1)
    await node.ask(request(new("t", 3)), 7)
    for index in range(3):
        assert node.replicas.leader("t", index).is_leader


async def test_validate_only_creates_nothing() -> None:
    node = Node()
    answer = await node.ask(request(new("t", 3), validate_only=True), 7)
    assert (answer.topics[0].error_code, answer.topics[0].num_partitions) == (0, 3)
    assert not node.image.topics


async def test_manual_assignment() -> None:
    node = Node(nodes=2)
    answer = await node.ask(request(new("t", -1, -1, ((2,), (1,), (2,)))), 7)
    assert answer.topics[0].num_partitions == 3
    assert [p.leader for p in node.image.topics["t"].partitions] == [2, 1, 2]


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (new("exists"), 36),
        (new("ex.ists"), 17),
        (new(""), 17),
        (new("a b"), 17),
        (new("x" * 250), 17),
        (new("__cluster_metadata"), 42),
        (new("t", 0), 37),
        (new("t", -5), 37),
        (new("t", 1, 0), 38),
        (new("t", 1, 3), 38),
        (new("t", 2, 1, ((1,), (2,))), 42),
        (new("t", -1, -1, ((9,),)), 39),
        (new("t", -1, -1, ((1, 1),)), 39),
        (new("t", -1, -1, ((),)), 39),
        (new("t", retention_ms="abc"), 40),
        (new("t", no_such_config="1"), 40),
        (new("t", retention_ms=None), 40),
    ],
)
async def test_refusals(topic: CreatableTopic, code: int) -> None:
    node = Node(nodes=2)
    await node.ask(request(new("exists"), new("ex_ists")), 7)
    version = node.image.version
    answer = await node.ask(request(topic, new("beside")), 7)
    refused, created = sorted(answer.topics, key=lambda result: result.name == "beside")
    assert (refused.error_code, created.error_code) == (code, 0)
    assert refused.error_message
    assert (refused.num_partitions, refused.replication_factor, refused.configs) == (-1, -1, [])
    assert node.image.version == version + 1


async def test_a_name_given_twice_gets_one_answer() -> None:
    answer = await Node().ask(request(new("t"), new("t"), new("u")), 7)
    assert {r.name: r.error_code for r in answer.topics} == {"t": 42, "u": 0}
    assert len(answer.topics) == 2


async def test_no_topics() -> None:
    node = Node()
    assert (await node.ask(request(), 7)).topics == []
    assert not node.requests


async def test_a_silent_controller() -> None:
    node = Node()
    await node.follow()
    node.silent = True
    answer = await node.ask(request(new("t"), new("u")), 7)
    assert [(r.name, r.error_code) for r in answer.topics] == [("t", 7), ("u", 7)]
    assert isinstance(node.requests[0], CreateTopics)

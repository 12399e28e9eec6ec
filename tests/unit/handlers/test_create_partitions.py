"""CreatePartitions: more partitions that serve, and the error table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)


def more(
    name: str, count: int, assignments: tuple[tuple[int, ...], ...] | None = None
) -> CreatePartitionsTopic:
    lists = None
    if assignments is not None:
        lists = [CreatePartitionsAssignment(broker_ids=list(each)) for each in assignments]
    return CreatePartitionsTopic(name=name, count=count, assignments=lists)


def request(*topics: CreatePartitionsTopic, **words: Any) -> CreatePartitionsRequest:
    return CreatePartitionsRequest(topics=list(topics), timeout_ms=5000, **words)


async def world() -> Node:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    return node


@pytest.mark.parametrize("version", range(4))
async def test_more_partitions(version: int) -> None:
    node = await world()
    old = node.replicas.partition("t", 0)
    answer = await node.ask(request(more("t", 4)), version)
    assert [(r.name, r.error_code, r.error_message) for r in answer.results] == [("t", 0, None)]
    assert len(node.image.topics["t"].partitions) == 4
    assert node.replicas.partition("t", 0) is old
    assert node.replicas.partition("t", 3) is not None


async def test_assigned_partitions() -> None:
    node = await world()
    await node.ask(request(more("t", 4, ((1,), (1,)))), 3)
    assert node.replicas.leader("t", 2).is_leader
    assert node.replicas.leader("t", 3).is_leader


async def test_validate_only() -> None:
    node = await world()
    answer = await node.ask(request(more("t", 4), validate_only=True), 3)
    assert answer.results[0].error_code == 0
    assert len(node.image.topics["t"].partitions) == 2


@pytest.mark.parametrize(
    ("topics", "codes"),
    [
        ((more("t", 2),), {"t": 37}),
        ((more("t", 1),), {"t": 37}),
        ((more("t", -1),), {"t": 37}),
        ((more("none", 3),), {"none": 3}),
        ((more("t", 3), more("t", 4)), {"t": 42}),
        ((more("t", 4, ((1,),)),), {"t": 39}),
        ((more("t", 3, ((1, 1),)),), {"t": 39}),
        ((more("t", 3, ((7,),)),), {"t": 39}),
        ((more("t", 3, ((),)),), {"t": 39}),
    ],
)
async def test_refusals(topics: tuple[CreatePartitionsTopic, ...], codes: dict[str, int]) -> None:
    node = await world()
    answer = await node.ask(request(*topics), 3)
    assert {r.name: r.error_code for r in answer.results} == codes
    assert len(answer.results) == len(codes)
    assert all(r.error_message for r in answer.results)


async def test_a_silent_controller() -> None:
    node = await world()
    node.silent = True
    answer = await node.ask(request(more("t", 4)), 3)
    assert [(r.name, r.error_code) for r in answer.results] == [("t", 7)]

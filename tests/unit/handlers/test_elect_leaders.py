"""ElectLeaders: what the controller is asked, and how its answer is given."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import (
    ElectLeaders,
    ElectLeadersAnswer,
    FenceNode,
    NewTopic,
    PartitionResult,
)
from tidelog.handlers.context import RequestContext
from tidelog.handlers.elect_leaders import error_answer
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.elect_leaders import ElectLeadersRequest, TopicPartitions


def codes(answer: Any) -> dict[str, list[tuple[int, int]]]:
    return {
        topic.topic: [(each.partition_id, each.error_code) for each in topic.partition_result]
        for topic in answer.replica_election_results
    }


def wanted(**topics: list[int]) -> list[TopicPartitions]:
    return [TopicPartitions(topic=name, partitions=parts) for name, parts in topics.items()]


async def world() -> Node:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    return node


@pytest.mark.parametrize("version", range(3))
async def test_led_partitions_need_no_election(version: int) -> None:
    node = await world()
    answer = await node.ask(
        ElectLeadersRequest(topic_partitions=wanted(t=[0, 1, 9], none=[0])), version
    )
    assert codes(answer) == {"t": [(0, 84), (1, 84), (9, 3)], "none": [(0, 3)]}
    assert answer.error_code == 0


async def test_all_partitions_are_named_only_where_something_failed() -> None:
    node = await world()
    everything = ElectLeadersRequest(topic_partitions=None)
    assert codes(await node.ask(everything, 2)) == {"t": []}
    lost = next(p.index for p in node.image.topics["t"].partitions if p.leader == 2)
    epoch = node.image.nodes[2].epoch
    node.controller.ask(FenceNode(2, epoch))
    assert codes(await node.ask(everything, 2)) == {"t": [(lost, 80)]}
    everything.election_type = 1
    assert codes(await node.ask(everything, 2)) == {"t": [(lost, 83)]}


@pytest.mark.parametrize("version", range(3))
async def test_the_controller_elects(version: int) -> None:
    node = await world()
    kind = 1 if version else 0
    request = ElectLeadersRequest(
        topic_partitions=wanted(t=[1, 0], u=[5]), election_type=kind, timeout_ms=77
    )
    asked: list[tuple[Any, int]] = []

    async def answer(request: Any, timeout_ms: int) -> Any:
        asked.append((request, timeout_ms))
        results = (("t", 1, 0, None), ("t", 0, 80, "why"), ("u", 5, 3, "no"))
        return ElectLeadersAnswer(tuple(PartitionResult(*each) for each in results))

    node.request = answer  # type: ignore[method-assign]
    found = await node.ask(request, version)
    assert asked == [(ElectLeaders(kind, (("t", 1), ("t", 0), ("u", 5))), 77)]
    assert codes(found) == {"t": [(1, 0), (0, 80)], "u": [(5, 3)]}
    messages = [e.error_message for t in found.replica_election_results for e in t.partition_result]
    assert messages == [None, "why", "no"]


async def test_what_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    node = await world()
    monkeypatch.setattr(RequestContext, "authorize", lambda self, operation, kind, name: False)
    assert (await node.ask(ElectLeadersRequest(topic_partitions=None), 2)).error_code == 31
    assert node.requests == []


@pytest.mark.parametrize(("version", "code"), [(0, 0), (2, 7)])
async def test_an_error_of_the_whole_request_is_that_of_its_partitions(
    version: int, code: int
) -> None:
    request = ElectLeadersRequest(topic_partitions=wanted(t=[0]))
    answer = error_answer(request, ErrorCode.REQUEST_TIMED_OUT, None, version)
    assert (answer.error_code, codes(answer)) == (code, {"t": [(0, 7)]})

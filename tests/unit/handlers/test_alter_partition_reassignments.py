"""AlterPartitionReassignments: what the controller is asked, and how its answer is given."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import (
    AlterReassignments,
    AlterReassignmentsAnswer,
    NewTopic,
    PartitionReassignment,
    PartitionResult,
)
from tidelog.handlers.alter_partition_reassignments import error_answer
from tidelog.handlers.context import RequestContext
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from tidelog.protocol.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
)


def ask(*topics: tuple[str, int, list[int] | None], **words: Any) -> Any:
    return AlterPartitionReassignmentsRequest(
        topics=[
            ReassignableTopic(
                name=name,
                partitions=[ReassignablePartition(partition_index=index, replicas=replicas)],
            )
            for name, index, replicas in topics
        ],
        **words,
    )


def results(answer: Any) -> list[tuple[str, int, int, str | None]]:
    return [
        (topic.name, each.partition_index, each.error_code, each.error_message)
        for topic in answer.responses
        for each in topic.partitions
    ]


@pytest.mark.parametrize("version", range(2))
async def test_the_controller_is_asked(version: int) -> None:
    node = Node()
    asked: list[tuple[Any, int]] = []

    async def answer(request: Any, timeout_ms: int) -> Any:
        asked.append((request, timeout_ms))
        found = (("t", 1, 0, None), ("u", 0, 85, None))
        return AlterReassignmentsAnswer(tuple(PartitionResult(*each) for each in found))

    node.request = answer  # type: ignore[method-assign]
    words = {"allow_replication_factor_change": False} if version else {}
    found = await node.ask(ask(("t", 1, [2, 3]), ("u", 0, None), timeout_ms=77, **words), version)
    items = (PartitionReassignment("t", 1, (2, 3)), PartitionReassignment("u", 0, None))
    assert asked == [(AlterReassignments(items, not version), 77)]
    assert results(found) == [("t", 1, 0, None), ("u", 0, 85, None)]
    assert (found.error_code, found.error_message) == (0, None)
    assert found.allow_replication_factor_change == (not version)


async def test_a_move_and_the_way_back() -> None:
    node = Node(nodes=3, replication_factor_max=3)
    node.lagging = True
    node.controller.create(NewTopic("t", 1, 1))

    async def moves() -> list[tuple[list[int], list[int], list[int]]]:
        node.image = node.controller.image
        answer = await node.ask(ListPartitionReassignmentsRequest(topics=None), 0)
        return [
            (each.replicas, each.adding_replicas, each.removing_replicas)
            for topic in answer.topics
            for each in topic.partitions
        ]

    assert results(await node.ask(ask(("t", 0, [2, 3])), 1)) == [("t", 0, 0, None)]
    assert await moves() == [([2, 3, 1], [2, 3], [1])]
    assert results(await node.ask(ask(("t", 0, None)), 1)) == [("t", 0, 0, None)]
    assert await moves() == []
    assert results(await node.ask(ask(("t", 0, None)), 1)) == [("t", 0, 85, None)]


async def test_what_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    monkeypatch.setattr(RequestContext, "authorize", lambda self, operation, kind, name: False)
    assert (await node.ask(ask(("t", 0, [1])), 1)).error_code == 31
    assert node.requests == []


async def test_a_controller_that_is_silent() -> None:
    node = Node()
    node.silent = True
    answer = await node.ask(ask(("t", 0, [1])), 1)
    assert (answer.error_code, answer.responses) == (7, [])


def test_an_error_of_the_whole_request() -> None:
    answer = error_answer(ask(("t", 0, [1])), ErrorCode.REQUEST_TIMED_OUT, "why", 1)
    assert (answer.error_code, answer.error_message) == (7, "why")

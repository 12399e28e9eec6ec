"""DeleteTopics: by name, by id, and the error table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState

UNKNOWN_ID = b"\x01" * 16


def by_name(*names: str) -> DeleteTopicsRequest:
    return DeleteTopicsRequest(
        topic_names=list(names),
        topics=[DeleteTopicState(name=name) for name in names],
        timeout_ms=5000,
    )


def ask(version: int, *names: str) -> DeleteTopicsRequest:
    request = by_name(*names)
    if version < 6:
        request.topics = []
    return request


def outcome(answer: Any) -> list[tuple[str | None, int]]:
    return [(result.name, result.error_code) for result in answer.responses]


@pytest.mark.parametrize("version", range(1, 7))
async def test_deleted_in_every_version(version: int) -> None:
    node = Node()
    await node.create(NewTopic("t", 2, 1), NewTopic("u", 1, 1))
    topic_id, log = node.image.topics["t"].topic_id, node.log("t")
    answer = await node.ask(ask(version, "t"), version)
    assert outcome(answer) == [("t", 0)]
    assert answer.responses[0].topic_id == (topic_id if version >= 6 else bytes(16))
    assert answer.responses[0].error_message is None
    assert list(node.image.topics) == ["u"]
    assert log.deleted
    assert node.replicas.partition("t", 0) is None


async def test_deleted_by_id() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    topic_id = node.image.topics["t"].topic_id
    request = DeleteTopicsRequest(topics=[DeleteTopicState(name=None, topic_id=topic_id)])
    request.timeout_ms = 5000
    assert outcome(await node.ask(request, 6)) == [("t", 0)]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([("nope", None)], [("nope", 3)]),
        ([("a b", None)], [("a b", 3)]),
        ([(None, UNKNOWN_ID)], [(None, 100)]),
        ([(None, None)], [(None, 42)]),
        ([("t", "own")], [("t", 42)]),
        ([("t", None), ("t", None)], [("t", 42)]),
        ([(None, "own"), (None, "own")], [(None, 42)]),
        ([("t", None), (None, "own")], [("t", 42)]),
        ([(None, "own"), ("t", None), ("t", None)], [("t", 42)]),
    ],
)
async def test_refusals(items: list[Any], expected: list[tuple[str | None, int]]) -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    own = node.image.topics["t"].topic_id
    request = DeleteTopicsRequest(
        topics=[
            DeleteTopicState(
                name=name, topic_id=own if topic_id == "own" else topic_id or bytes(16)
            )
            for name, topic_id in items
        ],
        timeout_ms=5000,
    )
    answer = await node.ask(request, 6)
    codes = [code for _, code in outcome(answer)]
    assert codes == [code for _, code in expected]
    assert all((r.error_code == 0) == (r.error_message is None) for r in answer.responses)
    assert ("t" in node.image.topics) == (0 not in codes)


@pytest.mark.parametrize(("version", "code"), [(2, 42), (3, 73), (6, 73)])
async def test_deletion_can_be_off(version: int, code: int) -> None:
    node = Node(static={"delete.topic.enable": "false"})
    await node.create(NewTopic("t", 1, 1))
    assert outcome(await node.ask(ask(version, "t"), version)) == [("t", code)]
    assert "t" in node.image.topics
    assert not node.requests


async def test_a_silent_controller() -> None:
    node = Node()
    await node.follow()
    node.silent = True
    assert outcome(await node.ask(ask(6, "t", "t", "u"), 6)) == [("t", 7), ("u", 7)]

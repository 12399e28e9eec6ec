"""DescribeTopicPartitions: pages, cursors, refused topics (cases from a running Kafka 4.3.1)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.controller.worlds import node as node_record
from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    TopicRequest,
)

Page = list[tuple[str, list[int]]]


def ask(
    names: str, limit: int = 2000, cursor: tuple[str, int] | None = None
) -> DescribeTopicPartitionsRequest:
    return DescribeTopicPartitionsRequest(
        topics=[TopicRequest(name=name) for name in names.split(",") if name],
        response_partition_limit=limit,
        cursor=None if cursor is None else Cursor(topic_name=cursor[0], partition_index=cursor[1]),
    )


def page(answer: Any) -> Page:
    return [(t.name, [p.partition_index for p in t.partitions]) for t in answer.topics]


def next_cursor(answer: Any) -> tuple[str, int] | None:
    cursor = answer.next_cursor
    return None if cursor is None else (cursor.topic_name, cursor.partition_index)


async def world(**static: str) -> Node:
    node = Node(static={key.replace("_", "."): value for key, value in static.items()})
    await node.create(NewTopic("a", 2, 1), NewTopic("c", 3, 1), NewTopic("z", 1, 1))
    return node


@pytest.mark.parametrize(
    ("request_", "pages", "cursor"),
    [
        (ask("a,c"), [("a", [0, 1]), ("c", [0, 1, 2])], None),
        (ask("c,a,a"), [("a", [0, 1]), ("c", [0, 1, 2])], None),
        (ask("a,c", 3), [("a", [0, 1]), ("c", [0])], ("c", 1)),
        (ask("a,c", 2), [("a", [0, 1])], ("c", 0)),
        (ask("a,c", 2, ("a", 1)), [("a", [1]), ("c", [0])], ("c", 1)),
        (ask("", 2, ("b", 1)), [("c", [0, 1])], ("c", 2)),
        (ask("", 2, ("zz", 0)), [], None),
        (ask("a,b,c", 1, ("b", 7)), [("b", []), ("c", [0])], ("c", 1)),
        (ask("a,c", 2, ("c", 5)), [("c", [])], None),
        (ask("a", 0), [("a", [0])], ("a", 1)),
        (ask("a", -1), [("a", [0])], ("a", 1)),
        (ask("", 2, ("a", 1)), [("a", [1]), ("c", [0])], ("c", 1)),
        (ask(""), [("a", [0, 1]), ("c", [0, 1, 2]), ("z", [0])], None),
        (ask("a,none,0 bad", 1), [("0 bad", []), ("a", [0])], ("a", 1)),
        (ask("c,none", 5, ("none", 0)), [("none", [])], None),
    ],
)
async def test_pages(
    request_: DescribeTopicPartitionsRequest, pages: Page, cursor: tuple[str, int] | None
) -> None:
    answer = await (await world()).ask(request_, 0)
    assert page(answer) == pages
    assert next_cursor(answer) == cursor


async def test_every_partition_comes_once_over_all_pages() -> None:
    node = await world()
    seen: list[tuple[str, int]] = []
    cursor: tuple[str, int] | None = None
    for _ in range(10):
        answer = await node.ask(ask("", 1, cursor), 0)
        seen += [(name, index) for name, indexes in page(answer) for index in indexes]
        cursor = next_cursor(answer)
        if cursor is None:
            break
    assert seen == [("a", 0), ("a", 1), ("c", 0), ("c", 1), ("c", 2), ("z", 0)]


async def test_the_brokers_own_limit() -> None:
    node = await world(max_request_partition_size_limit="1")
    assert page(await node.ask(ask("a,c"), 0)) == [("a", [0])]


async def test_what_is_said_of_topics() -> None:
    node = await world()
    node.controller.apply(node_record(2, fenced=True, epoch=1))
    answer = await node.ask(ask("a,none,bad name"), 0)
    assert [(t.name, t.error_code) for t in answer.topics] == [
        ("bad name", 17),
        ("none", 3),
        ("a", 0),
    ]
    assert {t.topic_authorized_operations for t in answer.topics} == {3576}
    by_leader = {p.replica_nodes[0]: p for p in answer.topics[2].partitions}
    assert (by_leader[1].error_code, by_leader[1].leader_id) == (0, 1)
    lost = by_leader[2]
    assert (lost.error_code, lost.leader_id, lost.offline_replicas) == (5, -1, [2])
    assert (lost.eligible_leader_replicas, lost.last_known_elr) == ([], [])


@pytest.mark.parametrize("cursor", [("a", -1), ("b", 1), ("zz", 0)])
async def test_cursors_that_make_no_sense(cursor: tuple[str, int]) -> None:
    answer = await (await world()).ask(ask("a,c", 2, cursor), 0)
    assert [(t.name, t.error_code) for t in answer.topics] == [("a", 42), ("c", 42)]

"""Fetch requests and answers as bytes: bounds of what a request may ask for, grouping of topics."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.native.lane_harness import Node, topic_id_of
from tests.unit.native.test_fetch_lane import fetch, parts, put
from tests.unit.native.test_produce_message import frame, uvarint


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.topic("t", 3)
    node.topic("u", 3)
    return node


@pytest.mark.parametrize("version", [4, 12, 13])
@pytest.mark.parametrize(
    ("topics", "indexes"),
    [(-1, 0), (2**31 - 1, 0), (1, -1), (1, 2**31 - 1), (1, 200_001), (200_001, 0)],
)
async def test_hostile_counts_close(node: Node, version: int, topics: int, indexes: int) -> None:
    flexible = version >= 12
    start = struct.pack(">hhih", 1, version, 7, -1) + (b"\0" if flexible else b"")
    if version < 15:
        start += struct.pack(">i", -1)
    start += struct.pack(">iiib", 0, 1, 1, 0)
    if version >= 7:
        start += struct.pack(">ii", 0, -1)

    def size(n: int) -> bytes:
        return uvarint(n + 1) if flexible else struct.pack(">i", n)

    name = b"\x02t" if version == 12 else struct.pack(">h", 1) + b"t"
    if version >= 13:
        name = bytes(16)
    body = size(topics)
    if topics == 200_001:
        body += (name + size(0) + (b"\0" if flexible else b"")) * topics
    elif topics == 1:
        body += name + size(indexes)
        if indexes == 200_001:
            body += bytes(indexes * 60)
    client = node.connect()
    await client.send(frame(start + body))
    assert await client.is_closed()
    assert node.closed == ["malformed Fetch request"]
    assert node.reactor.total_bytes == 0


@pytest.mark.parametrize("version", [7, 12, 13, 17])
async def test_topics_are_grouped_as_they_follow(node: Node, version: int) -> None:
    client = node.connect()
    stored = {}
    for topic in "tu":
        for index in range(3):
            stored[topic, index] = await put(node, topic, f"{topic}{index}".encode(), index=index)
    asked = [("t", 0, 0), ("t", 2, 0), ("u", 1, 0), ("t", 1, 0)]
    answer = await client.ask(fetch(*asked, session=(0, 0)), version)
    assert len(parts(answer)) == 4
    # Now one partition of each topic has news: the order of the session is theirs alone.
    for topic in "tu":
        index = {"t": 2, "u": 1}[topic]
        stored[topic, index] = await put(node, topic, b"more", index=index)
    session = (answer.session_id, 1)
    moved = [("t", 0, 1), ("t", 2, 1), ("u", 1, 1), ("t", 1, 1)]
    answer = await client.ask(fetch(*moved, session=session), version)
    names = {topic_id_of(topic): topic for topic in "tu"}
    found = {
        (t.topic or names[t.topic_id], p.partition_index): bytes(p.records)
        for t in answer.responses
        for p in t.partitions
    }
    assert found == {("t", 2): stored["t", 2], ("u", 1): stored["u", 1]}

"""Fetch requests and answers as bytes: bounds of what a request may ask for, grouping of topics."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.native.lane_harness import Node, topic_id_of
from tests.unit.native.test_fetch_lane import fetch, parts, put
from tests.unit.native.test_produce_message import frame, uvarint
from tidelog.protocol.api import ApiKey


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


@pytest.mark.parametrize("version", range(11, 19))
@pytest.mark.parametrize("what", ["forgotten topics", "rack id"])
async def test_null_where_none_may_be_closes(node: Node, version: int, what: str) -> None:
    """As the table codec has it."""
    client = node.connect()
    good = client.encode(fetch(("t", 0, 0)), version)
    tail = b"\x01\x01\x00" if version >= 12 else bytes(4) + bytes(2)
    assert good.endswith(tail)
    if what == "rack id":
        tail = b"\x01\x00\x00" if version >= 12 else bytes(4) + b"\xff\xff"
    else:
        tail = b"\x00\x01\x00" if version >= 12 else b"\xff\xff\xff\xff" + bytes(2)
    await client.send(good[: -len(tail)] + tail)
    assert await client.is_closed()
    assert node.closed == ["malformed Fetch request"]


@pytest.mark.parametrize("version", [12, 15, 18])
@pytest.mark.parametrize(
    ("tag", "data", "since"),
    [
        (0, b"", 12),  # cluster_id
        (0, b"\x03a", 12),
        (0, b"\x02ab", 12),
        (1, bytes(12), 15),  # replica_state, without its own tagged fields
        (1, bytes(14), 15),
        (1, bytes(11), 15),
    ],
)
async def test_a_tagged_field_that_is_not_what_it_should_be_closes(
    node: Node, version: int, tag: int, data: bytes, since: int
) -> None:
    client = node.connect()
    good = client.encode(fetch(("t", 0, 0)), version)
    tagged = bytes([1, tag, len(data)]) + data
    await client.send(frame(good[4:-1] + tagged))
    if version < since:
        assert parts(await client.answer(ApiKey.FETCH, version, client.correlation_id))
    else:
        assert await client.is_closed()
        assert node.closed == ["malformed Fetch request"]


@pytest.mark.parametrize(
    ("version", "tag", "size", "good"),
    [
        (16, 0, 3, True),
        (17, 0, 16, True),
        (17, 0, 15, False),
        (17, 1, 3, True),
        (18, 1, 8, True),
        (18, 1, 9, False),
        (18, 2, 1, True),
    ],
)
async def test_tagged_fields_of_a_partition(
    node: Node, version: int, tag: int, size: int, good: bool
) -> None:
    client = node.connect()
    request = client.encode(fetch(("t", 0, 0)), version)
    # Behind the partition: its tagged fields, the topic's, no forgotten topic, no rack, the tail's.
    assert request.endswith(b"\0\0\x01\x01\0")
    tagged = bytes([1, tag, size]) + bytes(size)
    await client.send(frame(request[4:-5] + tagged + request[-4:]))
    if good:
        assert parts(await client.answer(ApiKey.FETCH, version, client.correlation_id))
    else:
        assert await client.is_closed()


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

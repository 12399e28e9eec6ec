"""Answers in order, as bytes and file regions: what a transport sees of the queue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.native.lane_harness import Node
from tests.unit.native.test_connection import slow_frame
from tests.unit.native.test_fetch_lane import fetch, only, put
from tidelog.protocol.api import ApiKey


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.topic("t", 3)
    return node


async def test_several_regions_with_bytes_between_them(node: Node) -> None:
    stored = [await put(node, "t", bytes([65 + i]) * 5000, index=i) for i in range(3)]
    client = node.connect()
    answer = await client.ask(fetch(*(("t", i, 0) for i in range(3))), 12)
    assert [p.records for t in answer.responses for p in t.partitions] == stored


async def test_regions_between_other_answers(node: Node) -> None:
    stored = await put(node, "t", b"v" * 100_000)
    client = node.connect()
    frames = []
    for _ in range(20):
        frames.append(client.encode(fetch(("t", 0, 0)), 12))
        frames.append(slow_frame(b"between"))
    writing = asyncio.create_task(client.send(b"".join(frames)))
    for i in range(20):
        assert only(await client.answer(ApiKey.FETCH, 12, i + 1)).records == stored
        assert await client.receive_frame() == slow_frame(b"between")[4:]
    await writing
    assert client.connection.queued_bytes < 300_000


async def test_a_segment_stays_open_while_it_is_sent(node: Node) -> None:
    stored = await put(node, "t", b"v" * 900_000)
    partition = node.table.partition(b"t", 0)
    assert partition is not None and partition.log is not None
    client = node.connect()
    for _ in range(8):
        await client.send(client.encode(fetch(("t", 0, 0)), 12))
    await client.receive_exactly(1)
    Path(partition.log.active_segment.log_path).unlink()  # type: ignore[union-attr]
    size = int.from_bytes(b"\0" + await client.receive_exactly(3), "big")
    first = await client.receive_exactly(size)
    assert stored in first
    for i in range(1, 8):
        assert only(await client.answer(ApiKey.FETCH, 12, i + 1)).records == stored

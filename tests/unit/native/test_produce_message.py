"""Produce requests and answers as bytes: what a request may ask for, texts of refusals."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Node, batch
from tests.unit.native.test_produce_lane import only, produce
from tidelog.errors import KafkaError
from tidelog.protocol.messages.produce import PartitionProduceData
from tidelog.record.reasons import InvalidBatchError, Reason, RecordError


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.topic("t")
    return node


def header(version: int) -> bytes:
    flexible = version >= 9
    client = struct.pack(">hhih", 0, version, 7, -1) + (b"\0" if flexible else b"")
    transactional = b"\0" if flexible else struct.pack(">h", -1)
    return client + transactional + struct.pack(">hi", 1, 1000)


def frame(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


@pytest.mark.parametrize("version", [3, 9])
@pytest.mark.parametrize(
    ("topics", "parts"),
    [(-1, 0), (-2, 0), (2**31 - 1, 0), (1, -1), (1, -2), (1, 2**31 - 1), (200_001, 0)],
)
async def test_hostile_counts_close(node: Node, version: int, topics: int, parts: int) -> None:
    if version == 9:
        size = lambda n: uvarint((n + 1) & 0xFFFFFFFF)  # noqa: E731
        name = b"\x02t"
        if topics == -2 or parts == -2:
            return
    else:
        size = lambda n: struct.pack(">i", n)  # noqa: E731
        name = struct.pack(">h", 1) + b"t"
    body = size(topics)
    if topics > 200_000 and topics < 10**6:
        body += (name + size(0) + (b"\0" if version == 9 else b"")) * topics
    elif topics == 1:
        body += name + size(parts)
    client = node.connect()
    await client.send(frame(header(version) + body))
    assert await client.is_closed()
    assert node.closed == ["malformed Produce request"]
    assert node.reactor.total_bytes == 0


def uvarint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


async def test_many_parts_of_one_request(node: Node) -> None:
    """More than fit into what a task keeps: it is given back, and the next request is served."""
    client = node.connect()
    request = produce(batch([b"a"]))
    request.topic_data[0].partition_data = [
        PartitionProduceData(index=i, records=b"") for i in range(1, 20_001)
    ]
    answer = await client.ask(request, 9)
    assert [p.error_code for p in answer.responses[0].partition_responses] == [3] * 20_000
    assert only(await client.ask(produce(batch([b"a"])), 9)).error_code == 0


@pytest.mark.parametrize("version", [7, 8, 9, 12])
@pytest.mark.parametrize("text", ["short", "é" * 5000, "x" * 100_000, ""])
async def test_texts_of_any_length(node: Node, version: int, text: str) -> None:
    node.table.partition(b"t", 0).log.configure(target_codec=1)
    raised: Any = InvalidBatchError(
        Reason.KEY_MISSING, 0, [RecordError(i, text) for i in range(300)], detail=text
    )

    async def slow_append(partition: Any, records: Any, api_version: int) -> Any:
        raise raised

    node.slow_append = slow_append
    client = node.connect()
    answer = only(await client.ask(produce(batch([b"a"])), version))
    assert answer.error_code == 87
    if version >= 8:
        errors = [(e.batch_index, e.batch_index_error_message) for e in answer.record_errors]
        assert errors == [(i, text[:1000]) for i in range(300)]
        assert answer.error_message == f"{Reason.KEY_MISSING.text} {text}".rstrip()[:1000]
    raised = KafkaError(6, "text of an error")
    answer = only(await client.ask(produce(batch([b"a"])), version))
    assert answer.error_code == 6
    assert answer.error_message == ("text of an error" if version >= 8 else None)

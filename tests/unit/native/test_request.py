"""Request headers as the lanes read them, and the gates' defaults."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Node, batch
from tests.unit.native.test_produce_lane import produce
from tidelog._native.request import Gates
from tidelog.errors import PeerError


def test_every_gate_is_open_at_first() -> None:
    gates = Gates()
    names = ["authorizer", "quotas", "transactions"]
    assert [getattr(gates, name) for name in names] == [None] * len(names)


@pytest.mark.parametrize("client_id", [None, "", "me", "x" * 1000])
async def test_client_ids_and_unknown_tags_are_passed(
    tmp_path: Path, client_id: str | None
) -> None:
    node = Node(tmp_path)
    node.topic("t")
    client = node.connect()
    body = client.encode(produce(batch([b"a"])), 9)[4 + 8 + 2 + 4 + 1 :]
    encoded = b"\xff\xff" if client_id is None else struct.pack(">h", len(client_id))
    header = struct.pack(">hhi", 0, 9, 5) + encoded + (client_id or "").encode()
    header += b"\x01\x63\x02ab"  # one unknown tagged field
    frame = header + body
    await client.send(struct.pack(">i", len(frame)) + frame)
    answer = await client.receive_frame()
    assert answer[:4] == struct.pack(">i", 5)


async def test_a_header_alone_is_malformed(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for frame in (b"\0\0\0", struct.pack(">hh", 0, 9), struct.pack(">hhih", 0, 9, 1, 5)):
        client = node.connect()
        await client.send(struct.pack(">i", len(frame)) + frame)
        assert await client.is_closed()
    assert all(node.closed)


async def test_versions_outside_the_lane_go_to_the_dispatcher(tmp_path: Path) -> None:
    node = Node(tmp_path)
    seen: list[bytes] = []

    def refuse(frame: bytes, info: Any) -> bytes:
        seen.append(frame)
        raise PeerError("not here")

    node.dispatch = refuse
    for key, version in [(0, 2), (0, 14), (1, 3), (1, 19), (-1, 0)]:
        client = node.connect()
        frame = struct.pack(">hhih", key, version, 1, -1)
        await client.send(struct.pack(">i", len(frame)) + frame)
        assert await client.is_closed()
        assert seen[-1] == frame

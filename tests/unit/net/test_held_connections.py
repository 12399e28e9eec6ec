"""Sockets that are kept for a while, and their limit."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tidelog.net.held_connections import HeldConnections

HOUR_MS = 3_600_000


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    return ours, theirs


async def test_a_socket_is_closed_when_its_time_is_up() -> None:
    held = HeldConnections(asyncio.get_running_loop())
    ours, theirs = pair()
    held.hold(ours, 1)
    assert ours.fileno() >= 0
    async with asyncio.timeout(10):
        while ours.fileno() >= 0:
            await asyncio.sleep(0)
    assert theirs.recv(1) == b""
    held.close()


async def test_all_are_closed_at_the_end() -> None:
    held = HeldConnections(asyncio.get_running_loop())
    pairs = [pair() for _ in range(3)]
    for ours, _ in pairs:
        held.hold(ours, HOUR_MS)
    held.close()
    assert [theirs.recv(1) for _, theirs in pairs] == [b""] * 3
    held.close()


async def test_only_so_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.net.held_connections.HELD_CONNECTIONS_MAX", 1)
    held = HeldConnections(asyncio.get_running_loop())
    first, beyond = pair(), pair()
    held.hold(first[0], HOUR_MS)
    held.hold(beyond[0], HOUR_MS)
    assert beyond[1].recv(1) == b""
    assert first[0].fileno() >= 0
    held.close()

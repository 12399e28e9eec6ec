"""Whose memory is asked back: that of peers that have stopped, never of those that wait for us."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.unit.native.lane_harness import Client, Node
from tests.unit.native.test_connection import slow_frame
from tests.unit.native.test_fetch_lane import fetch
from tests.unit.native.test_transport import half_frame, send_in_background, turns, until
from tidelog.limits import SPARED_BYTES, STALLED_MS
from tidelog.net.memory_pressure import gone, parked, stalled

MIB = 1 << 20


def later(*clients: Client) -> int:
    """A time at which none of them has gone on for long enough."""
    return max(client.connection.last_progress_ms for client in clients) + STALLED_MS


async def test_a_peer_that_stops_in_the_middle_of_a_request(tmp_path: Path) -> None:
    node = Node(tmp_path)
    client, small = node.connect(), node.connect()
    await client.send(half_frame(MIB, 10 * SPARED_BYTES))
    await small.send(half_frame(MIB, 100))
    await until(lambda: client.connection.queued_bytes > SPARED_BYTES)
    await until(lambda: small.connection.queued_bytes)
    await turns()
    both = [client.connection, small.connection]
    assert stalled(both, later(client, small)) == [client.connection]
    assert stalled(both, later(client, small) - STALLED_MS) == []


async def test_who_sent_more_than_was_received_waits_for_us(tmp_path: Path) -> None:
    node = Node(tmp_path, total_bytes_max=2 * MIB)
    client, other = node.connect(), node.connect()
    for each in (client, other):
        await send_in_background(each, half_frame(8 * MIB, 700_000))
    await until(lambda: node.reactor.total_bytes >= 2 * MIB)
    for each in (client, other):
        await send_in_background(each, bytes(2 * MIB))
    await until(lambda: node.reactor.starving)
    waits = other if client.connection.listens else client
    await turns()
    assert not waits.connection.listens and waits.connection.queued_bytes > SPARED_BYTES
    assert waits.connection not in stalled([waits.connection], later(waits))


async def test_who_does_not_read_and_holds_most_for_longest_comes_first(tmp_path: Path) -> None:
    node = Node(tmp_path, unsent_bytes_max=4 * MIB)
    clients = [node.connect() for _ in range(2)]
    for client, count in zip(clients, (10, 30), strict=True):
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await send_in_background(client, slow_frame(b"z" * 100_000) * count)
        await until(lambda client=client: client.connection.writing)
    await until(lambda: clients[1].connection.queued_bytes > clients[0].connection.queued_bytes)
    await turns(100)
    found = stalled([client.connection for client in clients], later(*clients))
    assert found == [clients[1].connection, clients[0].connection]


async def test_fetches_that_wait_hold_memory(tmp_path: Path) -> None:
    node = Node(tmp_path)
    partitions = node.topic("t", 1000).partitions
    client = node.connect()
    wanted = [("t", i, 0) for i in range(1000)]
    await client.send(client.encode(fetch(*wanted, max_wait_ms=600_000), 12))
    await until(lambda: partitions[999].waiting_fetches)
    both = [client.connection, node.connect().connection]
    assert parked(both, later(client)) == [client.connection]
    assert stalled(both, later(client)) == []
    client.connection.hurry()
    await client.receive_frame()
    assert parked(both, later(client)) == []


async def test_a_peer_that_went_while_nothing_was_read_from_it(tmp_path: Path) -> None:
    node = Node(tmp_path)
    clients = [node.connect() for _ in range(2)]
    assert gone([]) == gone([client.connection for client in clients]) == []
    for client in clients:
        client.connection.mute(True)
        await client.send(slow_frame(b"1"))
        await until(lambda client=client: not client.connection.listens)
    assert gone([client.connection for client in clients]) == []
    clients[1].socket.close()
    assert gone([client.connection for client in clients]) == [clients[1].connection]

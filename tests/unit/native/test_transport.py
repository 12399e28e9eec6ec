"""What connections share: turns, failures of single ones, memory of the process."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Client, Node, batch
from tests.unit.native.test_connection import slow_frame
from tests.unit.native.test_fetch_lane import fetch, put
from tests.unit.native.test_fetch_lane import only as only_fetched
from tests.unit.native.test_produce_lane import only, produce
from tidelog.errors import InvariantError
from tidelog.protocol.api import ApiKey

MIB = 1 << 20


def failures(node: Node) -> list[Any]:
    """What reaches the loop's exception handler from now on."""
    told: list[Any] = []
    node.loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))
    return told


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def turns(n: int = 20) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


@pytest.mark.parametrize("later", [False, True])
async def test_our_own_error_in_a_handler_closes_and_is_told(tmp_path: Path, later: bool) -> None:
    node = Node(tmp_path)
    told = failures(node)

    def dispatch(frame: bytes, info: Any) -> Any:
        async def answer() -> bytes:
            raise InvariantError("ours")

        if later:
            return answer()
        raise InvariantError("ours")

    node.dispatch = dispatch
    client = node.connect()
    await client.send(slow_frame(b"1") + slow_frame(b"2"))
    assert await client.is_closed()
    await until(lambda: told)
    assert [str(error) for error in told] == ["ours"]
    assert (len(node.closed), node.reactor.total_bytes, len(node.tasks)) == (1, 0, 0)


class Broken:
    """A gate that fails when it is told to."""

    def __init__(self) -> None:
        self.fails = False

    def may_read(self, info: Any, topic: bytes) -> bool:
        if self.fails:
            raise InvariantError("gate")
        return True

    may_write = may_read


@pytest.mark.parametrize("key", ["produce", "fetch"])
async def test_an_error_in_a_gate_closes_the_connection_that_asked(
    tmp_path: Path, key: str
) -> None:
    node = Node(tmp_path)
    node.topic("t")
    told = failures(node)
    node.gates.authorizer = gate = Broken()
    good, bad = node.connect(), node.connect()
    gate.fails = True
    request = produce(batch([b"a"])) if key == "produce" else fetch(("t", 0, 0))
    await bad.send(bad.encode(request, 12) * 3)
    assert await bad.is_closed()
    assert [str(error) for error in told] == ["gate"]
    gate.fails = False
    assert only(await good.ask(produce(batch([b"a"])), 9)).base_offset == 0
    assert node.table.partition(b"t", 0).waiting_fetches == 0


async def test_waiters_behind_one_that_fails_keep_their_turn(tmp_path: Path) -> None:
    node = Node(tmp_path)
    partition = node.topic("t").partitions[0]
    told = failures(node)
    node.gates.authorizer = gate = Broken()
    clients = [node.connect() for _ in range(3)]
    for client in clients:
        await client.send(client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12))
    await until(lambda: partition.waiting_fetches == 3)

    class FailsOnce:
        def may_read(self, info: Any, topic: bytes) -> bool:
            node.gates.authorizer = None
            raise InvariantError("gate")

    node.gates.authorizer = FailsOnce()
    stored = await put(node, "t", b"a")
    await until(lambda: node.closed)
    answered = [client for client in clients if not client.connection.closed]
    assert len(answered) == 2
    for client in answered:
        assert only_fetched(await client.answer(ApiKey.FETCH, 12, 1)).records == stored
    assert [str(error) for error in told] == ["gate"]
    assert partition.waiting_fetches == 0
    assert not gate.fails


def half_frame(size: int, part: int) -> bytes:
    return struct.pack(">i", size) + struct.pack(">hh", 18, 0) + b"x" * (part - 4)


async def send_in_background(client: Client, data: bytes) -> asyncio.Task[None]:
    task = asyncio.create_task(client.send(data))
    await turns()
    return task


async def test_parts_of_large_frames_never_wait_for_each_other(tmp_path: Path) -> None:
    """Each of them holds a part of its frame, together they are at the limit: one after the other
    may exceed it.
    """
    node = Node(tmp_path, total_bytes_max=6 * MIB)
    clients = [node.connect() for _ in range(5)]
    size = 4 * MIB
    for client in clients:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    halves = [await send_in_background(client, half_frame(size, 2 * MIB)) for client in clients]
    rest = [
        asyncio.create_task(_finish(half, client, b"x" * (size - 2 * MIB)))
        for half, client in zip(halves, clients, strict=True)
    ]

    async def answered(client: Client) -> int:
        return len(await client.receive_frame())

    async with asyncio.timeout(20):
        assert await asyncio.gather(*map(answered, clients)) == [size] * 5
        await asyncio.gather(*rest)
    assert not node.reactor.starving
    for client in clients:
        client.connection.release_memory()
    await turns()
    assert node.reactor.total_bytes == 0


async def _finish(before: asyncio.Task[None], client: Client, data: bytes) -> None:
    await before
    await client.send(data)


async def test_who_starves_goes_on_when_the_favoured_one_leaves(tmp_path: Path) -> None:
    node = Node(tmp_path, total_bytes_max=2 * MIB)
    stalled, patient = node.connect(), node.connect()
    await send_in_background(stalled, half_frame(8 * MIB, 3 * MIB))
    await until(lambda: node.reactor.total_bytes >= 2 * MIB)
    writing = await send_in_background(patient, half_frame(3 * MIB, 3 * MIB))
    await until(lambda: node.reactor.starving)
    assert stalled.connection.waits_for_peer
    stalled.connection.close("holds memory")
    assert len(await patient.receive_frame()) == 3 * MIB
    await writing
    assert not node.reactor.starving


async def test_an_idle_connection_keeps_no_buffer(tmp_path: Path) -> None:
    node = Node(tmp_path)
    client = node.connect()
    writing = asyncio.create_task(client.send(half_frame(3 * MIB, 3 * MIB)))
    assert len(await client.receive_frame()) == 3 * MIB
    await writing
    await turns()
    assert client.connection.queued_bytes >= 3 * MIB  # for the next large frame
    client.connection.release_memory()
    assert node.reactor.total_bytes == 0
    # Small requests give it back by themselves.
    writing = asyncio.create_task(client.send(half_frame(3 * MIB, 3 * MIB)))
    assert len(await client.receive_frame()) == 3 * MIB
    await writing
    await client.send(slow_frame(b"small"))
    assert await client.receive_frame() == slow_frame(b"small")[4:]
    await turns()
    assert node.reactor.total_bytes == 0


async def test_a_peer_that_does_not_read_waits_for_itself(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.topic("t")
    client = node.connect()
    assert client.connection.waits_for_peer and client.connection.idle
    await client.send(client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12))
    await until(lambda: node.table.partition(b"t", 0).waiting_fetches)
    assert not client.connection.waits_for_peer
    deaf = node.connect()
    writing = await send_in_background(deaf, slow_frame(b"z" * MIB) * 4)
    await until(lambda: deaf.connection.queued_bytes > MIB)
    await turns()
    assert deaf.connection.waits_for_peer and not deaf.connection.idle
    writing.cancel()


async def test_muting_within_a_request_holds_the_next(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.topic("t")
    client = node.connect()

    class Quota:
        def produced(self, info: Any, client_id: bytes, n: int) -> int:
            client.connection.mute(True)
            return 5

    node.gates.quotas = Quota()
    await client.send(b"".join(client.encode(produce(batch([b"a"])), 9) for _ in range(3)))
    for i in range(3):
        answer = await client.answer(ApiKey.PRODUCE, 9, i + 1)
        assert (answer.throttle_time_ms, only(answer).base_offset) == (5, i)
        await turns()
        assert node.table.partition(b"t", 0).high_watermark == i + 1
        client.connection.mute(False)

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
        def produced(self, info: Any, client_id: bytes, n: int, busy_ns: int) -> int:
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


async def test_answers_that_are_not_read_stop_the_requests(tmp_path: Path) -> None:
    node = Node(tmp_path, unsent_bytes_max=64 * 1024)
    deaf, other = node.connect(), node.connect()
    one = slow_frame(b"z" * 10_000)
    writing = await send_in_background(deaf, one * 400)
    await until(lambda: deaf.connection.writing)
    await turns(200)
    # What one receive took in beyond the limit waits, too.
    assert deaf.connection.queued_bytes < 64 * 1024 + 2 * len(one) + node_window(node)
    await other.send(slow_frame(b"q"))
    assert await other.receive_frame() == slow_frame(b"q")[4:]
    for _ in range(400):
        assert await deaf.receive_frame() == one[4:]
    await writing


def node_window(node: Node) -> int:
    """What a connection receives at once at most."""
    return 256 * 1024


async def test_a_quick_reader_is_not_held_by_its_unread_answers(tmp_path: Path) -> None:
    """Answers that the socket takes at once are not unread: one pass goes on beyond the limit."""
    node = Node(tmp_path, unsent_bytes_max=4096)
    client = node.connect()
    frames = [slow_frame(b"%d" % i * 500) for i in range(300)]
    writing = await send_in_background(client, b"".join(frames))
    for frame in frames:
        assert await client.receive_frame() == frame[4:]
    await writing


async def test_few_fetches_of_a_connection_wait_for_data(tmp_path: Path) -> None:
    node = Node(tmp_path)
    partition = node.topic("t").partitions[0]
    client = node.connect()
    waiting = [client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12) for _ in range(20)]
    await client.send(b"".join(waiting))
    await until(lambda: partition.waiting_fetches == 8)
    await turns()
    assert partition.waiting_fetches == 8
    stored = await put(node, "t", b"a")
    for i in range(20):
        assert only_fetched(await client.answer(ApiKey.FETCH, 12, i + 1)).records == stored


async def test_waiting_fetches_can_be_hurried(tmp_path: Path) -> None:
    node = Node(tmp_path)
    partition = node.topic("t").partitions[0]
    client = node.connect()
    for _ in range(2):
        await client.send(client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12))
    await until(lambda: partition.waiting_fetches == 2)
    client.connection.hurry()
    for i in range(2):
        assert only_fetched(await client.answer(ApiKey.FETCH, 12, i + 1)).records == b""
    assert (partition.waiting_fetches, client.connection.idle) == (0, True)
    client.connection.hurry()


async def test_answers_that_never_leave_are_few(tmp_path: Path) -> None:
    """Answers of file regions hold little memory and are limited by their number."""
    node = Node(tmp_path, waiting_max=1000)
    node.topic("t")
    await put(node, "t", b"v" * 900_000)
    client = node.connect()
    request = client.encode(fetch(("t", 0, 0), partition_max_bytes=1 << 20), 12)
    await send_in_background(client, request * 100)
    await until(lambda: client.connection.writing)
    await turns(200)
    assert client.connection.requests <= 20


async def test_a_flood_of_slow_requests_takes_turns(tmp_path: Path) -> None:
    node = Node(tmp_path)
    order: list[bytes] = []

    def dispatch(frame: bytes, info: Any) -> bytes:
        order.append(frame[4:])
        return struct.pack(">i", 0)

    node.dispatch = dispatch
    flood, other = node.connect(), node.connect()
    # Both lie in their sockets before the loop looks at either.
    flood.socket.send(slow_frame(b"f") * 500)
    other.socket.send(slow_frame(b"o"))
    await until(lambda: len(order) == 501)
    assert order.index(b"o") <= 16
    assert len(await flood.receive_exactly(4 * 500)) == 2000


async def test_unread_answers_of_all_have_a_limit_at_which_all_wait(tmp_path: Path) -> None:
    node = Node(tmp_path, total_bytes_max=4 * MIB, unsent_bytes_max=8 * MIB)
    pressed: list[int] = []
    node.on_pressure = lambda: pressed.append(node.reactor.total_unsent)
    deaf = [node.connect() for _ in range(8)]
    for client in deaf:
        await send_in_background(client, slow_frame(b"z" * (MIB // 2)) * 2)
    await until(lambda: node.reactor.total_unsent >= 2 * MIB)
    other = node.connect()
    await other.send(slow_frame(b"q"))
    await turns(100)
    assert (other.connection.requests, node.reactor.starving) == (0, True)
    assert node.reactor.total_unsent < 2 * MIB + MIB
    assert len(pressed) == 1 and node.reactor.still_pressed()
    for client in deaf:
        client.connection.close("does not read")
    assert await other.receive_frame() == slow_frame(b"q")[4:]
    assert not node.reactor.still_pressed()
    assert (node.reactor.total_unsent, node.reactor.total_bytes) == (0, 0)


async def test_who_looks_for_memory_is_called_once_until_there_is_some(tmp_path: Path) -> None:
    node = Node(tmp_path, total_bytes_max=MIB)
    pressed: list[int] = []
    node.on_pressure = lambda: pressed.append(node.reactor.total_bytes)
    for _ in range(2):
        holder = node.connect()
        await send_in_background(holder, half_frame(8 * MIB, 3 * MIB))
        await until(lambda: node.reactor.total_bytes >= MIB)
        await turns()
        assert node.reactor.still_pressed()
        holder.connection.close("holds memory")
        assert not node.reactor.still_pressed()
    assert len(pressed) == 2


async def test_bytes_that_cannot_be_taken_are_not_piled_up(tmp_path: Path) -> None:
    """A peer that sends on while its request is worked on has little of it in our memory."""
    node = Node(tmp_path)
    go_on = asyncio.Event()

    async def answer(frame: bytes) -> bytes:
        await go_on.wait()
        return struct.pack(">i", len(frame)) + frame

    node.dispatch = lambda frame, info: answer(frame)
    client = node.connect()
    writing = await send_in_background(client, slow_frame(b"z" * 1000) * 1000)
    await until(lambda: client.connection.requests == 1)
    await turns(100)
    assert client.connection.queued_bytes <= 20 * 1024
    go_on.set()
    for _ in range(1000):
        await client.receive_frame()
    await writing

"""Framing, ordering, backpressure and slow peers at the transport."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Node, batch
from tests.unit.native.test_fetch_lane import fetch, put
from tests.unit.native.test_fetch_lane import only as only_fetched
from tests.unit.native.test_produce_lane import only, produce
from tidelog.errors import InvariantError, PeerError
from tidelog.protocol.api import ApiKey

#: To a segment's file: the segment's own, the test's variable, the argument.
RESTING_REFERENCES = 3


def slow_frame(payload: bytes) -> bytes:
    """A request that the harness' dispatcher echoes (any key but Produce and Fetch)."""
    body = struct.pack(">hh", 18, 0) + payload
    return struct.pack(">i", len(body)) + body


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.topic("t")
    return node


async def test_frames_may_come_one_byte_at_a_time(node: Node) -> None:
    client = node.connect()
    data = client.encode(produce(batch([b"a"])), 9) + slow_frame(b"x")
    for i in range(len(data)):
        await client.send(data[i : i + 1])
        await asyncio.sleep(0)
    assert only(await client.answer(ApiKey.PRODUCE, 9, 1)).base_offset == 0
    assert await client.receive_frame() == slow_frame(b"x")[4:]


@pytest.mark.parametrize("scratch_size", [64, 256, 4096])
async def test_frames_of_any_size_around_the_scratch_buffer(
    tmp_path: Path, scratch_size: int
) -> None:
    node = Node(tmp_path, scratch_size=scratch_size)
    client = node.connect()
    frames = [slow_frame(bytes([i % 251]) * i) for i in range(0, 3 * scratch_size, 7)]

    async def write() -> None:
        await client.send(b"".join(frames))

    writing = asyncio.create_task(write())
    for frame in frames:
        assert await client.receive_frame() == frame[4:]
    await writing


async def test_large_frames_back_to_back(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.topic("t")
    node.table.partition(b"t", 0).log.configure(max_message_bytes=4 << 20)
    client = node.connect()
    frames = [client.encode(produce(batch([b"v" * 1_500_000])), 9) for _ in range(4)]
    writing = asyncio.create_task(client.send(b"".join(frames)))
    for i in range(4):
        assert only(await client.answer(ApiKey.PRODUCE, 9, i + 1)).base_offset == i
    await writing
    fetched = only_fetched(await client.ask(fetch(("t", 0, 0), max_bytes=1), 12))
    assert len(fetched.records) > 1_500_000


@pytest.mark.parametrize("size", [-1, -(2**31), 2**31 - 1, 16 * 1024 * 1024 + 1])
async def test_bad_sizes_close_before_memory_is_taken(node: Node, size: int) -> None:
    client = node.connect()
    await client.send(struct.pack(">i", size))
    assert await client.is_closed()
    assert node.closed[0] is not None and str(size) in node.closed[0]
    assert node.reactor.total_bytes == 0


async def test_good_requests_before_a_bad_one_are_answered(node: Node) -> None:
    client = node.connect()
    await client.send(slow_frame(b"x") + struct.pack(">i", -5))
    assert await client.receive_frame() == slow_frame(b"x")[4:]
    assert await client.is_closed()


async def test_answers_leave_in_request_order(node: Node) -> None:
    client = node.connect()
    await client.send(
        client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12)
        + client.encode(produce(batch([b"a"])), 9)
        + slow_frame(b"x")
    )
    assert only_fetched(await client.answer(ApiKey.FETCH, 12, 1)).high_watermark == 1
    assert only(await client.answer(ApiKey.PRODUCE, 9, 2)).base_offset == 0
    assert await client.receive_frame() == slow_frame(b"x")[4:]


async def test_slow_requests_run_one_after_another(node: Node) -> None:
    client = node.connect()
    running: list[bytes] = []
    release = asyncio.Event()

    def dispatch(frame: bytes, info: Any) -> Any:
        async def answer() -> bytes:
            running.append(frame)
            await release.wait()
            return struct.pack(">i", len(frame)) + frame

        return answer()

    node.dispatch = dispatch
    await client.send(slow_frame(b"1") + slow_frame(b"2"))
    while not running:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(running) == 1
    release.set()
    assert [await client.receive_frame() for _ in range(2)] == [
        slow_frame(b"1")[4:],
        slow_frame(b"2")[4:],
    ]


@pytest.mark.parametrize("later", [False, True])
async def test_a_peers_fault_in_the_slow_lane_closes(node: Node, later: bool) -> None:
    def dispatch(frame: bytes, info: Any) -> Any:
        async def answer() -> bytes:
            raise PeerError("no such thing")

        if later:
            return answer()
        raise PeerError("no such thing")

    node.dispatch = dispatch
    client = node.connect()
    await client.send(slow_frame(b"1"))
    assert await client.is_closed()
    assert node.closed == ["no such thing"]


async def test_a_slow_reader_is_read_no_further_and_holds_nobody(tmp_path: Path) -> None:
    node = Node(tmp_path, queued_bytes_max=100_000)
    slow, quick = node.connect(), node.connect()
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frames = b"".join(slow_frame(b"z" * 10_000) for _ in range(400))
    writing = asyncio.create_task(slow.send(frames))
    await quick.send(slow_frame(b"q"))
    assert await quick.receive_frame() == slow_frame(b"q")[4:]
    for _ in range(200):
        await asyncio.sleep(0)
    assert slow.connection.queued_bytes < 700_000
    for _ in range(400):
        assert await slow.receive_frame() == slow_frame(b"z" * 10_000)[4:]
    await writing
    assert slow.connection.queued_bytes < 50_000


async def test_too_many_answers_outstanding_stop_the_reading(tmp_path: Path) -> None:
    node = Node(tmp_path, waiting_max=5)
    entry = node.topic("t")
    client = node.connect()
    waiting = [client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12) for _ in range(20)]
    await client.send(b"".join(waiting))
    while entry.partitions[0].waiting_fetches < 5:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert entry.partitions[0].waiting_fetches == 5
    stored = await put(node, "t", b"a")
    for i in range(20):
        assert only_fetched(await client.answer(ApiKey.FETCH, 12, i + 1)).records == stored


async def test_the_process_limit_pauses_and_lets_go_on(tmp_path: Path) -> None:
    node = Node(tmp_path, total_bytes_max=200_000, unsent_bytes_max=1 << 20)
    hog, other = node.connect(), node.connect()
    hog.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frames = b"".join(slow_frame(b"z" * 50_000) for _ in range(40))
    writing = asyncio.create_task(hog.send(frames))
    while not node.reactor.starving:
        await asyncio.sleep(0)
    await other.send(slow_frame(b"q"))
    for _ in range(40):
        assert await hog.receive_frame() == slow_frame(b"z" * 50_000)[4:]
    await writing
    assert await other.receive_frame() == slow_frame(b"q")[4:]
    assert not node.reactor.starving


async def test_a_large_fetch_goes_out_in_turns(tmp_path: Path) -> None:
    node = Node(tmp_path, send_slice=64 * 1024)
    entry = node.topic("t")
    entry.partitions[0].log.configure(max_message_bytes=16 << 20)
    stored = await put(node, "t", b"v" * 9_000_000)
    client, other = node.connect(), node.connect()
    await client.send(
        client.encode(fetch(("t", 0, 0), max_bytes=20 << 20, partition_max_bytes=20 << 20), 12)
    )
    await other.send(slow_frame(b"q"))
    assert await other.receive_frame() == slow_frame(b"q")[4:]
    assert only_fetched(await client.answer(ApiKey.FETCH, 12, 1)).records == stored
    assert node.reactor.bytes_out > 9_000_000


async def test_a_muted_connection_waits(node: Node) -> None:
    client = node.connect()
    client.connection.mute(True)
    await client.send(slow_frame(b"1"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert client.connection.requests == 0
    client.connection.mute(False)
    assert await client.receive_frame() == slow_frame(b"1")[4:]


async def test_closing_in_the_middle_of_sending(tmp_path: Path) -> None:
    node = Node(tmp_path)
    entry = node.topic("t")
    entry.partitions[0].log.configure(max_message_bytes=16 << 20)
    await put(node, "t", b"v" * 9_000_000)
    client = node.connect()
    await client.send(
        client.encode(fetch(("t", 0, 0), max_bytes=20 << 20, partition_max_bytes=20 << 20), 12)
    )
    await client.receive_exactly(1000)
    client.socket.close()
    while not node.closed:
        await asyncio.sleep(0)
    assert node.reactor.total_bytes == 0


async def test_a_peer_that_only_stopped_sending_gets_what_is_ready(node: Node) -> None:
    client = node.connect()
    client.socket.send(slow_frame(b"x" * 100))
    client.socket.shutdown(socket.SHUT_WR)
    assert await client.receive_frame() == slow_frame(b"x" * 100)[4:]
    assert await client.is_closed()
    assert node.closed == [None]


@pytest.mark.parametrize("version", [9, 12])
async def test_bytes_behind_a_request_are_ignored(node: Node, version: int) -> None:
    client = node.connect()
    for request in (produce(batch([b"a"])), fetch(("t", 0, 0))):
        frame = client.encode(request, version)
        size = int.from_bytes(frame[:4], "big") + 3
        await client.send(size.to_bytes(4, "big") + frame[4:] + b"abc")
        await client.answer(request.API, version, client.correlation_id)
    assert node.closed == []


async def test_a_cold_range_is_read_ahead_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of a hole in a file that nobody touched are cold, and stay so here, since nobody reads
    them ahead: sending goes on all the same.
    """
    node = Node(tmp_path, send_slice=64 * 1024)
    node.topic("t")
    stored = await put(node, "t", b"x" * 300_000)
    partition = node.table.partition(b"t", 0)
    segment = partition.log.active_segment
    os.fsync(segment.fd)
    os.posix_fadvise(segment.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    client = node.connect()
    assert only_fetched(await client.ask(fetch(("t", 0, 0)), 12)).records == stored
    assert node.reactor.cold_reads == len(node.cold) <= 5


async def test_a_file_cut_under_our_feet_is_told(node: Node) -> None:
    told: list[Any] = []
    node.loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))
    await put(node, "t", b"x" * 5000)
    os.truncate(node.table.partition(b"t", 0).log.active_segment.log_path, 0)
    client, other = node.connect(), node.connect()
    await client.send(client.encode(fetch(("t", 0, 0)), 12))
    with pytest.raises(ConnectionResetError):
        await client.receive_frame()
    while not told:
        await asyncio.sleep(0)
    assert [type(error) for error in told] == [InvariantError]
    assert node.reactor.total_bytes == 0
    await other.send(slow_frame(b"q"))
    assert await other.receive_frame() == slow_frame(b"q")[4:]


async def test_closing_drops_what_was_to_be_sent(tmp_path: Path) -> None:
    """The file regions of a closed connection hold no descriptor, whoever still knows it."""
    node = Node(tmp_path)
    entry = node.topic("t")
    await put(node, "t", b"v" * 900_000)
    client = node.connect()
    for _ in range(10):
        await client.send(client.encode(fetch(("t", 0, 0)), 12))
    await client.receive_exactly(1000)
    segment = entry.partitions[0].log.active_segment
    assert segment is not None
    file = segment.take_file()
    assert sys.getrefcount(file) > RESTING_REFERENCES
    client.connection.close()
    assert sys.getrefcount(file) == RESTING_REFERENCES
    assert (node.reactor.total_bytes, client.connection.idle) == (0, True)


async def test_a_declared_size_alone_costs_nothing(node: Node) -> None:
    client = node.connect()
    await client.send(struct.pack(">ihh", 16 << 20, 0, 9) + bytes(100))
    while not client.connection.queued_bytes:
        await asyncio.sleep(0)
    assert client.connection.queued_bytes <= 16 * 1024
    assert node.closed == []


@pytest.mark.parametrize("first", [3, 5, 6, 1000])
async def test_only_produce_may_be_very_large(tmp_path: Path, first: int) -> None:
    node = Node(tmp_path, other_request_size_max=1_000_000)
    client, producer = node.connect(), node.connect()
    frame = struct.pack(">ihh", 1_000_001, 18, 0) + bytes(200_000)
    await client.send(frame[:first])
    while client.connection.last_active_ms == 0 or not client.connection.queued_bytes:
        await asyncio.sleep(0)
    with contextlib.suppress(ConnectionError):
        await client.send(frame[first:])
    assert await client.is_closed()
    assert node.closed == ["a request of 1000001 bytes with API key 18 (at most 1000000)"]
    node.topic("t")
    stored = await producer.ask(produce(batch([b"v" * 900_000] * 2)), 9)
    assert stored.responses[0].partition_responses[0].error_code in (0, 10)


async def test_an_idle_connection_gives_the_room_for_answers_back(node: Node) -> None:
    client = node.connect()
    await client.send(slow_frame(b"x" * 10_000))
    assert await client.receive_frame() == slow_frame(b"x" * 10_000)[4:]
    client.connection.release_memory()
    await client.send(slow_frame(b"y"))
    assert await client.receive_frame() == slow_frame(b"y")[4:]

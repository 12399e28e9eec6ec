"""Accepting, limits, idle connections and stopping, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tidelog._native.partition import PartitionTable, Progress
from tidelog.clock import ManualClock
from tidelog.config import BrokerConfig
from tidelog.errors import PeerError
from tidelog.handlers.context import ConnectionInfo
from tidelog.net.server import BoundListener, Server, _plain


class EchoDispatcher:
    """Answers with the request; keeps what it was told of the connections."""

    def __init__(self) -> None:
        self.seen: list[ConnectionInfo] = []
        self.hold: asyncio.Event | None = None

    def dispatch(self, frame: bytes, info: ConnectionInfo) -> Any:
        self.seen.append(info)
        if frame[2:4] == b"\xff\xff":
            raise PeerError("what is this?")
        answer = struct.pack(">i", len(frame)) + frame
        return answer if self.hold is None else self._later(answer)

    async def _later(self, answer: bytes) -> bytes:
        assert self.hold is not None
        await self.hold.wait()
        return answer


FRAME = struct.pack(">ihh", 4, 18, 0)


class Served:
    """A server on a free port."""

    def __init__(self, **configs: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = ManualClock()
        self.dispatcher = EchoDispatcher()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.executor = ThreadPoolExecutor(1)
        self.server = Server(
            self.loop,
            self.dispatcher,  # type: ignore[arg-type]
            PartitionTable(Progress(self.loop.call_soon)),
            dataclasses.replace(BrokerConfig.resolve(), **configs),
            self.clock,
            [BoundListener(self.listener, "INSIDE")],
            self.executor,
        )
        self.server.start()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.listener.getsockname())

    async def close(self) -> None:
        await self.server.stop(0)
        self.listener.close()
        self.executor.shutdown()


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(FRAME)
    return await asyncio.wait_for(reader.read(100), 10)


async def test_a_connection_knows_both_its_ends() -> None:
    served = Served()
    reader, writer = await served.connect()
    assert await echoed(reader, writer) == FRAME
    info = served.dispatcher.seen[0]
    assert (info.listener, info.client_host) == ("INSIDE", "127.0.0.1")
    assert (info.local_host, info.local_port) == served.listener.getsockname()
    assert served.server.connections == 1
    writer.close()
    while served.server.connections:
        await asyncio.sleep(0.001)
    assert served.server.admission.total == 0
    await served.close()


async def test_connections_beyond_the_limit_are_closed_and_others_served() -> None:
    served = Served(max_connections_per_ip=1)
    first = await served.connect()
    assert await echoed(*first) == FRAME
    reader, _ = await served.connect()
    assert await asyncio.wait_for(reader.read(1), 10) == b""
    assert await echoed(*first) == FRAME
    await served.close()


async def test_a_bad_peer_costs_its_own_connection_and_few_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    served = Served()
    good = await served.connect()
    for _ in range(30):
        reader, writer = await served.connect()
        writer.write(struct.pack(">ihh", 4, 18, -1))
        assert await asyncio.wait_for(reader.read(1), 10) == b""
    assert await echoed(*good) == FRAME
    assert 1 <= sum("what is this?" in line for line in caplog.messages) <= 10
    await served.close()


async def test_idle_connections_are_closed_busy_ones_not() -> None:
    served = Served(connections_max_idle_ms=20)
    served.dispatcher.hold = asyncio.Event()
    reader, writer = await served.connect()
    busy_reader, busy_writer = await served.connect()
    busy_writer.write(FRAME)
    while not served.dispatcher.seen:
        await asyncio.sleep(0.001)
    # Connections stamp themselves with the machine's monotonic time, which is before that.
    served.clock.advance(10**9)
    assert await asyncio.wait_for(reader.read(1), 10) == b""
    served.dispatcher.hold.set()
    assert await asyncio.wait_for(busy_reader.read(100), 10) == FRAME
    writer.close()
    await served.close()


async def test_stopping_waits_for_answers_in_work() -> None:
    served = Served()
    served.dispatcher.hold = asyncio.Event()
    idle_reader, _ = await served.connect()
    reader, writer = await served.connect()
    writer.write(FRAME)
    while not served.dispatcher.seen:
        await asyncio.sleep(0.001)
    stopping = asyncio.create_task(served.server.stop(60_000))
    assert await asyncio.wait_for(idle_reader.read(1), 10) == b""
    served.dispatcher.hold.set()
    assert await asyncio.wait_for(reader.readexactly(len(FRAME)), 10) == FRAME
    writer.close()
    await asyncio.wait_for(stopping, 10)
    served.executor.shutdown()
    served.listener.close()


async def test_stopping_takes_no_further_request() -> None:
    """A consumer asks again as soon as it is answered; it must not hold the stop up."""
    served = Served()
    served.dispatcher.hold = asyncio.Event()
    reader, writer = await served.connect()
    writer.write(FRAME)
    while not served.dispatcher.seen:
        await asyncio.sleep(0.001)
    stopping = asyncio.create_task(served.server.stop(60_000))
    await asyncio.sleep(0)
    writer.write(FRAME)
    served.dispatcher.hold.set()
    assert await asyncio.wait_for(reader.readexactly(len(FRAME)), 10) == FRAME
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    await asyncio.wait_for(stopping, 10)
    assert len(served.dispatcher.seen) == 1
    served.executor.shutdown()
    served.listener.close()


def test_mapped_addresses_are_told_as_clients_write_them() -> None:
    assert _plain("::ffff:127.0.0.1") == "127.0.0.1"
    assert _plain("10.0.0.1") == "10.0.0.1"
    assert _plain("::1") == "::1"


async def test_stopping_ends_though_a_peer_stays() -> None:
    served = Served()
    served.dispatcher.hold = asyncio.Event()
    reader, writer = await served.connect()
    writer.write(FRAME)
    while not served.dispatcher.seen:
        await asyncio.sleep(0.001)
    await asyncio.wait_for(served.server.stop(1), 10)
    assert await asyncio.wait_for(reader.read(1), 10) == b""
    served.dispatcher.hold.set()
    served.executor.shutdown()
    served.listener.close()


def grown(size: int, part: int) -> bytes:
    """The beginning of a large Produce request."""
    return struct.pack(">ihh", size, 0, 9) + bytes(part)


async def test_who_holds_memory_and_stops_is_closed_when_it_is_short(
    caplog: pytest.LogCaptureFixture,
) -> None:
    served = Served(tidelog_process_max_queued_bytes=1 << 20)
    good = await served.connect()
    stalled = [await served.connect() for _ in range(4)]
    for _, writer in stalled:
        writer.write(grown(8 << 20, 600_000))
    while not served.server.reactor.still_pressed():
        await asyncio.sleep(0.001)
    served.clock.advance(10**9)
    answered = asyncio.create_task(echoed(*good))
    ends = [asyncio.create_task(reader.read(1)) for reader, _ in stalled]
    async with asyncio.timeout(10):
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert await answered == FRAME
        while served.server.reactor.still_pressed():
            await asyncio.sleep(0.001)
    assert any("without progress while memory was short" in line for line in caplog.messages)
    # Only as many as had to go.
    assert 2 <= served.server.connections < 5
    for end in ends:
        end.cancel()
    await served.close()


async def test_kafkas_config_limits_the_memory_of_the_process() -> None:
    served = Served(queued_max_request_bytes=5_000_000)
    assert served.server.reactor.total_bytes_max == 5_000_000
    await served.close()


async def test_a_peer_that_goes_while_it_is_not_read_is_noticed() -> None:
    served = Served(connections_max_idle_ms=40)
    served.dispatcher.hold = asyncio.Event()
    _, writer = await served.connect()
    writer.write(FRAME * 3)
    while not served.dispatcher.seen:
        await asyncio.sleep(0.001)
    writer.close()
    async with asyncio.timeout(10):
        while served.server.connections:
            await asyncio.sleep(0.001)
    served.dispatcher.hold.set()
    await served.close()


async def test_accepting_goes_on_after_a_failure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.net.server.ACCEPT_RETRY_MS", 1)
    served = Served()
    failures = [OSError(24, "Too many open files")]

    class Listener:
        def accept(self) -> Any:
            if failures:
                raise failures.pop()
            return served.listener.accept()

        def fileno(self) -> int:
            return served.listener.fileno()

    served.loop.remove_reader(served.listener.fileno())
    listener = BoundListener(Listener(), "INSIDE")  # type: ignore[arg-type]
    served.loop.add_reader(served.listener.fileno(), served.server._accept, listener)
    assert await echoed(*await served.connect()) == FRAME
    assert any("accept failed" in line for line in caplog.messages)
    await served.close()


async def test_a_flood_of_connections_is_accepted_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.net.server.ACCEPTS_PER_TURN", 2)
    served = Served()
    addresses = [socket.create_connection(served.listener.getsockname()) for _ in range(5)]
    steps = []
    while served.server.connections < 5:
        steps.append(served.server.connections)
        await asyncio.sleep(0)
    assert set(steps) <= {0, 2, 4}
    for each in addresses:
        each.close()
    await served.close()


async def test_connections_that_come_too_fast_are_held_and_not_served() -> None:
    served = Served()
    served.server.follow_quotas({(("ip", "127.0.0.1"),): {"connection_creation_rate": 0.2}})
    first, second = await served.connect(), await served.connect()
    assert await echoed(*first) == await echoed(*second) == FRAME
    reader, writer = await served.connect()
    writer.write(FRAME)
    # Its end comes with the server's, which holds it still.
    held = asyncio.ensure_future(reader.read(1))
    assert await echoed(*first) == FRAME
    assert not held.done()
    assert (served.server.connections, served.server.admission.total) == (2, 2)
    await served.close()
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(held, 10) == b""


async def test_quotas_pause_the_connection_that_they_are_told() -> None:
    served = Served()
    server = served.server
    assert server.gates.quotas is None
    server.follow_quotas({(("user", None),): {"producer_byte_rate": 1.0}})
    assert server.gates.quotas is not None
    first, second = await served.connect(), await served.connect()
    assert await echoed(*first) == await echoed(*second) == FRAME
    info = served.dispatcher.seen[0]
    assert server.gates.quotas.produced(info, b"c", 1_000_000, 0) > 1_000_000
    first[1].write(FRAME)
    assert await echoed(*second) == FRAME
    assert len(served.dispatcher.seen) == 3
    # Whoever is gone is not paused any more.
    first[1].close()
    while server.connections > 1:
        for connection in list(server._connections):
            if connection.paused:
                connection.close()
        await asyncio.sleep(0)
    assert server.gates.quotas.produced(info, b"c", 1, 0) > 0
    server.follow_quotas({})
    assert server.gates.quotas is None
    await served.close()


async def test_configs_change_while_connections_are_open() -> None:
    served = Served()
    first = await served.connect()
    assert await echoed(*first) == FRAME
    config = dataclasses.replace(BrokerConfig.resolve(), max_connections_per_ip=1)
    served.server.follow_config(config)
    reader, writer = await served.connect()
    assert await asyncio.wait_for(reader.read(1), 10) == b""
    writer.close()
    assert await echoed(*first) == FRAME
    await served.close()


async def test_connections_beyond_the_nodes_rate_wait_in_the_backlog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = Served(max_connection_creation_rate=5)
    rests: list[int] = []
    rest = served.server._rest

    def rest_shortly(time_ms: int) -> None:
        rests.append(time_ms)
        rest(1)

    monkeypatch.setattr(served.server, "_rest", rest_shortly)
    opened = [await served.connect() for _ in range(52)]
    for each in opened:
        assert await echoed(*each) == FRAME
    # Fifty in ten seconds; the clock of the server stands still.
    assert rests == [200, 400]
    await served.close()

"""The local socket: who is answered, and what becomes of those who ask badly."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator

import pytest

from tidelog import limits
from tidelog.cpu_samples import (
    ENOUGH,
    LENGTH,
    Answer,
    Order,
    Refused,
    decode_answer,
    encode,
    socket_name,
)
from tidelog.process.sampling import port as port_module
from tidelog.process.sampling.port import SamplingPort, may_ask


class Sampling:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.ended = 0
        self.go = asyncio.Event()

    async def __call__(self, order: Order, enough: asyncio.Event) -> Answer:
        self.orders.append(order)
        self.enough = enough
        try:
            await self.go.wait()
        finally:
            self.ended += 1
        return Refused("done")


class Port:
    def __init__(self) -> None:
        self.cluster = uuid.uuid4().hex
        self.sampling = Sampling()
        self.port = SamplingPort(self.cluster, 1, self.sampling)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, socket_name(self.cluster, 1))
        return await asyncio.open_unix_connection(sock=sock)

    async def ask(self, frame: bytes) -> Answer:
        reader, writer = await self.connect()
        writer.write(frame)
        (size,) = LENGTH.unpack(await reader.readexactly(4))
        answer = decode_answer(await reader.readexactly(size))
        assert await reader.read() == b""  # one answer, then the end
        writer.close()
        return answer


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    made = Port()
    await made.port.open()
    yield made
    await made.port.close()


async def test_an_order_is_carried_out_and_answered(port: Port) -> None:
    port.sampling.go.set()
    assert await port.ask(encode(Order(5, 7))) == Refused("done")
    assert port.sampling.orders == [Order(5, 7)]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (LENGTH.pack(1 << 30), "an order of 1073741824 bytes"),
        (LENGTH.pack(3) + b"abc", "it is no order"),
        (encode(Refused("x")), "it is no order"),
    ],
)
async def test_what_is_no_order_is_refused(port: Port, frame: bytes, reason: str) -> None:
    answer = await port.ask(frame)
    assert isinstance(answer, Refused) and reason in answer.reason
    assert not port.sampling.orders


async def test_a_peer_says_when_it_is_enough(port: Port) -> None:
    reader, writer = await port.connect()
    writer.write(encode(Order(5, 7)))
    while not port.sampling.orders:
        await asyncio.sleep(0)
    assert not port.sampling.enough.is_set()
    writer.write(ENOUGH)
    await port.sampling.enough.wait()
    port.sampling.go.set()
    assert await reader.read() == encode(Refused("done"))
    writer.close()


async def test_a_peer_that_goes_ends_its_run(port: Port) -> None:
    _, writer = await port.connect()
    writer.write(encode(Order(5, 7)))
    while not port.sampling.orders:
        await asyncio.sleep(0)
    writer.close()
    while not port.sampling.ended:
        await asyncio.sleep(0)


async def test_connections_are_limited(port: Port) -> None:
    kept = [await port.connect() for _ in range(limits.SAMPLING_CONNECTIONS_MAX)]
    for _, writer in kept:
        writer.write(encode(Order(1, 1)))
    while len(port.sampling.orders) < len(kept):
        await asyncio.sleep(0)
    reader, writer = await port.connect()
    assert await reader.read() == b""
    writer.close()
    port.sampling.go.set()
    for reader, writer in kept:
        assert await reader.read()
        writer.close()
    while port.port._tasks:
        await asyncio.sleep(0)
    assert await port.ask(encode(Order(1, 1))) == Refused("done")


async def test_a_peer_that_orders_nothing_is_let_go(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_module, "SAMPLING_ORDER_TIMEOUT_MS", 10)
    reader, writer = await port.connect()
    assert await reader.read() == b""
    writer.close()


async def test_other_users_are_not_answered(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    assert may_ask(0) and may_ask(os.geteuid()) and not may_ask(os.geteuid() + 4711)
    monkeypatch.setattr(port_module, "may_ask", lambda _: False)
    reader, writer = await port.connect()
    assert await reader.read() == b""
    writer.close()


async def test_a_name_that_somebody_has_is_no_end(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    second = SamplingPort(port.cluster, 1, port.sampling)
    await second.open()
    assert "no samples can be asked for" in caplog.text
    await second.close()
    await port.port.close()
    await second.open()  # the name goes with the socket
    await second.close()


async def test_closing_ends_the_run(port: Port) -> None:
    reader, writer = await port.connect()
    writer.write(encode(Order(5, 7)))
    while not port.sampling.orders:
        await asyncio.sleep(0)
    await port.port.close()
    assert port.sampling.ended == 1 and await reader.read() == b""
    writer.close()

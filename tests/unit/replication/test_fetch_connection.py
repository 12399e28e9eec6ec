"""The follower's socket: partial sends and receives, ends, time-outs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.native.log_harness import new_core
from tests.unit.native.test_replica_fetch import T, answer, data, exchange, followed, sent
from tests.unit.replication.follower_harness import listening, until
from tidelog._native.replica_fetch import ReplicaFetch
from tidelog.errors import InvariantError, MalformedMessageError
from tidelog.protocol.codec import encode_response_frame
from tidelog.replication.fetch_connection import FetchConnection


class Ends:
    """Both ends of a connection."""

    def __init__(self, directory: Path) -> None:
        self.exchange: ReplicaFetch = exchange()
        followed(self.exchange, new_core(directory), (T, 0))
        self.answers = 0
        self.failure: BaseException | None = None
        self.there: socket.socket
        self.here: FetchConnection

    async def open(self, timeout_ms: int = 10_000, receive_buffer_bytes: int = -1) -> None:
        with listening() as listener:
            self.here = await FetchConnection.open(
                listener.getsockname()[:2],
                self.exchange,
                self.on_answer,
                timeout_ms,
                receive_buffer_bytes,
            )
            self.there, _ = listener.accept()
        self.there.setblocking(False)

    def on_answer(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.exchange.take_answer()
        self.answers += 1
        self.exchange.done()

    def answer(self, size: int = 0) -> bytes:
        response = answer((T, [data(0, records=bytes(size))]))
        return encode_response_frame(response, 18, self.exchange.answered + 1)


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    made = Ends(tmp_path)
    await made.open()
    yield made
    made.here.close("end of the test")
    made.there.close()


async def test_an_answer_in_pieces(ends: Ends) -> None:
    loop = asyncio.get_running_loop()
    for size in (0, 10, 3_000_000):
        sent(ends.exchange)
        frame = ends.answer(size)
        before = ends.answers
        await loop.sock_sendall(ends.there, frame[:7])
        await loop.sock_sendall(ends.there, frame[7:])
        await until(lambda before=before: ends.answers == before + 1)
    assert not ends.here.ended.done()


async def test_two_answers_at_once(ends: Ends) -> None:
    sent(ends.exchange)
    await asyncio.get_running_loop().sock_sendall(ends.there, ends.answer())
    await until(lambda: ends.answers == 1)
    sent(ends.exchange)
    ends.exchange.ask(ends.exchange.parts()[0], 5, 5, 5, 5)
    sent(ends.exchange)
    second = ends.answer()
    third = second[:4] + (3).to_bytes(4) + second[8:]
    await asyncio.get_running_loop().sock_sendall(ends.there, second + third)
    await until(lambda: ends.answers == 3)


async def test_a_request_that_the_socket_does_not_take_at_once(ends: Ends) -> None:
    loop = asyncio.get_running_loop()
    frame = bytes(range(256)) * 40_000
    ends.here.send(frame)
    ends.here.send(b"end")
    received = b""
    while len(received) < len(frame) + 3:
        received += await loop.sock_recv(ends.there, 1 << 20)
    assert received == frame + b"end"
    ends.here.send(b"more")
    assert await loop.sock_recv(ends.there, 100) == b"more"


async def test_the_leader_ends_it(ends: Ends) -> None:
    ends.there.close()
    assert await ends.here.ended == "closed by the leader"
    ends.here.send(b"into nothing")
    ends.here.close("again")
    assert ends.here.ended.result() == "closed by the leader"


async def test_bytes_that_are_no_answer_end_it(ends: Ends) -> None:
    ends.there.send(b"abcd")
    assert await ends.here.ended == "an answer that nobody waits for"


@pytest.mark.parametrize("failure", [MalformedMessageError("bad"), OSError("bad")])
async def test_what_an_answer_is_blamed_for_ends_it(ends: Ends, failure: Exception) -> None:
    ends.failure = failure
    sent(ends.exchange)
    ends.there.send(ends.answer())
    assert await ends.here.ended == "bad"


async def test_our_own_mistakes_go_to_the_loop(ends: Ends) -> None:
    heard: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: heard.append(context["exception"])
    )
    ends.failure = InvariantError("ours")
    sent(ends.exchange)
    ends.there.send(ends.answer())
    assert await ends.here.ended == "failed here"
    assert heard == [ends.failure]


async def test_a_reset_connection(ends: Ends) -> None:
    ends.there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.there.close()
    assert "reset" in (await ends.here.ended).lower()


async def test_no_answer_in_time(tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    await ends.open(40)
    # Nobody is in a hurry while nothing is awaited.
    for _ in range(60):
        await asyncio.sleep(0.001)
    assert not ends.here.ended.done()
    sent(ends.exchange)
    assert await ends.here.ended == "no answer in 0.04 s"
    ends.there.close()


async def test_slow_is_not_dead(tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    await ends.open(150)
    sent(ends.exchange)
    frame = ends.answer(100)
    for at in range(0, len(frame), 4):
        ends.there.send(frame[at : at + 4])
        await asyncio.sleep(0.01)
    await until(lambda: ends.answers == 1)
    ends.here.close("end of the test")
    ends.there.close()


async def test_the_receive_buffer_is_the_configured_one(tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    await ends.open(10_000, 40_000)
    assert ends.here._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 80_000
    assert ends.here._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    ends.here.close("end of the test")
    ends.there.close()


async def test_nobody_there(tmp_path: Path) -> None:
    listener = listening()
    address = listener.getsockname()[:2]
    listener.close()
    made = exchange()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await FetchConnection.open(address, made, lambda: None, 1000)

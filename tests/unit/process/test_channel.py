"""The control channel: frames in pieces of any size, types, limits, and the end of it."""

from __future__ import annotations

import asyncio
import socket
import struct

import msgspec
import pytest
import uvloop

from tidelog.process.channel import ChannelError, ControlChannel, FrameReader, encode_frame
from tidelog.process.messages import Applied, FromWorker, Heartbeat, Hello


def test_frames_come_out_whole_whatever_the_pieces() -> None:
    messages = [Hello(1), Applied(2**40), Heartbeat()]
    stream = b"".join(encode_frame(message) for message in messages)
    decoder = msgspec.msgpack.Decoder(FromWorker)
    for size in range(1, len(stream) + 1):
        reader = FrameReader()
        frames = []
        for start in range(0, len(stream), size):
            frames += reader.feed(stream[start : start + size])
        assert [decoder.decode(frame) for frame in frames] == messages


def test_an_empty_frame_is_one() -> None:
    assert list(FrameReader().feed(bytes(4))) == [b""]


def test_a_length_beyond_the_limit_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.process.channel.CONTROL_FRAME_BYTES_MAX", 100)
    assert list(FrameReader(100).feed(struct.pack(">I", 100))) == []
    for length in (101, 2**31, 2**32 - 1):
        with pytest.raises(ChannelError):
            list(FrameReader(100).feed(struct.pack(">I", length)))
    with pytest.raises(ChannelError):
        encode_frame(msgspec.defstruct("Long", [("text", str)])("x" * 200))


class End:
    """One end of a channel that writes down what happens."""

    def __init__(self) -> None:
        self.messages: list[object] = []
        self.closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.channel: ControlChannel[object]

    async def open(self, sock: socket.socket) -> End:
        self.channel = await ControlChannel.open(
            sock, FromWorker, self.messages.append, self.closed.set_result
        )
        return self


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """The supervisor runs on asyncio's loop, workers on uvloop's."""
    return (
        uvloop.EventLoopPolicy()
        if request.param == "uvloop"
        else (asyncio.DefaultEventLoopPolicy())
    )


async def test_messages_in_order_and_the_end() -> None:
    ours, its = socket.socketpair()
    one, other = await End().open(ours), await End().open(its)
    for number in range(1000):
        one.channel.send(Applied(number))
    other.channel.send(Heartbeat())
    one.channel.close()
    assert await other.closed is None
    assert other.messages == [Applied(number) for number in range(1000)]
    assert await one.closed is None
    # Without effect, but no error either: the owner learns of the end by on_closed.
    one.channel.send(Heartbeat())
    other.channel.abort()


@pytest.mark.parametrize("garbage", [b"\x00\x00\x00\x01\xc1", b"\xff\xff\xff\xff", bytes(4)])
async def test_garbage_ends_the_channel(garbage: bytes) -> None:
    ours, its = socket.socketpair()
    end = await End().open(ours)
    its.sendall(garbage)
    assert isinstance(await end.closed, ChannelError | msgspec.MsgspecError)
    assert end.messages == []
    its.close()


async def test_what_is_not_taken_is_counted_and_not_lost() -> None:
    ours, its = socket.socketpair()
    one = await End().open(ours)
    assert one.channel.queued_bytes == 0
    for number in range(200_000):
        one.channel.send(Applied(number))
    assert one.channel.queued_bytes > 1_000_000
    other = await End().open(its)
    one.channel.close()
    await other.closed
    assert len(other.messages) == 200_000

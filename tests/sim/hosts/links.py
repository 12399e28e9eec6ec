"""Connections between the supervisors of simulated hosts: in order, late, cut off silently in one
direction, or reset. They stand in the place of `ControlChannel` and of sockets.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from tidelog.process.channel import encode_frame

_LENGTH_BYTES = 4


class Links:
    """All connections. `cut`: pairs of hosts (source, target) between which nothing arrives."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.cut: set[tuple[str, str]] = set()
        self.listening: dict[str, asyncio.Queue[End]] = {}
        self.ends: list[End] = []

    def delay_s(self) -> float:
        if self.rng.random() < 0.02:
            return self.rng.random() * 0.4
        return self.rng.random() * 0.003

    async def connect(self, source: str, target: str) -> End:
        """As a host connects to another one. Raises ConnectionRefusedError."""
        await asyncio.sleep(self.delay_s())
        while {(source, target), (target, source)} & self.cut:
            await asyncio.sleep(0.05)
        if target not in self.listening:
            raise ConnectionRefusedError(f"nobody listens at {target}")
        ours, theirs = End(self, source), End(self, target)
        ours.other, theirs.other = theirs, ours
        self.ends += [ours, theirs]
        self.listening[target].put_nowait(theirs)
        return ours

    def die(self, host: str) -> None:
        """The host's process has ended: its connections are reset."""
        self.listening.pop(host, None)
        for end in [end for end in self.ends if end.host == host]:
            end.channel = None
            end.abort()

    def reset(self) -> None:
        """One of the connections breaks."""
        if self.ends:
            end = self.rng.choice(self.ends)
            end.abort()
            end.other.abort()


class End:
    """One end of a connection. What is sent arrives in order, as soon as the way is free."""

    def __init__(self, links: Links, host: str) -> None:
        self.host = host
        self.channel: SimChannel | None = None
        self.other: End
        self.closed = False
        self._links = links
        self._way: deque[bytes | None] = deque()
        self._waiting: list[bytes | None] = []  # arrived before there was a channel

    @property
    def on_the_way(self) -> int:
        return sum(len(frame or b"") for frame in self._way)

    def send(self, frame: bytes | None) -> None:
        """None: the end of it."""
        self._way.append(frame)
        if len(self._way) == 1:
            self._later()

    def attach(self, channel: SimChannel) -> None:
        self.channel = channel
        waiting, self._waiting = self._waiting, []
        for frame in waiting:
            channel.arrived(frame)

    def abort(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._links.ends.remove(self)
        if self.channel is not None:
            asyncio.get_running_loop().call_soon(self.channel.lost)
        self.send(None)

    def close(self) -> None:
        """As a socket's, before there is a channel."""
        self.abort()

    def _later(self) -> None:
        asyncio.get_running_loop().call_later(self._links.delay_s(), self._deliver)

    def _deliver(self) -> None:
        if (self.host, self.other.host) in self._links.cut:
            asyncio.get_running_loop().call_later(0.05, self._deliver)
            return
        frame = self._way.popleft()
        if self._way:
            self._later()
        if self.other.channel is not None:
            self.other.channel.arrived(frame)
        elif not self.other.closed:
            self.other._waiting.append(frame)


class SimChannel:
    """In the place of `ControlChannel`."""

    def __init__(
        self,
        end: End,
        incoming: object,
        on_message: Callable[[Any], None],
        on_closed: Callable[[Exception | None], None],
    ) -> None:
        self._end = end
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(incoming)
        self._on_message = on_message
        self._on_closed = on_closed
        self._told = False

    @classmethod
    async def open(
        cls,
        sock: End,
        incoming: object,
        on_message: Callable[[Any], None],
        on_closed: Callable[[Exception | None], None],
        bytes_max: int = 0,
    ) -> SimChannel:
        channel = cls(sock, incoming, on_message, on_closed)
        sock.attach(channel)
        return channel

    @property
    def queued_bytes(self) -> int:
        return self._end.on_the_way

    def trust(self) -> None:
        return

    def send(self, message: msgspec.Struct) -> None:
        self.send_frame(encode_frame(message))

    def send_frame(self, frame: bytes) -> None:
        if not self._end.closed:
            self._end.send(frame)

    def abort(self) -> None:
        self._end.abort()

    def arrived(self, frame: bytes | None) -> None:
        if self._end.closed:
            return
        if frame is None:
            self._end.abort()
        else:
            self._on_message(self._decoder.decode(frame[_LENGTH_BYTES:]))

    def lost(self) -> None:
        if not self._told:
            self._told = True
            self._on_closed(None)

"""Another host has the controller's seat: the link to it.

Lives on the supervisor's loop. One connection; when it ends, so does this object, and its owner
makes another one.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
from typing import Final, Protocol

import msgspec

from tidelog.clock import Clock
from tidelog.controller.requests import ControllerAnswer, ControllerRequest
from tidelog.limits import HOST_CONNECT_TIMEOUT_MS, HOST_GREETING_BYTES_MAX
from tidelog.metastore.ensemble import Seat
from tidelog.process.channel import ControlChannel
from tidelog.process.hosts.messages import (
    Alive,
    Challenge,
    Greeting,
    Heard,
    HostAnswer,
    HostAsks,
    NodeVersion,
    ToHost,
    Welcome,
    proof_of,
)
from tidelog.process.messages import Delta, Snapshot
from tidelog.process.node_report import NodeReport

_NONCE_BYTES: Final = 32


class FollowingOwner(Protocol):
    """What is done about what the controller sends. Each call names the link."""

    @property
    def version(self) -> int:
        """Of the metadata that is known here, -1 for none."""

    def welcomed(self, link: Following) -> None: ...

    def controller_sends(self, link: Following, message: Snapshot | Delta) -> None: ...

    def controller_answers(
        self, link: Following, request_id: int, answer: ControllerAnswer
    ) -> None: ...

    def link_ended(self, link: Following, reason: str) -> None: ...


class Following:
    """See the module."""

    def __init__(
        self, seat: Seat, host_id: str, secret: bytes, owner: FollowingOwner, clock: Clock
    ) -> None:
        self.seat = seat
        self.is_welcome = False
        self.heard_ms = clock.monotonic_ms()
        self._host_id = host_id
        self._secret = secret
        self._owner = owner
        self._clock = clock
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._channel: ControlChannel[ToHost] | None = None
        self._reason: str | None = None
        self._ended = False

    async def open(self) -> None:
        """Connects; whatever fails is told as the link's end."""
        host, _, port = self.seat.address.rpartition(":")
        try:
            async with asyncio.timeout(HOST_CONNECT_TIMEOUT_MS / 1000):
                sock = await _connect(host.strip("[]"), int(port))
        except (OSError, ValueError) as error:  # (a time-out is an OSError)
            self._end(f"no connection to {self.seat.address}: {str(error) or type(error).__name__}")
            return
        if self._ended:
            sock.close()
            return
        self._channel = await ControlChannel.open(
            sock, ToHost, self._received, self._closed, HOST_GREETING_BYTES_MAX
        )

    def ask(self, request_id: int, request: ControllerRequest, when_committed: bool) -> None:
        self._send(HostAsks(request_id, request, when_committed))  # type: ignore[arg-type]  # all are AnyRequest

    def report(self, reports: tuple[NodeReport, ...]) -> None:
        self._send(Alive(reports))

    def node_version(self, node_id: int, version: int) -> None:
        self._send(NodeVersion(node_id, version))

    def give_up(self, reason: str) -> None:
        """Ends the link at once."""
        self._reason = reason
        if self._channel is not None:
            self._channel.abort()
        self._end(reason)

    def _send(self, message: msgspec.Struct) -> None:
        if self._channel is not None and self.is_welcome and not self._ended:
            self._channel.send(message)

    def _received(self, message: ToHost) -> None:
        self.heard_ms = self._clock.monotonic_ms()
        match message:
            case Challenge(epoch, nonce):
                self._greet(epoch, nonce)
            case Welcome(proof):
                self._take_welcome(proof)
            case Snapshot() | Delta() if self.is_welcome:
                self._owner.controller_sends(self, message)
            case HostAnswer(request_id, answer) if self.is_welcome:
                self._owner.controller_answers(self, request_id, answer)
            case Heard():
                pass
            case _:
                self.give_up(f"{type(message).__name__} before the welcome")

    def _greet(self, epoch: int, nonce: bytes) -> None:
        if epoch != self.seat.epoch:
            self.give_up(f"there is the controller of epoch {epoch}, not {self.seat.epoch}")
        elif self._channel is not None:
            proof = proof_of(self._secret, nonce=nonce, host_id=self._host_id, of_controller=False)
            self._channel.send(
                Greeting(self._host_id, epoch, proof, self._nonce, self._owner.version)
            )

    def _take_welcome(self, proof: bytes) -> None:
        right = proof_of(self._secret, nonce=self._nonce, host_id=self._host_id, of_controller=True)
        if not hmac.compare_digest(right, proof):
            self.give_up("the other end does not know the cluster's secret")
        elif self._channel is not None:
            self._channel.trust()
            self.is_welcome = True
            self._owner.welcomed(self)

    def _closed(self, error: Exception | None) -> None:
        self._end(self._reason or (str(error) if error else "closed by the other end"))

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._owner.link_ended(self, reason)


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock

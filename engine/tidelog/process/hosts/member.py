"""The controller's side of the link to one host: handshake, what it is sent, what it asks.

Lives on the loop of the controller's host. It moves messages; what follows from them is the
business of `Leading`, which it tells through `MemberOwner`.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from typing import Protocol

import msgspec

from tidelog.controller.requests import ControllerAnswer
from tidelog.limits import CONTROL_QUEUE_BYTES_MAX, HOST_GREETING_BYTES_MAX
from tidelog.metadata.image import MetadataImage
from tidelog.process.channel import ControlChannel
from tidelog.process.hosts.history import History
from tidelog.process.hosts.messages import (
    Alive,
    Challenge,
    FromHost,
    Greeting,
    Heard,
    HostAnswer,
    HostAsks,
    NodeVersion,
    Welcome,
    proof_of,
)
from tidelog.process.snapshots import snapshot_frames


class MemberOwner(Protocol):
    """What the controller does about what a link tells. Each call names the link."""

    @property
    def image(self) -> MetadataImage: ...

    @property
    def history(self) -> History: ...

    def member_joined(self, member: Member) -> None: ...

    def member_says(self, member: Member, message: Alive | NodeVersion | HostAsks) -> None: ...

    def member_gone(self, member: Member, error: Exception | None) -> None: ...


class Member:
    """One connection of one host; host_id is "" until it has shown that it is one of us."""

    def __init__(self, owner: MemberOwner, epoch: int, secret: bytes, nonce: bytes) -> None:
        self.host_id = ""
        self.nodes: set[int] = set()
        self.refused: str | None = None
        self._owner = owner
        self._epoch = epoch
        self._secret = secret
        self._nonce = nonce
        self._channel: ControlChannel[FromHost] | None = None
        self._behind = False

    async def open(self, sock: socket.socket) -> None:
        """Takes the accepted socket over and speaks first."""
        self._channel = await ControlChannel.open(
            sock,
            FromHost,
            self._received,
            lambda error: self._owner.member_gone(self, error),
            HOST_GREETING_BYTES_MAX,
        )
        self._send(Challenge(self._epoch, self._nonce))

    def send_delta(self, frame: bytes) -> None:
        """The next delta. A host that takes nothing for too long gets a snapshot later instead."""
        if not self.host_id or self._behind or self._channel is None:
            return
        if self._channel.queued_bytes > CONTROL_QUEUE_BYTES_MAX:
            self._behind = True
            return
        self._channel.send_frame(frame)

    def fall_behind(self) -> None:
        """A delta is not sent: a snapshot follows in its place."""
        self._behind = True

    def answer(self, request_id: int, answer: ControllerAnswer) -> None:
        self._send(HostAnswer(request_id, answer))  # type: ignore[arg-type]  # the machine answers with AnyAnswer

    def close(self) -> None:
        """Gives the connection up at once."""
        if self._channel is not None:
            self._channel.abort()
            self._channel = None

    def _send(self, message: msgspec.Struct) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _received(self, message: FromHost) -> None:
        if isinstance(message, Greeting):
            self._greeted(message)
            return
        if not self.host_id:
            self._refuse(f"{type(message).__name__} before it was known")
            return
        if isinstance(message, Alive):
            self._send(Heard())
            if self._behind and self._channel is not None and not self._channel.queued_bytes:
                self._send_snapshot()
        self._owner.member_says(self, message)

    def _greeted(self, greeting: Greeting) -> None:
        right = proof_of(
            self._secret, nonce=self._nonce, host_id=greeting.host_id, of_controller=False
        )
        if self.host_id or not greeting.host_id:
            self._refuse("greeted twice, or without a name")
        elif not hmac.compare_digest(right, greeting.proof):
            self._refuse("it does not know the cluster's secret")
        elif greeting.epoch != self._epoch:
            self._refuse(f"it looks for the controller of epoch {greeting.epoch}")
        elif self._channel is not None:
            self.host_id = greeting.host_id
            self._channel.trust()
            proof = proof_of(
                self._secret, nonce=greeting.nonce, host_id=self.host_id, of_controller=True
            )
            self._send(Welcome(proof))
            frames = self._owner.history.since(greeting.version)
            if frames is None:
                self._send_snapshot()
            else:
                for frame in frames:
                    self._channel.send_frame(frame)
            self._owner.member_joined(self)

    def _send_snapshot(self) -> None:
        self._behind = False
        for part in snapshot_frames(self._owner.image):
            self._send(part)

    def _refuse(self, reason: str) -> None:
        self.refused = reason
        if self._channel is not None:
            self._channel.abort()


async def drop_unless_known(member: Member, timeout_ms: int) -> None:
    """Ends the link of somebody who does not say in time who it is."""
    await asyncio.sleep(timeout_ms / 1000)
    if not member.host_id:
        member.close()

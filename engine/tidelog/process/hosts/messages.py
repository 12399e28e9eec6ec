"""What the supervisors of a cluster's hosts say to each other. Pure values (msgspec, tagged).

One connection from each host to the one that has the controller's seat. The controller speaks
first: Challenge, answered with Greeting, answered with Welcome; each side has shown then that it
knows the cluster's secret. From then on the controller sends the metadata (a snapshot, if the host
is too far behind, and deltas), answers, and Heard for each Alive; the host sends Alive, requests,
and how far its nodes are.

Frames are those of the control channel (`process/channel.py`).
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from tidelog.controller.requests import AnyAnswer, AnyRequest
from tidelog.process.messages import Delta, Snapshot
from tidelog.process.node_report import NodeReport


class Challenge(msgspec.Struct, frozen=True, tag="challenge"):
    """First word: the seat's epoch, and what has to be proven with."""

    epoch: int
    nonce: bytes


class Greeting(msgspec.Struct, frozen=True, tag="greeting"):
    """A host, its proof, a nonce for the controller's; epoch: of the seat that it looks for.
    version: of the metadata that it has, -1 for none.
    """

    host_id: str
    epoch: int
    proof: bytes
    nonce: bytes
    version: int


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The controller's proof."""

    proof: bytes


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """Sent at an interval, and first of all: what the host's nodes are at."""

    nodes: tuple[NodeReport, ...]


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """The controller has got an Alive."""


class NodeVersion(msgspec.Struct, frozen=True, tag="node_version"):
    """The node works with that version of the metadata; -1: nobody has to wait for it any more."""

    node_id: int
    version: int


class HostAsks(msgspec.Struct, frozen=True, tag="host_asks"):
    """A request to the controller; the id is the host's own."""

    request_id: int
    request: AnyRequest
    when_committed: bool


class HostAnswer(msgspec.Struct, frozen=True, tag="host_answer"):
    """The answer to the request of that id."""

    request_id: int
    answer: AnyAnswer


ToHost = Challenge | Welcome | Snapshot | Delta | HostAnswer | Heard
FromHost = Greeting | Alive | NodeVersion | HostAsks


def proof_of(secret: bytes, *, nonce: bytes, host_id: str, of_controller: bool) -> bytes:
    """What only somebody who knows the secret can answer to the nonce."""
    side = b"controller" if of_controller else b"host"
    return hmac.digest(secret, b"\0".join((side, host_id.encode(), nonce)), hashlib.sha256)

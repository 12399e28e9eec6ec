"""What a worker tells of where its time goes: samples of its threads, and what it
counted meanwhile.

Pure values (msgspec), and how they go over the worker's local socket (`process/sampling`): an
`Order`, then a `NodeSamples` or a `Refused`, each a frame of 4 bytes of length (big-endian) and
MessagePack. A byte (ENOUGH) after the order ends the run before its time. Both the broker and what
asks it stand above this module.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

#: The length of a frame.
LENGTH: Final = struct.Struct(">I")

#: Sent behind an order: it has been long enough, the answer is wanted now.
ENOUGH: Final = b"."

#: What a thread was doing at a tick: it ran; it was asleep in a system call; it had no CPU, because
#: others had all of them or because the kernel waited for it (the disk).
RUNNING, ASLEEP, WAITING = 0, 1, 2

PYTHON: Final = "python"
NATIVE: Final = "native"


def socket_name(cluster_id: str, node_id: int) -> str:
    """Where a node listens: a name in Linux's abstract namespace. It is no file, has no
    permissions, and is gone with its process; the kernel tells which user connects.
    """
    return f"\0tidelog/{cluster_id}/{node_id}/samples"


class Order(msgspec.Struct, frozen=True, tag="order"):
    """Sample for so long, so often."""

    duration_ms: int
    rate_hz: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Not now, or not so."""

    reason: str


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """A function. kind: PYTHON or NATIVE; module: the end of the file's path, or the library; name:
    qualified, or an address in its module when there is no symbol.
    """

    kind: str
    module: str
    name: str
    line: int = 0


class Stack(msgspec.Struct, frozen=True, array_like=True):
    """Where a thread was, and for how many ticks of its clock.

    state: RUNNING, ASLEEP or WAITING. frames: indexes into the report's, from the outermost on.
    """

    thread: int
    state: int
    ticks: int
    frames: tuple[int, ...]


class Thread(msgspec.Struct, frozen=True):
    """A sampled thread.

    wall: its ticks are those of the wall clock, else of its CPU time. samples: how often it was
    interrupted; lost: for want of room; cut: callers are missing; handler_ns: what taking
    them cost.
    """

    name: str
    wall: bool
    cpu_ns: int
    samples: int
    ticks: int
    asleep_ticks: int
    waiting_ticks: int
    lost: int
    cut: int
    handler_ns: int

    @property
    def running_ticks(self) -> int:
        """Ticks at which it ran."""
        return self.ticks - self.asleep_ticks - self.waiting_ticks


class StageTime(msgspec.Struct, frozen=True, array_like=True):
    """What the requests of an API spent in a stage (docs/metrics.md): of a sample, weighted."""

    api: str
    stage: str
    count: int
    sum_ns: int


class Counted(msgspec.Struct, frozen=True):
    """What was counted during the run. Bytes of batches, but received and sent ones."""

    requests: dict[str, int]
    received_bytes: int
    sent_bytes: int
    appended_bytes: int
    appended_records: int
    fetched_bytes: int
    stages: list[StageTime]
    syncs: int
    sync_ns: int
    process_cpu_ns: int


class NodeSamples(msgspec.Struct, frozen=True, tag="samples"):
    """One run on one node. dropped_ticks: of stacks beyond the limit."""

    node_id: int
    pid: int
    rate_hz: int
    wall_ns: int
    threads: list[Thread]
    threads_left_out: int
    dropped_ticks: int
    python_frames: bool
    frames: list[Frame]
    stacks: list[Stack]
    counted: Counted


Answer = NodeSamples | Refused

_encoder: Final = msgspec.msgpack.Encoder()
decode_order: Final = msgspec.msgpack.Decoder(Order).decode
decode_answer: Final = msgspec.msgpack.Decoder(Answer).decode


def encode(message: Order | Answer) -> bytes:
    """The message as a frame."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body

"""What supervisor and worker say to each other over the control socket. Pure values (msgspec,
tagged).

The supervisor speaks first: Configure, then the metadata as a snapshot; it does not wait for
Hello, which only says that the process has come up. A worker that has loaded its logs says Ready;
once it has applied what was decided until then, it is told to Serve, and says Serving when it
accepts connections.

Every message is one frame: 4 bytes of length (big-endian), then MessagePack.
"""

from __future__ import annotations

import msgspec

from tidelog.controller.requests import AnyAnswer, WorkerRequest
from tidelog.metadata.records import ChangeRecord
from tidelog.process.metrics.samples import NodeState, Samples


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """Who the worker is.

    directories: its log directories (absolute). static: broker configs by name, as text. listeners:
    the names that belong to the listening sockets it was started with, in their order. metrics:
    somebody will ask for them, so that times of requests and of the loop are taken.
    """

    node_id: int
    node_epoch: int
    cluster_id: str
    directories: tuple[str, ...]
    static: dict[str, str]
    listeners: tuple[str, ...]
    heartbeat_interval_ms: int
    log_level: str
    metrics: bool = False


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """A part of the whole metadata at that version; the image is replaced when the last part is
    there.
    """

    version: int
    records: tuple[ChangeRecord, ...]
    last: bool


class Delta(msgspec.Struct, frozen=True, tag="delta"):
    """What the transaction `version` changed; it applies to version - 1 and to nothing else."""

    version: int
    records: tuple[ChangeRecord, ...]


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The controller's answer to the worker's request of that id."""

    request_id: int
    answer: AnyAnswer


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """Accept connections."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Stop cleanly: answer what is in work for at most `grace_ms`, checkpoint, exit."""

    grace_ms: int


class Poll(msgspec.Struct, frozen=True, tag="poll"):
    """Tell your state; with `full`, everything for the metrics as well."""

    full: bool


class Polled(msgspec.Struct, frozen=True, tag="polled"):
    """The answer to a Poll; samples only to a full one."""

    full: bool
    state: NodeState
    samples: Samples | None


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The process has come up."""

    pid: int


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """Sent by the worker's loop itself, so that a hung loop is silent."""


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """Everything up to that version has taken effect on the node: its leaders serve, what was
    deleted is gone.
    """

    version: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The logs are loaded and that version is applied; nothing is accepted yet."""

    version: int


class Serving(msgspec.Struct, frozen=True, tag="serving"):
    """Connections are accepted."""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A request to the controller; the id is the worker's own."""

    request_id: int
    request: WorkerRequest


class SnapshotWanted(msgspec.Struct, frozen=True, tag="snapshot_wanted"):
    """The worker has missed a version."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot go on, for a reason outside of it (its disk, its directory); it exits
    next.
    """

    reason: str


ToWorker = Configure | Snapshot | Delta | Answer | Serve | Stop | Poll
FromWorker = Hello | Heartbeat | Applied | Ready | Serving | Ask | SnapshotWanted | Failed | Polled

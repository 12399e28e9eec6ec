"""Asks the nodes of this machine for samples of where their time goes.

Runs in the user's process, blocking, a thread for each node. A node is found by the cluster's id
and its own, which its Kafka port tells; the samples come over a local socket
(`tidelog.cpu_samples`), so the broker must run on this machine, for the same user (or the user is
root).
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import msgspec

from tidelog.benchmarks.cluster import API_METADATA, Control, parse_address
from tidelog.cpu_samples import (
    ENOUGH,
    LENGTH,
    Answer,
    NodeSamples,
    Order,
    Refused,
    decode_answer,
    encode,
    socket_name,
)
from tidelog.limits import SAMPLING_ANSWER_BYTES_MAX
from tidelog.profiling.gather import ProfileError

#: How much longer than the run an answer may take: tables before it, names after it.
ANSWER_WAIT_S: Final = 30.0
CONNECT_WAIT_S: Final = 5.0
ENOUGH_CHECK_S: Final = 0.2
#: A prime: what happens every millisecond is not met at the same place every time.
DEFAULT_RATE_HZ: Final = 997
_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True)
class Nodes:
    """A cluster as its broker tells of it."""

    cluster_id: str
    node_ids: tuple[int, ...]


def nodes_of(bootstrap: str) -> Nodes:
    """The cluster behind the address. Raises ProfileError."""
    try:
        with Control(parse_address(bootstrap), CONNECT_WAIT_S) as control:
            answer = control.request(API_METADATA, 2, struct.pack(">i", 0))
            node_ids = []
            for _ in range(answer.one("i")):
                node_ids.append(answer.one("i"))
                answer.string()
                answer.one("i")
                answer.string()
            cluster_id = answer.string()
    except (OSError, ValueError, struct.error) as error:
        raise ProfileError(f"{bootstrap}: {error}") from error
    if not cluster_id:
        raise ProfileError(f"{bootstrap}: the broker tells no cluster id")
    return Nodes(cluster_id, tuple(sorted(node_ids)))


def sample_node(
    cluster_id: str, node_id: int, order: Order, enough: threading.Event | None = None
) -> NodeSamples:
    """Waits as long as the run takes, or until it is enough. Raises ProfileError when the node
    cannot be asked, or refuses.
    """
    what = f"node {node_id}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(CONNECT_WAIT_S)
            sock.connect(socket_name(cluster_id, node_id))
            _check_owner(sock, what)
            sock.sendall(encode(order))
            sock.settimeout(order.duration_ms / 1000 + ANSWER_WAIT_S)
            if enough is not None:
                _end_when(sock, enough)
            answer = _receive(sock)
    except ConnectionRefusedError as error:
        raise ProfileError(
            f"{what} gives no samples here: it is no Tidelog, or does not run on this machine"
        ) from error
    except (EOFError, ConnectionError) as error:
        raise ProfileError(
            f"{what} ended the connection: it stopped, runs for another user, or has too many runs"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise ProfileError(f"{what}: {error}") from error
    if isinstance(answer, Refused):
        raise ProfileError(f"{what} refuses: {answer.reason}")
    return answer


def sample_nodes(
    cluster_id: str,
    node_ids: Sequence[int],
    order: Order,
    enough: threading.Event | None = None,
) -> list[NodeSamples]:
    """All of them at the same time. Raises ProfileError, for the first that cannot be had."""
    with ThreadPoolExecutor(max(1, len(node_ids))) as executor:
        runs = [
            executor.submit(sample_node, cluster_id, node_id, order, enough) for node_id in node_ids
        ]
        return [run.result() for run in runs]


def _check_owner(sock: socket.socket, what: str) -> None:
    """Anybody may take a name that is free: what such a one says is not believed."""
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid = _CREDENTIALS.unpack(found)[1]
    if uid not in (0, os.geteuid()) and os.geteuid() != 0:
        raise ProfileError(f"{what}: its socket belongs to user {uid}")


def _end_when(sock: socket.socket, enough: threading.Event) -> None:
    """Returns when it is enough, which the node is told, or when its answer is there."""
    while not select.select([sock], [], [], 0)[0]:
        if enough.wait(ENOUGH_CHECK_S):
            sock.sendall(ENOUGH)
            return


def _receive(sock: socket.socket) -> Answer:
    (size,) = LENGTH.unpack(_exactly(sock, LENGTH.size))
    if size > SAMPLING_ANSWER_BYTES_MAX:
        raise OSError(f"an answer of {size} bytes")
    answer: Answer = decode_answer(_exactly(sock, size))
    return answer


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(1 << 20, size - len(parts)))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)

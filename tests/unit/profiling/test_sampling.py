"""What becomes of answers that are none; real nodes: tests/clients/test_profile_stages.py."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.unit.profiling.samples import node_samples
from tidelog.cpu_samples import ENOUGH, LENGTH, Order, Refused, decode_order, encode, socket_name
from tidelog.profiling import sampling
from tidelog.profiling.gather import ProfileError
from tidelog.profiling.sampling import sample_node, sample_nodes

ORDER = Order(10, 100)


@contextmanager
def node(
    answer: Callable[[bytes, socket.socket], bytes], node_ids: tuple[int, ...] = (1,)
) -> Iterator[str]:
    """Nodes of a cluster that answer one order each; its id."""
    cluster = uuid.uuid4().hex
    threads = []

    def serve(listening: socket.socket) -> None:
        with listening, listening.accept()[0] as peer:
            (size,) = LENGTH.unpack(peer.recv(4))
            peer.sendall(answer(peer.recv(size), peer))

    for node_id in node_ids:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(socket_name(cluster, node_id))
        listening.listen()
        threads.append(threading.Thread(target=serve, args=(listening,), daemon=True))
        threads[-1].start()
    yield cluster
    for thread in threads:
        thread.join()


def test_samples_come_as_they_were_sent() -> None:
    orders = []

    def answer(order: bytes, _: socket.socket) -> bytes:
        orders.append(decode_order(order))
        return encode(node_samples())

    with node(answer, (1, 2)) as cluster:
        assert sample_nodes(cluster, (1, 2), ORDER) == [node_samples()] * 2
    assert orders == [ORDER, ORDER]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (encode(Refused("why")), "node 1 refuses: why"),
        (b"", "node 1 ended the connection"),
        (encode(node_samples())[:-1], "node 1 ended the connection"),
        (LENGTH.pack(2**31), "an answer of 2147483648 bytes"),
        (LENGTH.pack(3) + b"abc", "node 1: "),
    ],
)
def test_other_answers_are_told(answer: bytes, reason: str) -> None:
    with node(lambda *_: answer) as cluster, pytest.raises(ProfileError, match=reason):
        sample_node(cluster, 1, ORDER)


def test_a_socket_of_somebody_else_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, mine = os.geteuid() + 1, os.geteuid() + 2
    monkeypatch.setattr(sampling.os, "geteuid", lambda: mine)
    found = sampling._CREDENTIALS.pack(1, theirs, 1)
    peer = type("Peer", (), {"getsockopt": lambda *_: found})()
    with pytest.raises(ProfileError, match=f"belongs to user {theirs}"):
        sampling._check_owner(peer, "node 1")


def test_a_node_is_told_when_it_is_enough() -> None:
    enough, told = threading.Event(), []

    def answer(_: bytes, peer: socket.socket) -> bytes:
        enough.set()
        told.append(peer.recv(1))
        return encode(node_samples())

    with node(answer) as cluster:
        assert sample_node(cluster, 1, Order(60_000, 100), enough) == node_samples()
    assert told == [ENOUGH]


def test_nobody_there() -> None:
    with pytest.raises(ProfileError, match="does not run on this machine"):
        sample_node(uuid.uuid4().hex, 1, ORDER)

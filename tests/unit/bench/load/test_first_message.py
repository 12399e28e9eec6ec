"""The proxy of the trace passes whole frames on and notes when they were answered."""

from __future__ import annotations

import socket
from threading import Thread

from bench.load.first_message import Proxy, frames


def test_frames_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    sent = [b"\0\0\0\3abc", b"\0\0\0\0", b"\0\0\0\1x"]
    theirs.sendall(b"".join(sent)[:5])
    reader = frames(ours)
    theirs.sendall(b"".join(sent)[5:] + b"\0\0")
    theirs.close()
    assert list(reader) == sent
    ours.close()


def test_a_request_and_its_answer() -> None:
    proxy = Proxy(0, 0)
    client, client_end = socket.socketpair()
    broker, broker_end = socket.socketpair()
    waiting: dict[int, list[object]] = {}
    request = b"\0\0\0\x08\0\x12\0\4\0\0\0\7"
    threads = [
        Thread(target=proxy._up, args=(client_end, broker_end, waiting)),
        Thread(target=proxy._down, args=(broker_end, client_end, waiting)),
    ]
    for thread in threads:
        thread.start()
    client.sendall(request)
    assert broker.recv(100) == request
    broker.sendall(b"\0\0\0\4\0\0\0\7")
    assert client.recv(100) == b"\0\0\0\4\0\0\0\7"
    ((_, name, delay_s),) = proxy.seen
    assert name == "API_VERSIONS 4"
    assert isinstance(delay_s, float)
    for each in (client, broker):
        each.close()
    for thread in threads:
        thread.join()

"""Listening sockets: reached before anybody accepts, all or none, and refused in one line."""

from __future__ import annotations

import socket

import pytest

from tidelog.config.listeners import Endpoint
from tidelog.process.listening import (
    ListenError,
    host_and_port,
    listen,
    listen_all,
    port_of,
    reachable_host,
)


def endpoint(host: str, port: int = 0) -> Endpoint:
    return Endpoint("PLAINTEXT", "PLAINTEXT", host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", ""])
def test_a_socket_is_reached_before_anybody_accepts(host: str) -> None:
    with listen(endpoint(host), 5) as sock:
        assert not sock.getblocking()
        address = (reachable_host(host), port_of(sock))
        with socket.create_connection(address, 10) as client:
            client.sendall(b"hello")


def test_a_port_can_be_had_again_at_once() -> None:
    with listen(endpoint("127.0.0.1"), 5) as sock:
        port = port_of(sock)
        client = socket.create_connection(("127.0.0.1", port), 10)
        sock.setblocking(True)
        accepted, _ = sock.accept()
        # Closed here first, so that it waits in TIME_WAIT.
        accepted.close()
        client.close()
    with listen(endpoint("127.0.0.1", port), 5) as again:
        assert port_of(again) == port


def test_what_cannot_be_had_is_one_line() -> None:
    with listen(endpoint("127.0.0.1"), 5) as sock:
        taken = endpoint("127.0.0.1", port_of(sock))
        with pytest.raises(ListenError, match=f":{taken.port}: Address already in use"):
            listen(taken, 5)
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:0"):
        listen(endpoint("192.0.2.1"), 5)
    with pytest.raises(ListenError):
        listen(endpoint("no.such.host.invalid"), 5)


def test_all_or_none() -> None:
    with listen(endpoint("127.0.0.1"), 5) as sock:
        free = _free_port()
        taken = endpoint("127.0.0.1", port_of(sock))
        with pytest.raises(ListenError):
            listen_all([endpoint("127.0.0.1", free), taken], 5)
        with listen(endpoint("127.0.0.1", free), 5):
            pass
    sockets = listen_all([endpoint("127.0.0.1"), endpoint("127.0.0.1")], 5)
    assert len({port_of(sock) for sock in sockets}) == 2
    for sock in sockets:
        sock.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_addresses_in_words() -> None:
    assert reachable_host("10.0.0.1") == "10.0.0.1"
    assert reachable_host("::") == "::1"
    assert host_and_port("h", 1) == "h:1"
    assert host_and_port("::1", 1) == "[::1]:1"

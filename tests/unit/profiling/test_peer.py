"""The serving side: sessions, and strangers that speak something else."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.unit.profiling.peers import serving
from tidelog.profiling import peer
from tidelog.profiling.network import Address
from tidelog.profiling.peer import ANSWER, COUNT, HELLO, MAGIC, VERSION, PeerServer, listening


def hello(
    address: Address,
    kind: int = peer.SESSION,
    size: int = 64,
    token: int = 0,
    version: int = VERSION,
) -> tuple[socket.socket, int, int]:
    """The connection, the status of the answer, its token."""
    connection = socket.create_connection(address, 30)
    connection.sendall(HELLO.pack(MAGIC, version, kind, 0, size, token))
    magic, spoken, status, given = ANSWER.unpack(peer.receive_exactly(connection, ANSWER.size))
    assert (magic, spoken) == (MAGIC, VERSION)
    return connection, status, given


def test_a_session_with_both_tests() -> None:
    with serving() as (address, said):
        session, status, token = hello(address)
        assert status == peer.OK
        assert token > 0
        echo, status, _ = hello(address, peer.ECHO, token=token)
        assert status == peer.OK
        echo.sendall(b"abc")
        assert peer.receive_exactly(echo, 3) == b"abc"
        echo.close()
        sink, status, _ = hello(address, peer.SINK, token=token)
        sink.sendall(bytes(100_000))
        sink.shutdown(socket.SHUT_WR)
        assert COUNT.unpack(peer.receive_exactly(sink, COUNT.size)) == (100_000,)
        sink.close()
        session.close()
        again = hello_when_free(address)
        again.close()
    assert said[0] == "127.0.0.1: a session begins"
    assert "the session ended" in said


def hello_when_free(address: Address) -> socket.socket:
    """It sees the end of the one before in its own time."""
    while True:
        connection, status, _ = hello(address)
        if status == peer.OK:
            return connection
        assert status == peer.BUSY
        connection.close()


def test_one_session_at_a_time() -> None:
    with serving() as (address, _):
        first, _, _ = hello(address)
        second, status, token = hello(address)
        assert (status, token) == (peer.BUSY, 0)
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("kind", "size", "token_change"),
    [
        (peer.ECHO, 64, 1),
        (peer.ECHO, 0, 0),
        (peer.SINK, -1, 0),
        (peer.SINK, peer.MESSAGE_BYTES_MAX + 1, 0),
        (9, 64, 0),
    ],
)
def test_wrong_tests_are_refused(kind: int, size: int, token_change: int) -> None:
    with serving() as (address, _):
        session, _, token = hello(address)
        connection, status, given = hello(address, kind, size, token ^ token_change)
        assert (status, given) == (peer.REFUSED, 0)
        assert connection.recv(1) == b""
        connection.close()
        session.close()


def test_a_test_without_a_session_is_refused() -> None:
    with serving() as (address, _):
        connection, status, _ = hello(address, peer.SINK)
        assert status == peer.REFUSED
        connection.close()


def test_another_version_is_told() -> None:
    with serving() as (address, _):
        connection, status, _ = hello(address, version=VERSION + 1)
        assert status == peer.OTHER_VERSION
        connection.close()


@pytest.mark.parametrize(
    "garbage",
    [b"", b"x", b"GET / HTTP/1.1\r\nHost: there\r\n\r\n", bytes(500), MAGIC, b"\xff" * HELLO.size],
)
def test_strangers_are_closed_and_others_served(
    garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "HELLO_S", 0.05)
    with serving() as (address, said):
        stranger = socket.create_connection(address, 30)
        stranger.sendall(garbage)
        try:
            assert stranger.recv(1) == b""
        except ConnectionResetError:  # it has not read all of it
            pass
        stranger.close()
        monkeypatch.setattr(peer, "HELLO_S", 30.0)
        connection, status, _ = hello(address)
        assert status == peer.OK
        connection.close()
    assert any("does not speak this protocol" in text for text in said)


def test_talk_on_the_session_ends_it() -> None:
    with serving() as (address, said):
        session, _, _ = hello(address)
        session.sendall(b"more")
        hello_when_free(address).close()
        session.close()
    assert "the session ended" in said


def test_a_session_that_does_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "IDLE_S", -1.0)
    with serving() as (address, said):
        session, _, _ = hello(address)
        assert session.recv(1) == b""
        session.close()
    assert any("nothing was tested" in text for text in said)


def test_it_ends_with_its_parent() -> None:
    here, there = socket.socketpair()
    with here, listening("127.0.0.1", 0) as listener:
        server = PeerServer(listener, parent_fd=here.fileno())
        thread = threading.Thread(target=server.serve)
        thread.start()
        there.close()
        thread.join(30)
        assert not thread.is_alive()

"""The network's part on the loopback, short; and peers that talk garbage."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.profiling.peers import answering, serving
from tidelog.profiling import network, peer
from tidelog.profiling.gather import Limits, ProfileError
from tidelog.profiling.network import (
    CHUNKS,
    PLACES,
    ROUND_TRIPS,
    SIZES,
    NetworkProbe,
    PeerSession,
    file_bytes,
    parse_place,
)
from tidelog.profiling.peer import ANSWER, COUNT, HELLO, MAGIC, VERSION
from tidelog.profiling.place import IN_MEMORY, file_system
from tidelog.profiling.results import Section

SHORT = Limits(2, 0.6, 100_000_000)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("host", ("host", network.DEFAULT_PORT)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", network.DEFAULT_PORT)),
        ("::1", ("::1", network.DEFAULT_PORT)),
        ("host:0", ("host", 0)),
    ],
)
def test_places(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", ":80", "host:", "host:x", "host:65536", "host:-1", "[]:80"])
def test_wrong_places(text: str) -> None:
    with pytest.raises(ProfileError, match="HOST or HOST:PORT is expected"):
        parse_place(text)


def check(section: Section, folder: Path) -> None:
    tables = {table.name: table for table in section.tables}
    assert len(tables["round trips"].rows) == len(ROUND_TRIPS)
    assert len(tables["throughput by message size"].rows) == len(SIZES)
    assert len(tables["a file in the page cache, sent"].rows) == len(CHUNKS)
    limit = [row.name for row in tables["limit of disk and network"].rows]
    if file_system(folder) not in IN_MEMORY:
        assert set(limit) | {n for n in section.notes if "forget" in n} >= {
            PLACES[0],
            PLACES[3],
        }
    for table in section.tables:
        for row in table.rows:
            assert all(value >= 0 for cell in row.cells for value in cell)
    for row in tables["round trips"].rows:
        assert len(row.cells[0]) == 2
    assert section.histograms["round trip of 64 B"].count > 0


def test_every_figure_of_the_loopback(tmp_path: Path) -> None:
    section = NetworkProbe(tmp_path, SHORT, "", lambda *_: None).run()
    check(section, tmp_path)
    assert section.facts["peer"] == "loopback"
    assert not (tmp_path / "peer").exists()


def test_every_figure_of_a_peer(tmp_path: Path) -> None:
    with serving() as (address, said):
        place = f"{address[0]}:{address[1]}"
        section = NetworkProbe(tmp_path, SHORT, place, lambda *_: None).run()
    check(section, tmp_path)
    assert section.facts["peer"] == place
    assert said.count("127.0.0.1: a session begins") == 1


def test_in_memory_nothing_comes_from_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "file_system", lambda _: "tmpfs")
    section = NetworkProbe(tmp_path, Limits(1, 0.3, 100_000_000), "", lambda *_: None).run()
    rows = section.tables[-1].rows
    assert [row.name for row in rows] == [PLACES[0], PLACES[3]]
    assert any("nothing was sent from a disk" in note for note in section.notes)


def test_a_busy_peer_is_told() -> None:
    told = pytest.raises(ProfileError, match="serves somebody else")
    with serving() as (address, _), PeerSession(address), told, PeerSession(address):
        pass


def send(data: bytes) -> Callable[[socket.socket], None]:
    """Answers so, and keeps the connection."""
    return lambda connection: connection.sendall(data)


def send_and_close(data: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return answer


OK = ANSWER.pack(MAGIC, VERSION, peer.OK, 7)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "that is no tidelog profile --serve"),
        (send_and_close(b""), "closed the connection"),
        (send_and_close(OK[:9]), "closed the connection"),
        (send(b""), "no answer in time"),
        (send(OK[:9]), "no answer in time"),
        (send(ANSWER.pack(MAGIC, 9, peer.OTHER_VERSION, 0)), "it speaks version 9"),
        (send(ANSWER.pack(MAGIC, VERSION, peer.BUSY, 0)), "serves somebody else"),
        (send(ANSWER.pack(MAGIC, VERSION, 77, 0)), "status 77"),
    ],
)
def test_a_peer_that_talks_garbage(
    answer: Callable[[socket.socket], None], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if problem == "no answer in time":
        monkeypatch.setattr(network, "CONNECT_S", 0.05)
    expected = pytest.raises(ProfileError, match=problem)
    with answering(answer) as address, expected as told, PeerSession(address):
        pass
    assert "\n" not in str(told.value)


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    with pytest.raises(ProfileError, match="Connection refused"), PeerSession(address):
        pass


def test_a_peer_that_counts_wrongly() -> None:
    def sink(connection: socket.socket) -> None:
        connection.sendall(OK)
        peer.receive_exactly(connection, HELLO.size)
        while connection.recv(1 << 20):
            pass
        connection.sendall(COUNT.pack(1))

    told = pytest.raises(ProfileError, match="bytes were sent, and it counted 1")
    with answering(send(OK), sink) as address, PeerSession(address) as session, told:
        session.send(64, 0.001)


def test_a_peer_that_goes_away_within_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    for second, problem in (
        (send_and_close(OK), "reset|closed|Broken pipe"),
        (send(OK), "no answer in time"),
    ):
        monkeypatch.setattr(network, "GRACE_S", 0.05 if problem == "no answer in time" else 30)
        told = pytest.raises(ProfileError, match=problem)
        with answering(send(OK), second) as address, PeerSession(address) as session, told:
            session.round_trips(64, 1, 0.05)


def test_the_file_keeps_to_the_limits() -> None:
    assert file_bytes(Limits(5, 1.0, 1 << 60)) == network.FILE_BYTES
    assert file_bytes(Limits(5, 1.0, 200_000_000)) <= 20_000_000

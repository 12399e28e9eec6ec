"""`tidelog configs` for quotas: words of the command line, and answers that are none."""

from __future__ import annotations

import socket
import threading

import pytest

from tidelog.cli import quotas
from tidelog.cli.app import run
from tidelog.cli.cluster import CommandError


def answering(server: socket.socket, *answers: bytes) -> threading.Thread:
    """Answers one connection after the other with these bytes, whatever is asked."""

    def serve() -> None:
        for answer in answers:
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("answer", [b"", b"\x7f\xff\xff\xff", b"\0\0\0\x04\0\0\0\1"])
def test_an_answer_that_is_none_is_one_line(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # (The first connection only shows that somebody listens.)
        answering(server, b"", answer)
        bootstrap = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(CommandError, match="gave no answer"):
            quotas.describe(bootstrap, {"user": "u"})


def test_nobody_listens() -> None:
    with pytest.raises(CommandError, match="cannot be reached"):
        quotas.describe("127.0.0.1:1", {"user": "u"})


def test_entities_and_their_words() -> None:
    entity = quotas.entity_of("u", "default", None)
    assert entity == {"user": "u", "client-id": None}
    assert quotas.words(entity) == "user u, client-id default"
    assert quotas.entity_of(None, None, None) == {}


def test_numbers_as_they_are_written() -> None:
    assert [quotas.shown(value) for value in (1048576.0, 0.5)] == ["1048576", "0.5"]


@pytest.mark.parametrize(
    "options",
    [
        "--user u --topic t --set a=1",
        "--user u --ip 10.0.0.1 --set a=1",
        "--client c",
        "--client c --append a=1",
        "--client c --set a=x",
    ],
)
def test_wrong_options(options: str) -> None:
    assert run(["configs", "alter", "--bootstrap", "127.0.0.1:1", *options.split()]) == 2

"""The other side of a network's profile in a thread, and ones that do not keep to the protocol."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidelog.profiling.network import Address
from tidelog.profiling.peer import PeerServer, listening


@contextmanager
def serving() -> Iterator[tuple[Address, list[str]]]:
    """Where it listens, and what it says."""
    said: list[str] = []
    with listening("127.0.0.1", 0) as listener:
        server = PeerServer(listener, said.append)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield listener.getsockname()[:2], said
        finally:
            server.stop()
            thread.join()


@contextmanager
def answering(*answers: Callable[[socket.socket], None]) -> Iterator[Address]:
    """Each connection gets the next of the answers, the last one again and again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            kept, number = [], 0
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    break
                kept.append(connection)
                try:
                    answers[min(number, len(answers) - 1)](connection)
                except OSError:
                    pass
                number += 1
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

"""A TCP connection whose bytes a test can hold back, let go late, or cut.

    with TcpProxy("127.0.0.1", server_port) as proxy:
        connect("127.0.0.1", proxy.port)
        proxy.hold_requests()   # what clients send from now on stays here
        proxy.release()         # and now it arrives, even if its sender has gone

What is held is held on the connections that there are; a new one passes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_PIECE_BYTES = 1 << 16


class _Connection:
    """One client, and the server's end for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.requests_pass = threading.Event()
        self.answers_pass = threading.Event()
        self.requests_pass.set()
        self.answers_pass.set()
        self.threads = [
            threading.Thread(target=self._pump, args=ends, daemon=True)
            for ends in (
                (client, server, self.requests_pass),
                (server, client, self.answers_pass),
            )
        ]
        for thread in self.threads:
            thread.start()

    def close(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.requests_pass.set()
        self.answers_pass.set()
        for thread in self.threads:
            thread.join()
        self.client.close()
        self.server.close()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, passing: threading.Event) -> None:
        try:
            while piece := source.recv(_PIECE_BYTES):
                passing.wait()
                target.sendall(piece)
        except OSError:
            pass
        passing.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class TcpProxy:
    """Stands before one server; use as a context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[_Connection] = []
        self._lock = threading.Lock()
        self._refuses = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def hold_requests(self) -> None:
        for one in self._all():
            one.requests_pass.clear()

    def hold_answers(self) -> None:
        for one in self._all():
            one.answers_pass.clear()

    def release(self) -> None:
        """What was held goes on its way."""
        for one in self._all():
            one.requests_pass.set()
            one.answers_pass.set()

    def cut(self) -> None:
        """Ends every connection; what is held is lost."""
        with self._lock:
            ended, self._connections = self._connections, []
        for one in ended:
            one.close()

    def refuse(self, refuses: bool = True) -> None:
        """Whether new connections are ended at once."""
        self._refuses = refuses

    def close(self) -> None:
        self._refuses = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _all(self) -> list[_Connection]:
        with self._lock:
            return list(self._connections)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._connections.append(_Connection(client, server))

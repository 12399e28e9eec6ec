"""The other side of the network's part: `tidelog profile --serve`, or a process of its own for the
loopback.

The protocol, version 1 (all numbers big-endian):

    hello    magic (8 bytes), int16 version, int8 kind, int8 0, int32 message_bytes, int64 token
    answer   magic, int16 version, int16 status, int64 token

A session begins with a connection whose hello has kind SESSION; the answer has the token of the
session, which lasts as long as that connection. Meanwhile each test is one connection more, whose
hello has the token: ECHO sends back what it receives; SINK receives until the other side has sent
everything, and then sends an int64: how many bytes came. One session at a time: whoever comes
meanwhile is told BUSY.

Owned by the process that serves, which waits for nothing else; a test holds up everybody else for
as long as it takes (TEST_S at most). It keeps nothing of what it receives, and sends back only what
was sent. Whoever can reach its address can make it do so: it is for networks that one trusts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, Literal

from tidelog._native.probe import Stream

MAGIC: Final = b"TLPROF\r\n"
VERSION: Final = 1
HELLO: Final = struct.Struct(">8shBBiQ")
ANSWER: Final = struct.Struct(">8shhQ")
COUNT: Final = struct.Struct(">q")

SESSION, ECHO, SINK = 0, 1, 2
OK, OTHER_VERSION, BUSY, REFUSED = 0, 1, 2, 3

MESSAGE_BYTES_MAX: Final = 4 << 20
#: Whoever connects has so long to say hello.
HELLO_S: Final = 2.0
#: A test ends after so long, or so many bytes.
TEST_S: Final = 120.0
TEST_BYTES: Final = 1 << 40
#: A session without a test for so long ends.
IDLE_S: Final = 120.0
#: Of each call of a test: signals are seen in between (tidelog._native.probe).
CALL_TIMEOUT: Final = struct.pack("@ll", 0, 50_000)
BACKLOG: Final = 8

Say = Callable[[str], None]


def configured(connection: socket.socket) -> socket.socket:
    """As the native loops want it."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, CALL_TIMEOUT)
    return connection


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Raises OSError, also when the other side ends before, or its time is up."""
    deadline_s = time.monotonic() + (connection.gettimeout() or 0.0)
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionError("the other side closed the connection")
        parts += part
        if len(parts) < size and time.monotonic() > deadline_s:
            raise TimeoutError("timed out")
    return bytes(parts)


class PeerServer:
    """Serves sessions on a listening socket until stop(). say: told of sessions, a line each."""

    def __init__(
        self, listener: socket.socket, say: Say = lambda _: None, parent_fd: int | None = None
    ) -> None:
        self._listener = listener
        self._say = say
        self._parent_fd = parent_fd
        self._session: socket.socket | None = None
        self._token = 0
        self._used_s = 0.0
        self._stopped = False

    def stop(self) -> None:
        """From a signal handler, too."""
        self._stopped = True

    def serve(self) -> None:
        try:
            while not self._stopped:
                self._turn()
        finally:
            self._end_session("stopped")

    def _turn(self) -> None:
        """Waits for whatever comes next, a second at most."""
        watched: list[socket.socket | int] = [self._listener]
        if self._session is not None:
            watched.append(self._session)
        if self._parent_fd is not None:
            watched.append(self._parent_fd)
        ready = select.select(watched, [], [], 1.0)[0]
        if self._parent_fd is not None and self._parent_fd in ready:
            self._stopped = True
            return
        if self._session is not None:
            if self._session in ready:  # its end, or what has no business there
                self._end_session("ended")
            elif time.monotonic() > self._used_s + IDLE_S:
                self._end_session("ended: nothing was tested for too long")
        if self._listener in ready:
            self._accept()

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:  # it has gone again
            return
        kept = False
        try:
            connection.settimeout(HELLO_S)
            kept = self._greet(connection, str(address[0]))
        except (OSError, struct.error):
            self._say(f"{address[0]}: closed, it does not speak this protocol or went away")
        finally:
            if not kept:
                connection.close()

    def _greet(self, connection: socket.socket, name: str) -> bool:
        """Whether the connection stays: it is the session's. Raises OSError."""
        magic, version, kind, zero, message_bytes, token = HELLO.unpack(
            receive_exactly(connection, HELLO.size)
        )
        if magic != MAGIC or zero != 0:
            raise ConnectionError("a stranger")
        status = self._status(version, kind, message_bytes, token)
        if status == OK and kind == SESSION:
            self._token = secrets.randbits(63) + 1
            self._say(f"{name}: a session begins")
        answered = self._token if status == OK else 0
        connection.sendall(ANSWER.pack(MAGIC, VERSION, status, answered))
        if status != OK:
            return False
        self._used_s = time.monotonic()
        if kind == SESSION:
            self._session = connection
            return True
        try:
            self._test(connection, "echo" if kind == ECHO else "sink", message_bytes)
        finally:
            self._used_s = time.monotonic()
        return False

    def _status(self, version: int, kind: int, message_bytes: int, token: int) -> int:
        if version != VERSION:
            return OTHER_VERSION
        if kind == SESSION:
            return OK if self._session is None else BUSY
        if kind not in (ECHO, SINK) or not 1 <= message_bytes <= MESSAGE_BYTES_MAX:
            return REFUSED
        if self._session is None or not secrets.compare_digest(
            token.to_bytes(8), self._token.to_bytes(8)
        ):
            return REFUSED
        return OK

    def _test(
        self, connection: socket.socket, kind: Literal["echo", "sink"], message_bytes: int
    ) -> None:
        """Raises OSError when the other side breaks off."""
        stream = Stream(configured(connection).fileno(), kind, size=message_bytes)
        deadline_s = time.monotonic() + TEST_S
        # In pieces: a call of stop() is seen between them.
        while not self._stopped and time.monotonic() < deadline_s:
            found = stream.run(seconds=0.5, max_bytes=TEST_BYTES)
            if found["ended"]:
                if kind == "sink":
                    connection.sendall(COUNT.pack(found["bytes"]))
                return
            if found["bytes"] > TEST_BYTES:
                return

    def _end_session(self, why: str) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
            self._token = 0
            self._say(f"the session {why}")


def listening(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


@contextlib.contextmanager
def stopped_by_signals(server: PeerServer) -> Iterator[None]:
    """Ctrl-C and SIGTERM end it in order."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """The loopback's other side, as a process."""
    parser = argparse.ArgumentParser(description="The other side of the loopback.")
    parser.add_argument("--parent-fd", type=int, help="a socket; when it ends, so does this")
    options = parser.parse_args()
    with listening("127.0.0.1", 0) as listener:
        server = PeerServer(listener, parent_fd=options.parent_fd)
        host, port = listener.getsockname()
        with stopped_by_signals(server):
            sys.stdout.write(f"peer ready bootstrap={host}:{port} pid={os.getpid()}\n")
            sys.stdout.flush()
            server.serve()


if __name__ == "__main__":
    main()

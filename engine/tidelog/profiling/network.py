"""The network: round trips, throughput, and a file that is sent by sendfile or by read and send.

Owned by the process of the command; the other side is a process of its own on this host, or
`tidelog profile --serve` on another (peer.py has the protocol).
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal

from tidelog._native.probe import FileLoop, Stream
from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.native_load import BenchError
from tidelog.benchmarks.targets import ProcessTarget
from tidelog.profiling import peer
from tidelog.profiling.gather import (
    Limits,
    ProfileError,
    cpu_s_per_gb,
    mb_per_s,
    size_name,
)
from tidelog.profiling.network_tables import NetworkTables
from tidelog.profiling.place import (
    IN_MEMORY,
    cached_share,
    drop_cache,
    file_system,
    fill_file,
)
from tidelog.profiling.results import Section

if TYPE_CHECKING:
    from tidelog._native.probe import StreamCounts

Address = tuple[str, int]
Tell = Callable[[str, float], None]
FileKind = Literal["sendfile", "read+send"]

DEFAULT_PORT: Final = 9299
CONNECT_S: Final = 10.0
#: For what is on its way when a test's time is up.
GRACE_S: Final = 20.0
SIZES: Final = (64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20)
CHUNKS: Final = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20)
#: (bytes of a message, messages in flight)
ROUND_TRIPS: Final = ((64, 1), (64, 16), (64, 256), (1 << 10, 1), (1 << 10, 16), (16 << 10, 1))
#: What a broker hands to sendfile at once (tidelog.sendfile.slice.bytes).
SLICE_BYTES: Final = 256 << 10
FILE_BYTES: Final = 256 << 20
CACHED_SHARE: Final = 0.02
NO_LIMIT: Final = 1 << 40
PLACES: Final = ("page cache to network", "disk to network", "disk alone", "network alone")
STEPS: Final = len(ROUND_TRIPS) + len(SIZES) + 2 * len(CHUNKS) + len(PLACES)


class PeerProcess(ProcessTarget):
    """The other side of the loopback."""

    name = "the loopback's other side"

    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "tidelog.profiling.peer"]


def parse_place(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """HOST, HOST:PORT, [ADDRESS]:PORT or an IPv6 address. Raises ProfileError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = text, str(default_port)
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not host.strip("[]") or not 0 <= number <= 65535:
        raise ProfileError(f"{text}: HOST or HOST:PORT is expected")
    return host.strip("[]"), number


class PeerSession:
    """A session with the other side; a context manager. Raises ProfileError for whatever the other
    side or the network does."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._name = f"{address[0]}:{address[1]}"
        self._connection: socket.socket | None = None
        self._token = 0

    def __enter__(self) -> PeerSession:
        with self._explained():
            connection = self._hello(peer.SESSION, 0)
            self._connection = connection
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise ProfileError(f"{self._name}: no answer in time") from error
        except OSError as error:
            raise ProfileError(f"{self._name}: {error.strerror or error}") from error

    def _hello(self, kind: int, message_bytes: int) -> socket.socket:
        connection = socket.create_connection(self._address, CONNECT_S)
        try:
            hello = peer.HELLO.pack(peer.MAGIC, peer.VERSION, kind, 0, message_bytes, self._token)
            connection.sendall(hello)
            answer = peer.receive_exactly(connection, peer.ANSWER.size)
            self._token = self._checked(answer)
        except BaseException:
            connection.close()
            raise
        return connection

    def _checked(self, answer: bytes) -> int:
        """The token."""
        magic, version, status, token = peer.ANSWER.unpack(answer)
        if magic != peer.MAGIC:
            raise ProfileError(f"{self._name}: that is no tidelog profile --serve")
        if version != peer.VERSION or status == peer.OTHER_VERSION:
            raise ProfileError(
                f"{self._name}: it speaks version {version} of this protocol, not {peer.VERSION}"
            )
        if status == peer.BUSY:
            raise ProfileError(f"{self._name}: it serves somebody else; try again later")
        if status != peer.OK:
            raise ProfileError(f"{self._name}: it refused a test (status {status})")
        return int(token)

    def round_trips(self, size: int, window: int, seconds: float) -> StreamCounts:
        with self._explained(), self._hello(peer.ECHO, size) as connection:
            peer.configured(connection)
            stream = Stream(connection.fileno(), "ping", size=size, window=window)
            return stream.run(seconds=seconds, max_bytes=NO_LIMIT, grace_s=GRACE_S)

    def send(
        self,
        size: int,
        seconds: float,
        kind: Literal["send", "sendfile", "read+send"] = "send",
        file: int = -1,
        span: int = 0,
        wrap: bool = True,
    ) -> tuple[int, int, int, int]:
        """(bytes, messages, nanoseconds until the other side had all of them, CPU nanoseconds)."""
        with self._explained(), self._hello(peer.SINK, size) as connection:
            peer.configured(connection)
            stream = Stream(connection.fileno(), kind, size=size, file=file, span=span, wrap=wrap)
            began_ns = time.monotonic_ns()
            found = stream.run(seconds=seconds, max_bytes=NO_LIMIT, grace_s=GRACE_S)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(GRACE_S)
            (counted,) = peer.COUNT.unpack(peer.receive_exactly(connection, peer.COUNT.size))
            elapsed_ns = time.monotonic_ns() - began_ns
        if counted != found["bytes"]:
            raise ProfileError(
                f"{self._name}: {found['bytes']} bytes were sent, and it counted {counted}"
            )
        return found["bytes"], found["messages"], elapsed_ns, found["cpu_ns"]


class NetworkProbe:
    """One run of the part. folder: for the file that is sent."""

    def __init__(self, folder: Path, limits: Limits, place: str, tell: Tell) -> None:
        self._folder = folder
        self._limits = limits
        self._place = place
        self._tell = tell
        self._step_s = limits.step_s(STEPS)
        self._kind = file_system(folder)
        self._file_bytes = file_bytes(limits)
        self._tables = NetworkTables()
        self._notes: dict[str, None] = {}

    def run(self) -> Section:
        """Raises ProfileError, and OSError for what the disk refuses."""
        path = self._folder / "sent"
        fill_file(path, self._file_bytes)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._peer() as address, PeerSession(address) as session:
                self._rounds(session, fd)
        finally:
            os.close(fd)
        if not self._place:
            self._notes[
                "on the loopback the sender's CPU includes most of what the kernel does for the "
                "receiver, and both share the cores; --peer HOST measures a network"
            ] = None
        if self._kind in IN_MEMORY:
            self._notes[f"{self._kind} keeps files in memory: nothing was sent from a disk"] = None
        return Section(
            "network",
            "Network",
            "Round trips, and what is sent from memory and from files, over TCP connections of "
            "this program with itself.",
            {
                "peer": self._place or "loopback",
                "rounds": self._limits.rounds,
                "seconds of a step": round(self._step_s, 4),
                "file system": self._kind,
                "bytes of the file that is sent": self._file_bytes,
            },
            self._tables.tables(),
            self._tables.histograms,
            notes=list(self._notes),
        )

    @contextmanager
    def _peer(self) -> Iterator[Address]:
        if self._place:
            yield parse_place(self._place)
            return
        try:
            with PeerProcess(self._folder / "peer") as process:
                yield parse_place(process.bootstrap)
        except BenchError as error:
            raise ProfileError(str(error)) from error

    def _rounds(self, session: PeerSession, fd: int) -> None:
        steps = list(self._steps(session, fd))
        for number in range(self._limits.rounds):
            for index, (what, step) in enumerate(steps if number % 2 == 0 else reversed(steps)):
                self._tell(what, (number + index / len(steps)) / self._limits.rounds)
                step()

    def _steps(self, session: PeerSession, fd: int) -> Iterator[tuple[str, Callable[[], None]]]:
        for size, window in ROUND_TRIPS:
            yield f"round trips of {size_name(size)}", partial(self._trip, session, size, window)
        for size in SIZES:
            yield f"sending {size_name(size)}", partial(self._throughput, session, size)
        kinds: tuple[FileKind, ...] = ("sendfile", "read+send")
        for size in CHUNKS:
            for kind in kinds:
                step = partial(self._from_file, session, fd, size, kind)
                yield f"{kind} of {size_name(size)}", step
        for place in PLACES:
            if self._kind not in IN_MEMORY or "disk" not in place:
                yield place, partial(self._limit, session, fd, place)

    # --- steps ---

    def _trip(self, session: PeerSession, size: int, window: int) -> None:
        found = session.round_trips(size, window, self._step_s)
        latency = Histogram.from_buckets(*found["latency"])
        self._tables.round_trip(size, window, found["elapsed_ns"], found["cpu_ns"], latency)

    def _throughput(self, session: PeerSession, size: int) -> None:
        moved, messages, elapsed_ns, cpu_ns = session.send(size, self._step_s)
        self._tables.throughput(size, moved, messages, elapsed_ns, cpu_ns)

    def _from_file(self, session: PeerSession, fd: int, size: int, kind: FileKind) -> None:
        self._warm(fd)
        moved, _, elapsed_ns, cpu_ns = session.send(size, self._step_s, kind, fd, self._file_bytes)
        speed = mb_per_s(moved, elapsed_ns)
        self._tables.from_file(size, kind, speed, cpu_s_per_gb(cpu_ns, moved))

    def _warm(self, fd: int) -> None:
        if cached_share(fd, self._file_bytes) < 1:
            whole = FileLoop(fd, size=1 << 20, span=self._file_bytes, writing=False)
            whole.run(seconds=60.0, max_bytes=self._file_bytes)

    def _limit(self, session: PeerSession, fd: int, place: str) -> None:
        """What a broker that only hands files to the network could reach."""
        if place.startswith("disk"):
            drop_cache(fd)
            left = cached_share(fd, self._file_bytes)
            if left > CACHED_SHARE:
                self._notes[
                    f"{self._kind} kept {left:.0%} of a file cached that it was asked to forget: "
                    "nothing was sent from the disk"
                ] = None
                return
        else:
            self._warm(fd)
        if place == "disk alone":
            loop = FileLoop(fd, size=SLICE_BYTES, span=self._file_bytes, writing=False)
            read = loop.run(seconds=self._step_s, max_bytes=self._file_bytes)
            moved, elapsed_ns, cpu_ns = read["bytes"], read["elapsed_ns"], read["cpu_ns"]
        elif place == "network alone":
            moved, _, elapsed_ns, cpu_ns = session.send(SLICE_BYTES, self._step_s)
        else:
            moved, _, elapsed_ns, cpu_ns = session.send(
                SLICE_BYTES,
                self._step_s,
                "sendfile",
                fd,
                self._file_bytes,
                wrap=place == "page cache to network",
            )
        self._tables.limit(place, mb_per_s(moved, elapsed_ns), cpu_s_per_gb(cpu_ns, moved))


def file_bytes(limits: Limits) -> int:
    """Of the file that is sent."""
    return max(8 << 20, min(FILE_BYTES, limits.write_bytes // 10)) >> 20 << 20

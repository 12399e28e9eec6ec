"""The zygote: forks what it is told to, passes descriptors, reports ends, and ends itself with its
socket.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidelog.process.zygote import (
    EXIT_INTERNAL_ERROR,
    Exited,
    FromZygote,
    Spawn,
    Spawned,
    WorkerMain,
    ZygoteHandle,
    decode_report,
    encode,
    fork_zygote,
)


def load() -> WorkerMain:
    """A worker that says who it is, with what it was given, and then does what it is told in one
    byte.
    """

    def worker(control: socket.socket, listening: list[socket.socket]) -> int:
        title = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode()
        files = len(os.listdir("/proc/self/fd"))
        ports = [sock.getsockname()[1] for sock in listening]
        ignored = [signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGHUP)]
        said = f"{os.getppid()} {title} {ports} {files} {ignored}"
        control.sendall(said.encode() + b"\n")
        try:
            order = control.recv(1)
        except ConnectionError:
            order = b""
        match order:
            case b"x":
                raise RuntimeError("on purpose")
            case b"k":
                os.kill(os.getpid(), signal.SIGKILL)
            case b"":
                return 4
        return 0

    return worker


class Scene:
    def __init__(self) -> None:
        self.zygote: ZygoteHandle = fork_zygote(load)
        self.zygote.socket.settimeout(20)

    def report(self) -> tuple[FromZygote, list[int]]:
        data, fds, _, _ = socket.recv_fds(self.zygote.socket, 4096, 4)
        assert data
        return decode_report(data), fds

    def spawn(self, *listening: socket.socket) -> tuple[int, int, socket.socket]:
        ours, its = socket.socketpair()
        ours.settimeout(20)
        fds = [its.fileno(), *(sock.fileno() for sock in listening)]
        socket.send_fds(self.zygote.socket, [encode(Spawn(7, "tidelog worker node=3"))], fds)
        its.close()
        report, (pidfd,) = self.report()
        assert isinstance(report, Spawned) and report.token == 7
        return report.pid, pidfd, ours


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.zygote.end()


def line(control: socket.socket) -> str:
    return control.makefile().readline().strip()


def test_a_worker_gets_its_sockets_and_nothing_else(scene: Scene) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        pid, pidfd, control = scene.spawn(one, two)
        ports = [one.getsockname()[1], two.getsockname()[1]]
    said = line(control)
    assert said.startswith(f"{scene.zygote.pid} tidelog worker node=3 {ports} ")
    # Signals of a terminal are the supervisor's.
    assert said.endswith("[True, True]")
    control.sendall(b".")
    assert scene.report()[0] == Exited(pid, 0)
    os.close(pidfd)


def test_descriptors_do_not_pile_up(scene: Scene) -> None:
    """Each worker sees as many files as the first: those of its brothers are none of its."""
    counts = set()
    controls = []
    for _ in range(5):
        _, pidfd, control = scene.spawn()
        os.close(pidfd)
        counts.add(line(control).split()[-3])
        controls.append(control)
    assert len(counts) == 1
    # The end of one control socket is seen by its own worker alone.
    controls[2].close()
    report, _ = scene.report()
    assert isinstance(report, Exited) and report.status == 4
    assert not select.select([scene.zygote.socket], [], [], 0)[0]


@pytest.mark.parametrize(
    ("order", "status"), [(b".", 0), (b"x", EXIT_INTERNAL_ERROR), (b"k", -signal.SIGKILL)]
)
def test_ends_are_reported(scene: Scene, order: bytes, status: int) -> None:
    pid, pidfd, control = scene.spawn()
    line(control)
    control.sendall(order)
    assert scene.report()[0] == Exited(pid, status)
    assert select.select([pidfd], [], [], 20)[0] == [pidfd]
    os.close(pidfd)


def test_signals_to_the_group_do_not_end_it(scene: Scene) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(scene.zygote.pid, number)
    pid, pidfd, control = scene.spawn()
    assert line(control)
    os.close(pidfd)
    control.sendall(b".")
    assert scene.report()[0] == Exited(pid, 0)


def test_it_ends_with_its_socket() -> None:
    made = Scene()
    assert made.zygote.end() == 0
    assert made.zygote.end() == 0


def test_a_zygote_that_cannot_load_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> WorkerMain:
        raise ImportError("no such module")

    zygote = fork_zygote(broken)
    assert zygote.end() == EXIT_INTERNAL_ERROR
    assert "ImportError: no such module" in capfd.readouterr().err


def test_nonsense_ends_it() -> None:
    made = Scene()
    made.zygote.socket.send(b"nonsense")
    assert made.zygote.end() == EXIT_INTERNAL_ERROR

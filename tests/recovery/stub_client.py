"""Runs `stub_broker.py` as a user runs a broker, and talks to its nodes. Only ever signals
processes of its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Returns when the condition holds; fails when it doesn't for a very long time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether the process runs (a zombie doesn't)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


class StubBroker:
    """One run of the stub broker. As a context manager it is started, and stopped in any case."""

    def __init__(self, data_dir: Path, *options: str, workers: int = 1) -> None:
        self.data_dir = data_dir
        self.arguments = [
            sys.executable,
            str(ROOT / "tests" / "recovery" / "stub_broker.py"),
            *("--listen", "127.0.0.1:0", "--data-dir", str(data_dir), "--workers", str(workers)),
            *options,
        ]
        self.ready_line = ""
        self.bootstrap: list[tuple[str, int]] = []
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self.launch()
        assert self.wait_ready(), self.errors()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.stderr_file.close()  # type: ignore[attr-defined]

    def launch(self) -> None:
        log = (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab+")
        self.process = subprocess.Popen(
            self.arguments,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self.process.stderr_file = log  # type: ignore[attr-defined]

    def wait_ready(self) -> bool:
        """Reads the ready line; False when the process ends without one."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        assert ready, f"neither ready nor ended: {self.errors()}"
        self.ready_line = self.process.stdout.readline().decode()
        if not self.ready_line:
            return False
        words = dict(word.partition("=")[::2] for word in self.ready_line.split())
        for address in words["bootstrap"].split(","):
            host, _, port = address.rpartition(":")
            self.bootstrap.append((host.strip("[]"), int(port)))
        return True

    def errors(self) -> str:
        """What was written to standard error."""
        return (self.data_dir.parent / f"{self.data_dir.name}.log").read_text()

    @property
    def supervisor(self) -> int:
        return self.process.pid

    @property
    def zygote(self) -> int:
        (pid,) = [
            p for p in children(self.supervisor) if command_line(p).startswith("tidelog zygote")
        ]
        return pid

    def worker(self, index: int = 0) -> int:
        """The pid of a node's worker, as the node itself says."""
        return int(self.state(index)["pid"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signals the supervisor, returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    # --- the stub's protocol ---

    @contextlib.contextmanager
    def connection(self, index: int = 0) -> Iterator[Callable[[str], str]]:
        """A connection to a node, as a function from a line to its answer ("" at the end)."""
        with socket.create_connection(self.bootstrap[index], DEADLINE_S) as sock:
            file = sock.makefile("rw")

            def ask(line: str) -> str:
                file.write(line + "\n")
                file.flush()
                return file.readline().strip()

            yield ask

    def ask(self, line: str, index: int = 0) -> str:
        with self.connection(index) as ask:
            return ask(line)

    def state(self, index: int = 0) -> dict[str, str]:
        words = self.ask("ping", index).split()
        return dict(word.partition("=")[::2] for word in words)

    def topics(self, index: int = 0) -> set[str]:
        return set(filter(None, self.state(index)["topics"].split(",")))

"""Brokers that a comparison starts itself: Tidelog and the floor; and one that runs already.

Each is a context manager that owns one process, which it alone ends, and one data folder, which it
removes. All put their data below the same parent folder, so that they share a file system. The
processes have sessions of their own, so that a Ctrl-C at the terminal is the owner's to handle, and
watch a socket of the owner's, so that they end when it is killed.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tidelog.benchmarks import process_stats
from tidelog.benchmarks.cluster import Cluster, parse_address
from tidelog.benchmarks.floor import FloorCluster
from tidelog.benchmarks.native_load import BenchError
from tidelog.benchmarks.shapes import ClusterLike

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
# Deleted topics must leave the disk at once, or ten runs fill it.
BROKER_CONFIGS = {"log.segment.delete.delay.ms": "0"}


class Target:
    """A broker under load. Subclasses start it; `name` stands in tables."""

    name = ""

    def __init__(self, folder: Path, cpus: Sequence[int] = ()) -> None:
        self.folder = folder
        self.cpus = cpus
        self.bootstrap = ""
        self.pid = 0
        self.start_s = 0.0

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def cluster(self) -> ClusterLike:
        return Cluster(self.bootstrap)

    def renew(self) -> bool:
        """Called before a run that wants an empty log. True: the address is another one now."""
        return False

    def cpu_s(self) -> float:
        return process_stats.cpu_s([self.pid])

    def memory(self) -> process_stats.Memory:
        return process_stats.memory([self.pid])

    def disk_bytes(self) -> int:
        """Blocks in use below the folder; files that vanish meanwhile do not count."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += os.stat(os.path.join(folder, name)).st_blocks * 512
                except OSError:
                    continue
        return total

    def settle(self, limit_bytes: int, deadline_s: float = 10.0) -> None:
        """Waits until deleted topics have left the disk."""
        until = time.monotonic() + deadline_s
        while self.disk_bytes() > limit_bytes and time.monotonic() < until:
            time.sleep(0.05)

    def __enter__(self) -> "Target":
        began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.start_s = time.monotonic() - began
        if self.cpus:
            process_stats.pin([self.pid], self.cpus)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with undisturbed():
            self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """For what has to be tidied up: a second Ctrl-C, SIGTERM or SIGHUP does not interrupt it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ProcessTarget(Target):
    """A process that says `... ready bootstrap=HOST:PORT pid=PID` on its standard output."""

    def __init__(self, folder: Path, cpus: Sequence[int] = ()) -> None:
        super().__init__(folder, cpus)
        self._process: subprocess.Popen[str] | None = None
        self._errors: TextIO | None = None
        self._tie: socket.socket | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Raises BenchError when the process is not ready in time."""
        self._errors = (self.folder / "stderr.txt").open("w+")
        self._tie, watched = socket.socketpair()
        with watched:
            self._process = subprocess.Popen(
                [*self.command(), "--parent-fd", str(watched.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                pass_fds=(watched.fileno(),),
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.bootstrap = parse_ready_line(self._ready_line())

    def _ready_line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            if " ready bootstrap=" in line:
                return line
        self._process.wait(START_TIMEOUT_S)
        said = (self.folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"status {self._process.returncode}"
        raise BenchError(f"{self.name} ended before it was ready: {reason}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_process(process)
        for kept in (self._tie, self._errors):
            if kept is not None:
                kept.close()
        self._tie = self._errors = None


def end_process(process: subprocess.Popen[str]) -> None:
    """By SIGTERM, and by SIGKILL when it takes too long; closes its pipes."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def parse_ready_line(line: str) -> str:
    """The bootstrap addresses of a ready line."""
    for word in line.split():
        if word.startswith("bootstrap="):
            return word.removeprefix("bootstrap=")
    raise ValueError(f"not a ready line: {line!r}")


class TidelogTarget(ProcessTarget):
    name = "tidelog"

    def __init__(
        self,
        folder: Path,
        cpus: Sequence[int] = (),
        workers: int = 1,
        settings: Sequence[str] = (),
    ) -> None:
        super().__init__(folder, cpus)
        self._workers = workers
        self._settings = settings

    def command(self) -> list[str]:
        command = [sys.executable, "-P", "-m", "tidelog", "serve", "--listen", "127.0.0.1:0"]
        command += ["--data-dir", str(self.folder / "data"), "--workers", str(self._workers)]
        for setting in (*(f"{k}={v}" for k, v in BROKER_CONFIGS.items()), *self._settings):
            command += ["--set", setting]
        return command


class FloorTarget(ProcessTarget):
    name = "floor"

    def __init__(self, folder: Path, cpus: Sequence[int] = (), options: Sequence[str] = ()) -> None:
        super().__init__(folder, cpus)
        self._options = options

    def command(self) -> list[str]:
        data = str(self.folder / "data")
        command = [sys.executable, "-P", "-m", "tidelog.benchmarks.floor", "--data-dir", data]
        return [*command, *self._options]

    def cluster(self) -> ClusterLike:
        return FloorCluster(parse_address(self.bootstrap))

    def renew(self) -> bool:
        self.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.start()
        if self.cpus:
            process_stats.pin([self.pid], self.cpus)
        return True


class ForeignTarget(Target):
    """A broker that runs already: `name=HOST:PORT[@PID]`. It is neither started nor stopped."""

    def __init__(self, folder: Path, spec: str) -> None:
        super().__init__(folder)
        self.name, _, place = spec.partition("=")
        self._place, _, pid = place.partition("@")
        self._pid = int(pid or 0)

    def start(self) -> None:
        self.bootstrap, self.pid = self._place, self._pid

    def stop(self) -> None:
        """Not ours to stop."""

    def cpu_s(self) -> float:
        return super().cpu_s() if self.pid else float("nan")

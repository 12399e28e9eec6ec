"""What every broker under comparison is, beside a target: what it offers, what it cannot do, how it
is set up anew.

Each owns its processes, which it alone ends, and one data folder, which it removes. All put their
data below the same parent folder, so that they share a file system.
"""

import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TextIO

from tidelog.benchmarks import process_stats
from tidelog.benchmarks.cluster import Cluster
from tidelog.benchmarks.targets import Target, end_process, parse_ready_line

ROOT = Path(__file__).resolve().parents[3]
START_TIMEOUT_S = 60.0

MEMORY = "memory"
PAGE_CACHE = "page-cache"
FSYNC = "fsync"

#: What a workload may ask of a peer beside Produce and Fetch.
FEATURES = frozenset({"idempotence", "latency", "nodes"})


class Peer(Target):
    """A broker under load.

    `durabilities` has, for each of MEMORY, PAGE_CACHE and FSYNC that the peer offers, the configs
    of a topic that asks for it. `cannot` names the FEATURES that it lacks, each with the reason.
    """

    durabilities: ClassVar[Mapping[str, Mapping[str, str]]] = {PAGE_CACHE: {}}
    cannot: ClassVar[Mapping[str, str]] = {}

    def version(self) -> str:
        """Of what runs, for the table."""
        return ""

    @property
    def pids(self) -> list[int]:
        """The processes that were started; what they start counts with them."""
        return [self.pid] if self.pid else []

    def restart(self) -> None:
        """Anew and without data: for a peer that a workload has broken."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.start()
        if self.cpus:
            process_stats.pin(self.pids, self.cpus)

    def answers(self) -> bool:
        """Whether it still takes a connection and tells its versions."""
        try:
            Cluster(self.bootstrap, timeout_s=5.0).close()
        except (OSError, ValueError):
            return False
        return True

    def cpu_s(self) -> float:
        return process_stats.cpu_s(self.pids)

    def memory(self) -> process_stats.Memory:
        return process_stats.memory(self.pids)


class RenewedPeer(Peer):
    """One that keeps what was deleted, in memory or on disk: every run that wants an empty log
    gets another process, and what a run has written goes with the process."""

    def renew(self) -> bool:
        self.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.start()
        if self.cpus:
            process_stats.pin(self.pids, self.cpus)
        return True

    def settle(self, limit_bytes: int, deadline_s: float = 10.0) -> None:
        self.renew()


class ForeignProcessPeer(RenewedPeer):
    """A program of others. It gets a session of its own, so that a Ctrl-C at the terminal is the
    owner's to handle, and a standard input that ends with its owner."""

    def __init__(self, folder: Path, cpus: Sequence[int] = ()) -> None:
        super().__init__(folder, cpus)
        self._process: subprocess.Popen[str] | None = None
        self._errors: TextIO | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Raises RuntimeError when it is not ready in time."""
        self._errors = (self.folder / "stderr.txt").open("w+")
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.bootstrap = self.wait_ready(self._process)

    def wait_ready(self, process: subprocess.Popen[str]) -> str:
        """Its bootstrap address; here from a line `... ready bootstrap=HOST:PORT`."""
        assert process.stdout is not None
        for line in process.stdout:
            if " ready bootstrap=" in line:
                return parse_ready_line(line)
        process.wait(START_TIMEOUT_S)
        raise RuntimeError(f"{self.name} ended before it was ready: {self.tail()}")

    def tail(self) -> str:
        """The end of what it wrote to its standard error."""
        return (self.folder / "stderr.txt").read_text(errors="replace")[-2000:].strip()

    def stop(self) -> None:
        process, self._process = self._process, None
        self.pid = 0
        if process is not None:
            end_process(process)
        if self._errors is not None:
            self._errors.close()
            self._errors = None


def wait_until_it_answers(bootstrap: str, process: subprocess.Popen[str]) -> None:
    """For those that say nothing when they are ready. Raises RuntimeError when it has ended, or
    does not answer in time."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            Cluster(bootstrap, timeout_s=5.0).close()
        except (OSError, ValueError):
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not answer on {bootstrap}")

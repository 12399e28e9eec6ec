"""Three hosts in namespaces of their own, each with a supervisor and two workers, beside three
servers of ZooKeeper, and what can be done to their processes.

Owner: the process that owns the network. It signals only what descends from the supervisors that it
has started, by process id.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tests.clients.test_restarts import children, workers
from tests.faults.net import Network, mount_memory
from tests.house.broker import ServedBroker
from tests.house.zookeeper import Place, Server, ZooKeeper

HOSTS: Final = 3
WORKERS: Final = 2
SESSION_TIMEOUT_MS: Final = 4000
WAIT_TIMEOUT_S: Final = 60.0

CLIENTS: Final = "clients"
_ZOOKEEPER_PORTS: Final = (2181, 2888, 3888)
_LISTENER_PORT: Final = 9092
#: Of each host, in memory.
DISK_BYTES: Final = 512 * 1024 * 1024
_PAGE_BYTES: Final = 4096
_SEAT: Final = re.compile(r'event="host is the controller" .*?epoch=(\d+)')
#: In a log: what must not be there whatever happened to the host.
_UNWANTED: Final = re.compile(r"Traceback|InvariantError|event=\"(?:supervisor|cluster) failed")


def clock_library(folder: Path) -> Path | None:
    """Compiles what gives a process a clock of its own; None when there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if compiler is None:
        return None
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return library


class Host:
    """One host: its supervisor, and the workers below it. clock: the library for one of its own."""

    def __init__(
        self,
        number: int,
        folder: Path,
        network: Network,
        zookeeper: str,
        clock: Path | None = None,
    ) -> None:
        self.name = f"host{number}"
        self.zookeeper_name = f"zookeeper{number}"
        self.first_node = 10 * number + 1
        self.data_dir = folder / self.name
        self._paused: list[int] = []
        # A disk of its own, which can be filled. It is gone with the process that owns the network.
        mount_memory(self.data_dir, DISK_BYTES)
        self._clock_file = folder / f"{self.name}.clock"
        self.move_clock(0)
        own_clock: tuple[str, ...] = ()
        if clock is not None:
            own_clock = ("env", f"LD_PRELOAD={clock}", f"TIDELOG_CLOCK_FILE={self._clock_file}")
        self.broker = ServedBroker(
            self.data_dir,
            [
                *("--listen", f"{network.address(self.name)}:{_LISTENER_PORT}"),
                *("--zookeeper", zookeeper, "--node-id", str(self.first_node)),
                *("--workers", str(WORKERS), "--log-level", "info"),
                *("--set", f"broker.session.timeout.ms={SESSION_TIMEOUT_MS}"),
                *("--set", f"broker.rack={self.name}"),
                # Shorter than some faults, so that ISRs also shrink for lag.
                *("--set", "replica.lag.time.max.ms=6000"),
                # Small segments, so that faults also hit rolls.
                *("--set", "log.segment.bytes=1048576"),
                *("--set", "offsets.topic.num.partitions=8"),
                *("--set", "offsets.topic.replication.factor=3"),
                *("--set", "transaction.state.log.replication.factor=3"),
                *("--set", "transaction.state.log.num.partitions=8"),
                *("--set", "transaction.state.log.min.isr=2"),
                *("--set", "group.initial.rebalance.delay.ms=500"),
            ],
            (*network.command(self.name), *own_clock),
        )

    @property
    def nodes(self) -> range:
        return range(self.first_node, self.first_node + WORKERS)

    @property
    def supervisor(self) -> int:
        return self.broker.pid

    def workers(self) -> dict[int, int]:
        """Process ids by node id."""
        return workers(self.broker)

    def start(self) -> None:
        """Returns when all its nodes serve."""
        self.broker.start()

    def begin_start(self) -> None:
        """Starts it; `wait_started` has to follow."""
        self.broker.begin_start()

    def wait_started(self) -> None:
        self.broker.wait_started()

    def stop(self) -> int:
        """Cleanly; returns the exit status."""
        return self.broker.stop()

    def kill(self) -> None:
        """SIGKILL to all of it at once, as when the machine loses its power."""
        below = children(self.supervisor)
        self.broker.kill()
        for pid in below:
            _signal(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(_runs, below)), f"{self.name} is gone")

    def kill_worker(self, node: int) -> None:
        _signal(self.workers()[node], signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """SIGKILL to the supervisor alone; returns when its workers have ended by themselves."""
        below = children(self.supervisor)
        self.broker.kill()
        wait_for(lambda: not any(map(_runs, below)), f"no process of {self.name} is left")

    def pause(self, pids: Iterable[int]) -> None:
        """SIGSTOP to some of its processes."""
        for pid in pids:
            self._paused.append(pid)
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT to all that were stopped, and are still there."""
        for pid in self._paused:
            _signal(pid, signal.SIGCONT)
        self._paused.clear()

    def move_clock(self, seconds: int) -> None:
        """Sets its wall clock so far from the machine's; without effect unless it has its own."""
        # In place: it is mapped.
        with self._clock_file.open("r+b" if self._clock_file.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def fill_disk(self) -> None:
        piece = DISK_BYTES
        with self._ballast.open("wb") as file:
            while piece >= _PAGE_BYTES:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
                except OSError:
                    piece //= 2

    def empty_disk(self) -> None:
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.data_dir / ".ballast"

    def all_pids(self) -> list[int]:
        return [self.supervisor, *children(self.supervisor)]

    def log(self) -> str:
        return self.broker.log()

    def seat_epoch(self) -> int:
        """Of the last controller that it was; 0 when it never was one."""
        return max((int(epoch) for epoch in _SEAT.findall(self.log())), default=0)


class Cluster:
    """The whole; use as a context manager. clock: see `Host`."""

    def __init__(self, folder: Path, clock: Path | None = None) -> None:
        self.folder = folder
        self.network = Network()
        numbers = range(1, HOSTS + 1)
        places = []
        for number in numbers:
            name = f"zookeeper{number}"
            address = self.network.add(name)
            places.append(Place(address, _ZOOKEEPER_PORTS, self.network.command(name)))
        for number in numbers:
            self.network.add(f"host{number}")
        self.network.add(CLIENTS)
        self.zookeeper = ZooKeeper(folder / "zookeeper", places=places)
        path = f"{self.zookeeper.hosts}/tidelog"
        self.hosts = [Host(number, folder, self.network, path, clock) for number in numbers]

    @property
    def bootstrap(self) -> str:
        """The first node of each host."""
        return ",".join(
            f"{self.network.address(host.name)}:{_LISTENER_PORT}" for host in self.hosts
        )

    def addresses(self) -> list[str]:
        """All nodes."""
        return [address for host in self.hosts for address in self.addresses_of(host)]

    def addresses_of(self, host: Host) -> list[str]:
        """The nodes of one host."""
        first = self.network.address(host.name)
        return [f"{first}:{_LISTENER_PORT + index}" for index in range(WORKERS)]

    def controller(self) -> Host:
        """The host that was the last to take the seat."""
        return max(self.hosts, key=Host.seat_epoch)

    def names(self) -> list[str]:
        """All nodes of the network but the clients'."""
        return [name for host in self.hosts for name in (host.name, host.zookeeper_name)]

    def server_of(self, host: Host) -> Server:
        """The ZooKeeper server that stands beside the host."""
        return self.zookeeper.servers[self.hosts.index(host)]

    def unwanted(self) -> list[str]:
        """Lines of the hosts' logs that no fault excuses."""
        return [
            f"{host.name}: {line}"
            for host in self.hosts
            for line in host.log().splitlines()
            if _UNWANTED.search(line)
        ]

    def __enter__(self) -> Cluster:
        self.zookeeper.start()
        try:
            for host in self.hosts:
                host.begin_start()
            for host in self.hosts:
                host.wait_started()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.network.heal_all()
        try:
            for host in self.hosts:
                host.resume()
                with contextlib.suppress(Exception):
                    host.stop()
        finally:
            self.zookeeper.close()


def wait_for(holds: Callable[[], bool], what: str, timeout_s: float = WAIT_TIMEOUT_S) -> None:
    """Asks until it holds. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
        # A pause between tries: the loop ends as soon as it holds.
        time.sleep(0.05)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"

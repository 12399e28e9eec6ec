"""Runs real ZooKeeper servers, alone or as an ensemble; each can be killed, paused and restarted.

Owner: the compat suite. Only the files of Debian's package `zookeeper` are used, which is installed
when it is missing; configuration, data and ports are the test's own. It signals no process but
those that it started.

    with ZooKeeper(folder, servers=3) as ensemble:
        ZooKeeperEnsemble(ensemble.hosts, 2000)
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.house.ports import free_ports

JARS: Final = Path("/usr/share/java")
#: The second is the logger that the first one's manifest leaves to the user.
CLASSPATH: Final = (JARS / "zookeeper.jar", JARS / "slf4j-simple.jar")
INSTALL_TIMEOUT_S: Final = 300
START_TIMEOUT_S: Final = 60.0
TICK_MS: Final = 200
#: After which a follower gives its leader up.
SYNC_TICKS: Final = 15


class ZooKeeperMissing(RuntimeError):
    """ZooKeeper cannot be had on this machine; the text says why."""


@cache
def install() -> str:
    """The path of a `java` with which the servers run. Raises ZooKeeperMissing."""
    java = shutil.which("java")
    if java is None:
        raise ZooKeeperMissing("java is not installed (ZooKeeper needs it)")
    if not all(jar.exists() for jar in CLASSPATH):
        _install_package()
    missing = [str(jar) for jar in CLASSPATH if not jar.exists()]
    if missing:
        raise ZooKeeperMissing(f"the package zookeeper has no {missing[0]}")
    return java


def _install_package() -> None:
    if shutil.which("apt-get") is None:
        raise ZooKeeperMissing("ZooKeeper is not installed, and there is no apt-get")
    wanted = ["apt-get", "install", "-y", "--no-install-recommends", "zookeeper", "libslf4j-java"]
    problem = ""
    for command in (wanted, ["apt-get", "update"], wanted):
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ZooKeeperMissing(f"zookeeper cannot be installed: {error}") from error
        if command is wanted and not done.returncode:
            return
        problem = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    raise ZooKeeperMissing(f"zookeeper cannot be installed: {problem or 'apt-get failed'}")


class Place(NamedTuple):
    """Where a server runs. ports: for clients, for followers, for elections; prefix: of its command
    line, e.g. for a network namespace.
    """

    host: str
    ports: tuple[int, int, int]
    prefix: tuple[str, ...] = ()


class Server:
    """One server: its client port, and its process while it runs."""

    def __init__(self, number: int, folder: Path, place: Place) -> None:
        self.number = number
        self.folder = folder
        self.place = place
        self.port = place.ports[0]
        self.log_file = folder / "server.out"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.place.host}:{self.port}"

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the process; `wait_serving` tells when it serves."""
        command = [
            *self.place.prefix,
            install(),
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-Dzookeeper.admin.enableServer=false",
            # Processes are killed here, and no power is cut: the page cache is enough.
            "-Dzookeeper.forceSync=no",
            "-Dzookeeper.preAllocSize=1024",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            ":".join(map(str, CLASSPATH)),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(self.folder / "zoo.cfg"),
        ]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered from the return on."""
        pid = self._signal(signal.SIGSTOP)
        # The signal reaches one thread after another.
        tasks = Path(f"/proc/{pid}/task")
        while any(_state(task / "stat") not in "TXZ" for task in tasks.iterdir()):
            time.sleep(0.001)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def mode(self) -> str:
        """`standalone`, `leader` or `follower`; "" while it does not serve."""
        for line in self.ask("srvr").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ").strip()
        return ""

    def ask(self, word: str) -> str:
        """The answer to a four-letter word, "" when there is none."""
        try:
            with socket.create_connection((self.place.host, self.port), timeout=2) as peer:
                peer.sendall(word.encode())
                answer = b""
                while piece := peer.recv(65536):
                    answer += piece
        except OSError:
            return ""
        return answer.decode(errors="replace")

    def _signal(self, number: int) -> int:
        assert self._process is not None, f"server {self.number} does not run"
        self._process.send_signal(number)
        return self._process.pid


class ZooKeeper:
    """A service of one server or several; use as a context manager.

    places: one for each server; without, they run on free ports of 127.0.0.1.
    """

    def __init__(
        self, folder: Path, servers: int = 1, places: Sequence[Place] | None = None
    ) -> None:
        install()
        self.folder = folder
        if places is None:
            places = _free_places(servers)
        self.servers = [
            Server(number, folder / f"server-{number}", place)
            for number, place in enumerate(places, 1)
        ]
        peers = [
            f"server.{number}={place.host}:{place.ports[1]}:{place.ports[2]}"
            for number, place in enumerate(places, 1)
            if len(places) > 1
        ]
        for server in self.servers:
            self._configure(server, peers)

    @property
    def hosts(self) -> str:
        """What a client connects to."""
        return ",".join(server.address for server in self.servers)

    def start(self) -> None:
        for server in self.servers:
            server.start()
        self.wait_serving()

    def restart(self, server: Server) -> None:
        """Starts one that was killed; returns when all that run serve."""
        server.start()
        self.wait_serving()

    def wait_serving(self) -> None:
        """Until every server that runs has its place in a service that serves."""
        running = [server for server in self.servers if server.runs]
        self.wait(lambda: all(server.mode() for server in running))

    def leader(self) -> Server:
        """The server that leads, or the only one."""
        found: list[Server] = []

        def look() -> bool:
            found[:] = [s for s in self.servers if s.runs and s.mode() in ("leader", "standalone")]
            return bool(found)

        self.wait(look)
        return found[0]

    def wait(self, holds: Callable[[], bool]) -> None:
        """Asks until it holds. Raises RuntimeError with the servers' own output after a minute, or
        when one of them has ended by itself."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not holds():
            ended = any(s._process is not None and not s.runs for s in self.servers)
            if ended or time.monotonic() > deadline:
                tails = "\n".join(
                    server.log_file.read_text(errors="replace")[-2000:] for server in self.servers
                )
                raise RuntimeError(f"ZooKeeper does not serve:\n{tails}")
            # A pause between tries: the loop ends as soon as it holds.
            time.sleep(0.05)

    def close(self) -> None:
        for server in self.servers:
            server.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _configure(self, server: Server, peers: list[str]) -> None:
        data = server.folder / "data"
        data.mkdir(parents=True)
        (data / "myid").write_text(f"{server.number}\n")
        lines = [
            f"dataDir={data}",
            f"clientPortAddress={server.place.host}",
            f"clientPort={server.port}",
            f"tickTime={TICK_MS}",
            "initLimit=50",
            f"syncLimit={SYNC_TICKS}",
            f"minSessionTimeout={2 * TICK_MS}",
            "maxSessionTimeout=60000",
            "maxClientCnxns=0",
            "4lw.commands.whitelist=*",
            *peers,
        ]
        (server.folder / "zoo.cfg").write_text("\n".join(lines) + "\n")


def _state(stat: Path) -> str:
    """A thread's state, one letter as /proc names it; X when it has ended."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _free_places(servers: int) -> list[Place]:
    ports = iter(free_ports(3 * servers))
    return [Place("127.0.0.1", (next(ports), next(ports), next(ports))) for _ in range(servers)]

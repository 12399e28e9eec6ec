"""A network of its own for a test: a router, nodes in network namespaces around it, cuts.

Owner: the process that `enter` has put into namespaces of its own (network, mounts, process ids).
Its network namespace is the router; each node has a namespace, an address and one link to it. A cut
is a policy rule of the router that drops what goes from one node to another, so that a sender
notices nothing, and one way is as easy as both. Nothing has to be taken down: with that process the
system ends all others below it, and with them the namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

#: Set in the process that lives in namespaces of its own.
_MARK: Final = "TIDELOG_FAULTS_INSIDE"
_NAMES: Final = Path("/run/netns")
_TOOLS: Final = ("unshare", "nsenter", "ip", "mount")
_COMMAND_TIMEOUT_S: Final = 20
_ROOT: Final = Path(__file__).resolve().parents[2]

#: Rules of the router: what is cut comes first, then what a relay has passed on already.
_CUT_PRIORITY: Final = 1000
_PASSED_PRIORITY: Final = 1100
_RELAY_PRIORITY: Final = 1200
_RELAY_TABLE: Final = 100
_RELAY_DEVICE: Final = "relay"


class NamespacesMissing(RuntimeError):
    """Namespaces cannot be had on this machine; the text says why."""


def inside() -> bool:
    """Whether this process is in namespaces of its own."""
    return bool(os.environ.get(_MARK))


def own_namespaces(command: Sequence[str]) -> list[str]:
    """A command line that runs the command in namespaces of its own.

    The shell is the first process there: it collects what others leave, and its end, or that of
    the command, ends all processes inside.
    """
    become_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    spaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    return ["unshare", *become_root, *spaces, "--propagation", "private", *shell, *command]


def environment() -> dict[str, str]:
    """For what `own_namespaces` runs."""
    return {**os.environ, _MARK: "1"}


def probe() -> None:
    """Raises NamespacesMissing unless a network can be made here."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise NamespacesMissing(f"namespaces need {', '.join(missing)}")
    tried = subprocess.run(
        own_namespaces([sys.executable, "-m", "tests.faults.net"]),
        cwd=_ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_S,
        check=False,
    )
    if tried.returncode:
        said = tried.stderr.strip().splitlines()
        raise NamespacesMissing(f"namespaces cannot be had: {said[-1] if said else 'no reason'}")


class Network:
    """See the module. At most 200 nodes; addresses are 10.99.N.2."""

    def __init__(self) -> None:
        if not inside():
            raise NamespacesMissing("this process has no namespaces of its own")
        self._addresses: dict[str, str] = {}
        self._cuts: dict[tuple[str, str], int] = {}
        self._relay: subprocess.Popen[bytes] | None = None
        self._relayed: list[tuple[str, str]] = []
        mount_memory(_NAMES, 1024 * 1024)
        _ip("link set lo up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        # What comes from a relay has come another way than an answer would go.
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0")

    def add(self, name: str) -> str:
        """A node; returns its address."""
        number = len(self._addresses) + 1
        subnet = f"10.99.{number}"
        _ip(f"netns add {name}")
        _ip(f"link add to-{name} type veth peer name eth0 netns {name}")
        _ip(f"addr add {subnet}.1/24 dev to-{name}")
        _ip(f"link set to-{name} up")
        _ip(f"-n {name} addr add {subnet}.2/24 dev eth0")
        for device in ("lo", "eth0"):
            _ip(f"-n {name} link set {device} up")
        _ip(f"-n {name} route add default via {subnet}.1")
        self._addresses[name] = f"{subnet}.2"
        return self._addresses[name]

    def address(self, name: str) -> str:
        return self._addresses[name]

    def command(self, name: str) -> tuple[str, ...]:
        """What comes before a command to run it on that node; its process id stays the same."""
        return ("nsenter", f"--net={_NAMES / name}", "--")

    def cut(self, source: str, target: str) -> None:
        """Nothing goes from source to target any more. Cuts are counted: each has to be healed."""
        link = (source, target)
        self._cuts[link] = self._cuts.get(link, 0) + 1
        if self._cuts[link] == 1:
            _ip(f"rule add {self._rule(link)}")

    def heal(self, source: str, target: str) -> None:
        link = (source, target)
        self._cuts[link] -= 1
        if not self._cuts[link]:
            del self._cuts[link]
            _ip(f"rule del {self._rule(link)}")

    def cut_apart(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Both ways between each of some and each of others."""
        for source, target in _pairs(some, others):
            self.cut(source, target)

    def heal_apart(self, some: Iterable[str], others: Iterable[str]) -> None:
        for source, target in _pairs(some, others):
            self.heal(source, target)

    def disturb(
        self, links: Sequence[tuple[str, str]], seed: int, delay_ms: int, loss: float, twice: float
    ) -> None:
        """What goes over these links is late, lost or doubled until `calm`; see `relay`."""
        if self._relay is not None:
            raise RuntimeError("there is a relay already")
        self._relay = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.faults.relay", _RELAY_DEVICE),
                *map(str, (seed, delay_ms, loss, twice)),
            ],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._relay.stdout is not None
        if self._relay.stdout.readline().strip() != b"ready":
            raise NamespacesMissing("a TUN device cannot be had")
        _ip(f"link set {_RELAY_DEVICE} up")
        _ip(f"route add default dev {_RELAY_DEVICE} table {_RELAY_TABLE}")
        _ip(f"rule add pref {_PASSED_PRIORITY} iif {_RELAY_DEVICE} lookup main")
        for link in links:
            _ip(f"rule add {self._relay_rule(link)}")
            self._relayed.append(link)

    def calm(self) -> None:
        """Ends what `disturb` began; what the relay still holds is lost."""
        if self._relay is None:
            return
        for link in self._relayed:
            _ip(f"rule del {self._relay_rule(link)}")
        self._relayed.clear()
        _ip(f"rule del pref {_PASSED_PRIORITY} iif {_RELAY_DEVICE} lookup main")
        self._relay.communicate(timeout=_COMMAND_TIMEOUT_S)
        self._relay = None

    def heal_all(self) -> None:
        self.calm()
        for link in list(self._cuts):
            self._cuts[link] = 1
            self.heal(*link)

    def _relay_rule(self, link: tuple[str, str]) -> str:
        source, target = (self._addresses[name] for name in link)
        return f"pref {_RELAY_PRIORITY} from {source} to {target} lookup {_RELAY_TABLE}"

    def _rule(self, link: tuple[str, str]) -> str:
        source, target = (self._addresses[name] for name in link)
        return f"pref {_CUT_PRIORITY} from {source} to {target} blackhole"


def mount_memory(folder: Path, size_bytes: int) -> None:
    """A file system of that size, which nobody outside of these namespaces sees."""
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tidelog-faults", str(folder))


def _pairs(some: Iterable[str], others: Iterable[str]) -> Iterable[tuple[str, str]]:
    others = list(others)
    for one in some:
        for other in others:
            if one != other:
                yield one, other
                yield other, one


def _ip(arguments: str) -> None:
    _run("ip", *arguments.split())


def _run(*command: str) -> None:
    """Raises NamespacesMissing with what the command said."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise NamespacesMissing(f"{' '.join(command)}: {done.stderr.strip()}")


def _try() -> None:
    """What a test needs of the kernel, once."""
    network = Network()
    for name in ("a", "b"):
        network.add(name)
    network.cut_apart(["a"], ["b"])
    network.disturb([("a", "b")], 1, 1, 0, 0)
    network.heal_all()


if __name__ == "__main__":
    try:
        _try()
    except (NamespacesMissing, OSError) as problem:
        sys.exit(str(problem))

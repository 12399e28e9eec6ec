"""Installs the clients of other languages that the compat suite drives: kcat, franz-go, kafkajs.

Each is fetched by the ordinary client of its registry and kept in `build/compat/` under the hash of
its sources. What cannot be had raises `ProgramMissing` with its name, which tests turn into a skip.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("TIDELOG_COMPAT_DIR") or HERE.parents[1] / "build" / "compat")
INSTALL_TIMEOUT_S = 600.0
RUN_TIMEOUT_S = 55.0


class ProgramMissing(Exception):
    """A program is not on this machine and could not be installed; names it and says why."""


def run_step(name: str, command: Sequence[str], cwd: Path, **variables: str) -> None:
    """One step of an installation. Raises ProgramMissing."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramMissing(f"{name}: {error}") from error
    if done.returncode:
        raise ProgramMissing(f"{name}: {' '.join(command)}: {(done.stdout + done.stderr)[-1000:]}")


def need(name: str, program: str) -> None:
    """Raises ProgramMissing unless the program is installed."""
    if shutil.which(program) is None:
        raise ProgramMissing(f"{name}: {program} is not installed")


def folder_of(name: str, sources: Sequence[Path]) -> Path:
    """The folder of a program built from these sources."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    return BUILD / f"{name}-{digest}"


@cache
def kcat() -> list[str]:
    """Debian's kcat; installed by apt-get if it is missing and we are root."""
    if shutil.which("kcat") is None:
        need("kcat", "apt-get")
        if os.geteuid() != 0:
            raise ProgramMissing("kcat: not installed, and only root can install it")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run_step("kcat", ["apt-get", "update", "-qq"], HERE, **quiet)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "kcat"]
        run_step("kcat", install, HERE, **quiet)
    return ["kcat"]


@cache
def franz_go() -> list[str]:
    """The client of tests/compat/go, compiled."""
    need("franz-go", "go")
    source = HERE / "go"
    target = folder_of("go", sorted(source.iterdir())) / "client"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f"client.{os.getpid()}")
        run_step("franz-go", ["go", "build", "-buildvcs=false", "-o", str(scratch), "."], source)
        scratch.rename(target)
    return [str(target)]


@cache
def kafkajs() -> list[str]:
    """The client of tests/compat/node with its packages."""
    need("kafkajs", "node")
    need("kafkajs", "npm")
    sources = sorted(path for path in (HERE / "node").iterdir() if path.is_file())
    folder = folder_of("node", sources)
    if not folder.exists():
        scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
        scratch.mkdir(parents=True)
        for path in sources:
            shutil.copy(path, scratch)
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts"]
        run_step("kafkajs", ["npm", "ci", *quiet], scratch)
        scratch.rename(folder)
    return ["node", str(folder / "client.mjs")]


class ClientFailed(Exception):
    """A client ended with an error; carries what it wrote."""


@dataclass(frozen=True)
class Client:
    """A client program that follows the commands of tests/compat/go/main.go."""

    name: str
    command: list[str]

    def _call(self, arguments: Sequence[str], text: str = "") -> list[str]:
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                input=text,
                capture_output=True,
                text=True,
                timeout=RUN_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClientFailed(f"{self.name} {arguments} did not end: {error.stderr!r}") from error
        if done.returncode:
            raise ClientFailed(f"{self.name} {arguments}: {done.stderr or done.stdout}")
        return done.stdout.splitlines()

    def run(self, command: str, **options: object) -> dict[str, Any]:
        """One of the longer commands; returns the object that it prints."""
        found: dict[str, Any] = json.loads(self._call([command, *_options(**options)])[-1])
        return found

    def produce(
        self,
        bootstrap: str,
        topic: str,
        count: int,
        *,
        codec: str = "none",
        placement: str = "key",
        partitions: int = 1,
    ) -> None:
        """Writes k0=v0 ... in one go; returns when all are acknowledged."""
        options = {"codec": codec, "placement": placement, "partitions": partitions, "count": count}
        self._call(["produce", *_options(bootstrap=bootstrap, topic=topic, **options)])

    def consume(
        self, bootstrap: str, topic: str, count: int, *, group: str
    ) -> list[dict[str, Any]]:
        """Reads `count` records as a member of a group, from its offsets or the beginning."""
        options = _options(bootstrap=bootstrap, topic=topic, count=count, group=group)
        return [json.loads(line) for line in self._call(["consume", *options])]

    def create(self, bootstrap: str, topic: str, partitions: int) -> None:
        options = _options(bootstrap=bootstrap, topic=topic, partitions=partitions)
        self._call(["admin", *options, "--action", "create"])

    def delete(self, bootstrap: str, topic: str) -> None:
        self._call(["admin", *_options(bootstrap=bootstrap, topic=topic), "--action", "delete"])

    def topics(self, bootstrap: str) -> list[str]:
        lines = self._call(["admin", *_options(bootstrap=bootstrap), "--action", "list"])
        return sorted(json.loads(lines[-1]))


class Kcat(Client):
    """kcat behind the same methods; it has no commands for topics."""

    def produce(
        self,
        bootstrap: str,
        topic: str,
        count: int,
        *,
        codec: str = "none",
        placement: str = "key",
        partitions: int = 1,
    ) -> None:
        records = [f"k{i}=v{i}\n" for i in range(count)]
        base = ["-b", bootstrap, "-t", topic, "-P", "-K", "=", "-z", codec]
        if placement == "key":
            self._call(base, "".join(records))
            return
        for partition in range(partitions):
            self._call([*base, "-p", str(partition)], "".join(records[partition::partitions]))

    def consume(
        self, bootstrap: str, topic: str, count: int, *, group: str
    ) -> list[dict[str, Any]]:
        layout = r'{"partition":%p,"offset":%o,"key":"%k","value":"%s"}' + "\n"
        base = ["-b", bootstrap, "-q", "-f", layout, "-c", str(count), "-o", "beginning"]
        del group  # kcat's own mode reads all partitions of a topic without a group
        return [json.loads(line) for line in self._call([*base, "-C", "-t", topic])]


def _options(**values: object) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


CLIENTS: Mapping[str, Any] = {"kcat": kcat, "franz-go": franz_go, "kafkajs": kafkajs}

#: What could not be installed; it is not tried again for every test.
_missing: dict[str, ProgramMissing] = {}


def client(name: str) -> Client:
    """A client by name, installed if need be. Raises ProgramMissing."""
    if name in _missing:
        raise _missing[name]
    try:
        command = CLIENTS[name]()
    except ProgramMissing as missing:
        _missing[name] = missing
        raise
    return Kcat(name, command) if name == "kcat" else Client(name, command)

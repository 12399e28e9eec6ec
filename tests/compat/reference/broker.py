"""Runs one Apache Kafka broker (KRaft, combined roles) or several to compare Tidelog with.

Owner: the compat suite and the side-by-side benchmarks. It only ever signals the process that it
started itself, and listens on loopback.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.compat.reference.install import Installation, install
from tests.house.ports import free_ports

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


class ReferenceBroker:
    """One running reference broker; use as a context manager.

    `overrides` are lines of server.properties by name. With `data_dir` the data stays there after
    the stop; without, a temporary folder is made and removed. `ports` are those of the broker and
    of its controller; without, they are chosen at the start.
    """

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        heap_mb: int = 512,
        overrides: Mapping[str, str] | None = None,
        full_speed: bool = False,
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        self._installation: Installation = install()
        self._temporary = data_dir is None
        self.home = data_dir or Path(tempfile.mkdtemp(prefix="tidelog-reference-"))
        self.data_dir = self.home / "data"
        self.log_file = self.home / "broker.out"
        self._heap_mb = heap_mb
        self._full_speed = full_speed
        self._overrides = dict(overrides or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self._controller_port = ports

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def start(self) -> None:
        """Formats the storage if it is new, starts the broker, returns when it answers."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Starts the process; `wait_ready` has to follow."""
        if not self.port:
            self.port, self._controller_port = free_ports(2)
        self.home.mkdir(parents=True, exist_ok=True)
        properties = self.home / "server.properties"
        properties.write_text("".join(f"{k}={v}\n" for k, v in self._properties().items()))
        cluster = base64.urlsafe_b64encode(uuid.UUID(int=1 << 100 | 77).bytes).decode().rstrip("=")
        command = self._installation.command(
            "ToolRunner",
            "--broker",
            str(properties),
            cluster,
            heap_mb=self._heap_mb,
            log_level="WARN",
            full_speed=self._full_speed,
        )
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_ready(self, brokers: int = 1) -> None:
        """Returns when it answers and knows of so many brokers. When that fails it is ended."""
        try:
            self._wait_ready(brokers)
        except BaseException:
            self.stop(kill=True)
            raise

    def stop(self, *, kill: bool = False) -> None:
        """Ends the broker (SIGTERM, or SIGKILL with `kill`) and waits for it."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Stops at once and removes a temporary data folder."""
        self.stop(kill=self._temporary)
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _properties(self) -> dict[str, str]:
        controller = f"127.0.0.1:{self._controller_port}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(self.data_dir),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }
        properties.update(self._overrides)
        return properties

    def _wait_ready(self, brokers: int) -> None:
        """Ready is when a Metadata request is answered with a list of so many brokers."""
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if _listed_brokers(self.port) >= brokers:
                return
            # A pause between tries, not a fixed wait: the loop ends as soon as the broker answers.
            time.sleep(0.05)
        tail = self.log_file.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"the reference broker did not start:\n{tail}")


class ReferenceCluster:
    """Several nodes with both roles each, as one cluster; use as a context manager.

    Each keeps its data in a folder of its own below `data_dir`, which stays.
    """

    def __init__(
        self,
        nodes: int,
        *,
        data_dir: Path,
        heap_mb: int = 512,
        overrides: Mapping[str, str] | None = None,
        full_speed: bool = False,
    ) -> None:
        ports = free_ports(2 * nodes)
        voters = ",".join(f"{n + 1}@127.0.0.1:{ports[2 * n + 1]}" for n in range(nodes))
        self.brokers: Sequence[ReferenceBroker] = [
            ReferenceBroker(
                data_dir=data_dir / f"node-{n + 1}",
                heap_mb=heap_mb,
                overrides={
                    "node.id": str(n + 1),
                    "controller.quorum.voters": voters,
                    **(overrides or {}),
                },
                full_speed=full_speed,
                ports=(ports[2 * n], ports[2 * n + 1]),
            )
            for n in range(nodes)
        ]

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers)

    @property
    def pids(self) -> list[int]:
        return [broker.pid for broker in self.brokers]

    def start(self) -> None:
        """Starts all and returns when each knows of all."""
        try:
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.wait_ready(len(self.brokers))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kills all of them: the last ones of a clean stop would wait for a quorum that is gone."""
        with contextlib.ExitStack() as stack:
            for broker in self.brokers:
                stack.callback(broker.stop, kill=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _listed_brokers(port: int) -> int:
    """0 also when there is no answer."""
    # Metadata v1 for no topic, correlation 1, null client id.
    body = b"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff" + b"\x00\x00\x00\x00"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as peer:
            peer.sendall(len(body).to_bytes(4, "big") + body)
            answer = b""
            while len(answer) < 12:
                piece = peer.recv(4096)
                if not piece:
                    return 0
                answer += piece
    except OSError:
        return 0
    return int.from_bytes(answer[8:12], "big")


def main() -> None:
    """Runs a broker in the foreground until standard input ends (for work by hand)."""
    keep = os.environ.get("TIDELOG_REFERENCE_DATA")
    with ReferenceBroker(data_dir=Path(keep) if keep else None) as broker:
        print(f"reference ready bootstrap={broker.bootstrap} pid={broker.pid}", flush=True)
        while os.read(0, 4096):
            pass


if __name__ == "__main__":
    main()

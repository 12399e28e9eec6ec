"""A broker in a process of its own, as users start it with `tidelog serve`, for tests with clients.

Owned by the test that starts it. It must never outlive that test: `stop` ends with SIGKILL.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

READY = re.compile(
    r"^tidelog ready bootstrap=(?P<bootstrap>\S+) pid=(?P<pid>\d+)( metrics=(?P<metrics>\S+))?\s*$"
)
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0


class BrokerError(Exception):
    """The broker did not start or stop as it should; carries what it wrote."""


class ServedBroker:
    """`tidelog serve` on free ports of 127.0.0.1 with the given data folder.

    `arguments` are added to the command line; `--listen`, `--data-dir` and log.dirs there win.
    `prefix` comes before it, e.g. for a network namespace, and must end in the same process.
    """

    def __init__(
        self, data_dir: Path, arguments: Sequence[str] = (), prefix: Sequence[str] = ()
    ) -> None:
        self.data_dir = data_dir
        self._prefix = list(prefix)
        self.arguments = list(arguments)
        self.bootstrap_servers = ""
        self.pid = 0
        self.metrics = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = data_dir.with_name(f"{data_dir.name}.log")

    def start(self) -> None:
        """Start and wait for the ready line."""
        self.begin_start()
        self.wait_started()

    def begin_start(self) -> None:
        """Start; `wait_started` has to follow."""
        command = [str(Path(sys.executable).with_name("tidelog")), "serve"]
        if "--listen" not in self.arguments:
            command += ["--listen", "127.0.0.1:0"]
        placed = any(word.startswith("log.dirs=") for word in self.arguments)
        if "--data-dir" not in self.arguments and not placed:
            command += ["--data-dir", str(self.data_dir)]
        self._errors.parent.mkdir(parents=True, exist_ok=True)
        with open(self._errors, "ab") as errors:
            self._process = subprocess.Popen(
                [*self._prefix, *command, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def wait_started(self) -> None:
        """Wait for the ready line. Raises BrokerError, and then it does not run."""
        line = self._first_line()
        match = READY.match(line)
        if match is None:
            self.kill()
            raise BrokerError(f"no ready line but {line!r}\n{self.log()}")
        self.bootstrap_servers = match["bootstrap"]
        self.pid = int(match["pid"])
        self.metrics = match["metrics"] or ""

    def _first_line(self) -> str:
        """The first line of the broker's output; what there is when it ends or takes too long."""
        assert self._process is not None
        assert self._process.stdout is not None
        stream = self._process.stdout.fileno()
        deadline = time.monotonic() + START_TIMEOUT_S
        seen = b""
        while b"\n" not in seen and (left_s := deadline - time.monotonic()) > 0:
            if not select.select([stream], [], [], left_s)[0]:
                break
            chunk = os.read(stream, 4096)
            if not chunk:
                break
            seen += chunk
        return seen.partition(b"\n")[0].decode(errors="replace")

    @property
    def runs(self) -> bool:
        """Whether it was started, and not stopped or killed by this object."""
        return self._process is not None

    def log(self) -> str:
        """What the broker wrote to standard error."""
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""

    def stop(self) -> int:
        """Ask it to stop cleanly (SIGTERM); returns its exit status. Kills it if it does not."""
        if self._process is None:
            return 0
        process = self._process
        process.terminate()
        try:
            status = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerError(f"did not stop in {STOP_TIMEOUT_S:.0f} s\n{self.log()}") from None
        self._forget()
        return status

    def kill(self) -> None:
        """End the supervisor with SIGKILL; its workers end by themselves."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._forget()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

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

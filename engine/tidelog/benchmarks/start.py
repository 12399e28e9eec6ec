"""How long a broker takes to start: from the start of its process until it answers, until it has
acknowledged a record.

Owned by the process of the command. The broker is started by the user's command line in a session
of its own, and everything in that session is ended afterwards. Its data is the user's: whether a
round begins with an empty disk is up to the command.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, Final

from tidelog.benchmarks.cluster import Cluster, KafkaError
from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.machine import Meter
from tidelog.benchmarks.native import now_ms
from tidelog.benchmarks.native_load import BenchError, writers
from tidelog.benchmarks.process_stats import memory
from tidelog.benchmarks.results import Round
from tidelog.benchmarks.stage import Target, Tell, opened
from tidelog.benchmarks.workloads import Workload

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 60.0
TRY_EVERY_S: Final = 0.002
TRY_TIMEOUT_S: Final = 5.0


def measure_start(target: Target, workload: Workload, tell: Tell) -> Round:
    """One start. Raises BenchError."""
    if answers(target.bootstrap):
        raise BenchError(f"{target.bootstrap} answers before the command has been started")
    tell("starting", 0.0)
    began_ns = time.monotonic_ns()
    with started(target.command) as (process, errors):
        wait_ready(process, target.bootstrap, errors)
        ready_s = (time.monotonic_ns() - began_ns) / 1e9
        with_pid = replace(target, pid=process.pid)
        with opened(with_pid, workload, tell) as stage:
            layouts = stage.make_topics()
            with writers(stage.cluster, workload, layouts, now_ms=now_ms()) as writer:
                writer.run(max_requests=1)
            first_ack = Histogram()
            first_ack.record(time.monotonic_ns() - began_ns)
            rss_mb = memory([process.pid]).rss / 1e6
    meter = Meter(0)
    figures = {"ready_s": ready_s, "broker_rss_mb": rss_mb}
    load = meter.before.load_average
    return Round(figures, {"first_ack": first_ack}, (), {}, load, load, meter.warnings())


def answers(bootstrap: str) -> bool:
    """Whether a broker answers there."""
    try:
        Cluster(bootstrap, TRY_TIMEOUT_S).close()
    except (OSError, KafkaError, ValueError, struct.error):
        return False
    return True


def wait_ready(process: subprocess.Popen[bytes], bootstrap: str, errors: IO[bytes]) -> None:
    """Until it answers ApiVersions. Raises BenchError when it ends or takes too long."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not answers(bootstrap):
        if process.poll() is not None:
            raise BenchError(
                f"the command ended with status {process.returncode}{last_line(errors)}"
            )
        if time.monotonic() > deadline_s:
            raise BenchError(f"nobody answered at {bootstrap} in {START_TIMEOUT_S:.0f} s")
        time.sleep(TRY_EVERY_S)


def last_line(errors: IO[bytes]) -> str:
    """Why it ended, if it has said so."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""


@contextmanager
def started(command: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """The process and what it says on standard error; it is ended afterwards, with its children.
    Raises BenchError."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                shlex.split(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise BenchError(f"--command {command}: {error}") from error
        try:
            yield process, errors
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end; what is left of its group after a while is killed."""
    process.terminate()
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline_s:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(TRY_EVERY_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

"""What the machine is, how busy it is, and what the broker costs, from /proc."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tidelog.benchmarks import process_stats

#: Parts of the machine's CPUs from which on others are said to disturb.
BUSY_SHARE: Final = 0.15
#: Part of a run in which a client's thread worked, from which on the client is the limit.
CLIENT_SHARE: Final = 0.9


def describe() -> dict[str, Any]:
    """For the report: nothing that names the machine or its user."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count() or 1,
        "cpus_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("tidelog", "confluent-kafka"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Reading:
    at_s: float
    machine_cpu_s: float
    broker_cpu_s: float
    client_cpu_s: float
    load_average: float


class Meter:
    """CPU of broker, client and machine over a run. pid 0: nothing is known of the broker."""

    def __init__(self, pid: int, more_pids: Sequence[int] = ()) -> None:
        self.pid = pid
        self._pids = [pid, *more_pids] if pid else []
        self.more_client_cpu_s = 0.0  # of clients in processes of their own
        self.before = self.after = self._read()

    def _read(self) -> Reading:
        return Reading(
            time.monotonic(),
            process_stats.machine_cpu_s(),
            process_stats.cpu_s(self._pids),
            sum(os.times()[:4]),
            os.getloadavg()[0],
        )

    def start(self) -> None:
        self.before = self._read()

    def finish(self) -> None:
        self.after = self._read()

    @property
    def elapsed_s(self) -> float:
        return self.after.at_s - self.before.at_s

    @property
    def broker_cpu_s(self) -> float:
        return self.after.broker_cpu_s - self.before.broker_cpu_s

    @property
    def client_cpu_s(self) -> float:
        own = self.after.client_cpu_s - self.before.client_cpu_s
        return own + self.more_client_cpu_s

    def figures(self, payload_bytes: int) -> dict[str, float]:
        """What the broker has cost, if its pid is known."""
        if not self.pid:
            return {}
        found = {
            "broker_cpu_share": self.broker_cpu_s / max(self.elapsed_s, 1e-9),
            "broker_rss_mb": process_stats.memory(self._pids).rss / 1e6,
        }
        if payload_bytes:
            found["broker_cpu_s_per_gb"] = self.broker_cpu_s * 1e9 / payload_bytes
        return found

    def warnings(self) -> list[str]:
        """Whether others used the machine."""
        cpus = os.cpu_count() or 1
        if not self.pid:
            load = self.before.load_average
            if load > cpus / 2:
                return [f"the machine was busy before the run: load average {load:.1f}"]
            return []
        machine = self.after.machine_cpu_s - self.before.machine_cpu_s
        others = machine - self.broker_cpu_s - self.client_cpu_s
        share = others / max(self.elapsed_s * cpus, 1e-9)
        if share > BUSY_SHARE:
            return [f"other processes used {share:.0%} of the machine during the run"]
        return []


def client_warning(name: str, share: float) -> list[str]:
    """share: part of the run in which the client's busiest thread worked."""
    if share <= CLIENT_SHARE:
        return []
    return [
        f"the client's {name} thread was busy for {share:.0%} of the run: the client bounds the "
        "result, not the broker"
    ]


def check_pid(pid: int) -> bool:
    """Whether a process has the pid."""
    return Path(f"/proc/{pid}/stat").exists()

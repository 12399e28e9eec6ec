"""Runs of one shape against brokers that take turns: topics, measurements, the brokers' CPU.

Owned by the process of the command. What the runs mean is up to whoever compares them
(`tidelog profile`).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from tidelog.benchmarks import process_stats
from tidelog.benchmarks.cluster import KafkaError, TopicLayout
from tidelog.benchmarks.shapes import ClusterLike, Load, Report, Workload, prepare_topic, topic_name
from tidelog.benchmarks.targets import Target, undisturbed

#: The beginning of each run, which is not measured.
RAMP_S: Final = 0.3
MAP_POPULATE: Final = 0x8000
#: Why a topic may stay after a run that has failed by itself: what ended the run is told.
LEFT_BEHIND: Final = (KafkaError, OSError, ValueError, struct.error)


@dataclass
class Limits:
    """Of each run. warm_bytes: see warm_memory, 0 for none; settle_bytes: of a broker's disk, to
    wait for after a run; wait_quiet_s: for other processes to pause;
    fine_cpu: for runs of less than a second (process_stats.fine_cpu_s)."""

    seconds: float
    warmup_s: float
    max_run_bytes: int
    warm_bytes: int = 0
    settle_bytes: int = 200_000_000
    wait_quiet_s: float = 0.0
    ramp_s: float = RAMP_S
    fine_cpu: bool = False


@dataclass(frozen=True)
class Measurement:
    """One measured run with the broker's side of it."""

    report: Report
    broker_cpu_s: float
    other_cpu_share: float  # of the machine, neither broker nor client: noise from others
    memory: process_stats.Memory
    warm_memory_s: float = 0.0

    def metric(self, name: str) -> float:
        if name == "cpu_s_per_gb":
            return self.broker_cpu_s * 1e9 / self.report.record_bytes
        if name in ("p50_us", "p99_us"):
            return self.report.latency_us[name.removesuffix("_us")]
        if name == "other_cpu_share":
            return self.other_cpu_share
        return float(getattr(self.report, name))


def warm_memory(size: int) -> float:
    """Touches so many bytes of free memory once, at most half of what is available, and gives them
    back. Returns the seconds that it took.

    A virtual machine returns free pages to its host within seconds; the first touch afterwards
    costs far more than the write it belongs to (here 2.4 CPU seconds per GB against 0.5), and
    whoever runs first would pay for all. Much more is touched than a run writes, since nothing
    says which free pages the kernel takes next.
    """
    began = time.monotonic()
    left = min(size, process_stats.available_memory() // 2)
    kept = []
    while left > 0:
        step = min(left, 1 << 28)
        kept.append(mmap.mmap(-1, step, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_POPULATE))
        left -= step
    for part in kept:
        part.close()
    return time.monotonic() - began


class Bench:
    """One target with its topics: makes them, runs, measures, removes them. As a context manager it
    leaves no topic behind, whatever ended a run. Names of topics begin with `label`."""

    def __init__(self, target: Target, limits: Limits, label: str = "side-by-side") -> None:
        self.target = target
        self.limits = limits
        self._label = label
        self._cluster: ClusterLike | None = None
        self._created: dict[str, None] = {}
        self._readable: dict[str, TopicLayout] = {}  # filled topics, kept for all rounds

    @property
    def cluster(self) -> ClusterLike:
        if self._cluster is None:
            self._cluster = self.target.cluster()
        return self._cluster

    def warm_up(self, workload: Workload) -> None:
        self._run(workload, self.limits.warmup_s)

    def measure(self, workload: Workload) -> Measurement:
        return self._run(workload, self.limits.seconds)

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._created:
            return
        # By a new connection: the old one may wait for an answer that was given up.
        with undisturbed(), contextlib.suppress(*(LEFT_BEHIND if kind else ())):
            self._cluster = None
            for name in list(self._created):
                self._delete(name)

    def _delete(self, name: str) -> None:
        self.cluster.delete_topic(name)
        self._created.pop(name, None)

    def end_of_workload(self) -> None:
        for layout in self._readable.values():
            self._delete(layout.name)
        self._readable.clear()
        self.target.settle(self.limits.settle_bytes)

    def _topic(self, workload: Workload) -> TopicLayout:
        if workload.name not in self._readable:
            if self.target.renew():
                self._cluster = None
            name = topic_name(self._label, workload)
            self._created[name] = None
            layout = prepare_topic(self.cluster, workload, name)
            if workload.kind != "fetch":
                return layout
            self._readable[workload.name] = layout
        return self._readable[workload.name]

    def _cpu_s(self) -> float:
        if self.limits.fine_cpu and self.target.pid:
            return process_stats.fine_cpu_s([self.target.pid])
        return self.target.cpu_s()

    def _run(self, workload: Workload, seconds: float) -> Measurement:
        layout = self._topic(workload)
        requests, warm_s = 0, 0.0
        if workload.kind == "produce":
            requests = max(1, self.limits.max_run_bytes // workload.batch_bytes)
            warm_s = warm_memory(self.limits.warm_bytes)
        if self.limits.wait_quiet_s > 0:
            process_stats.wait_quiet(self.limits.wait_quiet_s)
        with Load(self.cluster, workload, layout) as load:
            load.run(seconds=self.limits.ramp_s, max_requests=requests // 4)
            broker, machine = self._cpu_s(), process_stats.machine_cpu_s()
            report = load.run(seconds=seconds, max_requests=requests)
            broker = self._cpu_s() - broker
            if broker < 0:  # a thread has ended, and taken its time along
                broker = 0.0
            machine = process_stats.machine_cpu_s() - machine
        others = max(0.0, machine - broker - report.client_cpu_s)
        others_share = others / (report.elapsed_s * (os.cpu_count() or 1))
        measurement = Measurement(report, broker, others_share, self.target.memory(), warm_s)
        if workload.kind == "produce":
            self._delete(layout.name)
            self.target.settle(self.limits.settle_bytes)
        return measurement

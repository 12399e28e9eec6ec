"""Runs one shape on its contenders in turn, round by round, and measures each run.

Owner: the comparison's process. A contender is a peer with one durability. What else happens on the
machine hits all of them alike, and stands beside the figures (`other_cpu_share`).
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.versus.judge import Found, spread
from bench.versus.peers.base import FSYNC, Peer
from bench.versus.shapes import Shape
from tidelog._native.loadgen import LoadError
from tidelog.benchmarks import process_stats
from tidelog.benchmarks.cluster import KafkaError, TopicLayout
from tidelog.benchmarks.native_load import BenchError
from tidelog.benchmarks.results import Round
from tidelog.benchmarks.session import native_measure
from tidelog.benchmarks.shapes import ClusterLike, Load, Report, Workload, fill
from tidelog.benchmarks.side_by_side import RAMP_S, warm_memory
from tidelog.benchmarks.stage import Target

#: What a peer may do wrong in a workload: it is told in its cell, and the comparison goes on.
REFUSALS = (LoadError, KafkaError, BenchError, OSError, ValueError, RuntimeError, struct.error)


@dataclass(frozen=True)
class Settings:
    """How long and how much; bytes and seconds."""

    seconds: float = 3.0
    warmup_s: float = 3.0
    rounds: int = 5
    max_run_bytes: int = 2_000_000_000
    warm_bytes: int = 8_000_000_000
    settle_bytes: int = 200_000_000
    wait_quiet_s: float = 0.0


@dataclass(frozen=True)
class Measurement:
    """One measured run; `detail` is everything that the client found, as JSON has it."""

    metrics: Mapping[str, float]
    detail: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Cost:
    """What a run has cost: CPU seconds of the broker's processes, and of everybody else's as a
    part of the machine."""

    broker_cpu_s: float
    other_cpu_share: float


class Costs:
    """Reads CPU times before and after a run."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._before = (time.monotonic(), peer.cpu_s(), process_stats.machine_cpu_s())

    def until_now(self, client_cpu_s: float) -> Cost:
        began, broker, machine = self._before
        elapsed_s = max(time.monotonic() - began, 1e-9)
        broker = self._peer.cpu_s() - broker
        others = process_stats.machine_cpu_s() - machine - broker - client_cpu_s
        return Cost(broker, max(0.0, others) / (elapsed_s * (os.cpu_count() or 1)))


def of_report(report: Report, cost: Cost, memory: process_stats.Memory) -> Measurement:
    """A run for throughput. Latencies are those of requests, from when they were sent."""
    latency = report.latency_us
    return Measurement(
        {
            "requests_per_s": report.requests_per_s,
            "mb_per_s": report.mb_per_s,
            "cpu_s_per_gb": cost.broker_cpu_s * 1e9 / report.record_bytes,
            "p50_us": latency["p50"],
            "p99_us": latency["p99"],
            "p999_us": latency["p99.9"],
            "rss_mb": memory.rss / 1e6,
            "client_cpu_share": report.client_cpu_share,
            "other_cpu_share": cost.other_cpu_share,
        },
        report.to_json() | {"broker_cpu_s": round(cost.broker_cpu_s, 3), "pss_bytes": memory.pss},
    )


def of_round(found: Round, cost: Cost) -> Measurement:
    """A run for latency: from when a record was due until a consumer had it."""
    metrics = found.metrics()
    if "end_to_end_p50_us" not in metrics:
        raise BenchError("no record has reached the consumer")
    return Measurement(
        {
            "records_per_s": metrics["records_per_s"],
            "mb_per_s": metrics["mb_per_s"],
            "cpu_s_per_gb": metrics.get("broker_cpu_s_per_gb", float("nan")),
            "p50_us": metrics["end_to_end_p50_us"],
            "p99_us": metrics["end_to_end_p99_us"],
            "p999_us": metrics["end_to_end_p99.9_us"],
            "rss_mb": metrics.get("broker_rss_mb", float("nan")),
            "client_cpu_share": metrics["client_cpu_share"],
            "other_cpu_share": cost.other_cpu_share,
        },
        found.to_json(),
        # Of others the cost tells; that the rate was not kept, only this.
        [text for text in found.warnings if "of the machine" not in text],
    )


class Contender:
    """A peer with one durability in one shape: makes topics, runs, measures, removes them."""

    def __init__(self, peer: Peer, durability: str, shape: Shape, settings: Settings) -> None:
        self.peer = peer
        self.durability = durability
        self.shape = shape
        self.settings = settings
        several = FSYNC in peer.durabilities and len(peer.durabilities) > 1
        self.name = f"{peer.name} fsync" if several and durability == FSYNC else peer.name
        self._cluster: ClusterLike | None = None
        self._filled: TopicLayout | None = None  # read in every round

    def warm_up(self) -> None:
        self._run(self.settings.warmup_s)

    def measure(self) -> Measurement:
        return self._run(self.settings.seconds)

    def finish(self) -> None:
        """After the last round, or after a failed one: nothing stays behind."""
        if self._filled is not None:
            self.cluster.delete_topic(self._filled.name)
            self._filled = None
        self.peer.settle(self.settings.settle_bytes)

    @property
    def cluster(self) -> ClusterLike:
        if self._cluster is None:
            self._cluster = self.peer.cluster()
        return self._cluster

    def _run(self, seconds: float) -> Measurement:
        if self.settings.wait_quiet_s > 0:
            process_stats.wait_quiet(self.settings.wait_quiet_s)
        if self.shape.load is None:
            return self._run_latency(seconds)
        if self.shape.kind == "fetch":
            if self._filled is None:
                self._filled = self._make_topic(self.shape.load)
                fill(self.cluster, self.shape.load, self._filled)
            return self._run_load(self.shape.load, self._filled, seconds, max_requests=0)
        limit = self.settings.max_run_bytes // self.shape.nodes
        in_request = self.shape.load.batch_bytes * self.shape.load.partitions_per_request
        layout = self._make_topic(self.shape.load)
        try:
            warm_memory(self.settings.warm_bytes)
            requests = max(1, limit // in_request)
            return self._run_load(self.shape.load, layout, seconds, max_requests=requests)
        finally:
            with contextlib.suppress(*REFUSALS):
                self.cluster.delete_topic(layout.name)
                self.peer.settle(self.settings.settle_bytes)

    def _make_topic(self, workload: Workload) -> TopicLayout:
        if self.peer.renew():
            self._cluster = None
        name = f"versus-{workload.name}-{random.SystemRandom().randrange(1 << 32):08x}"
        configs = self.peer.durabilities[self.durability]
        if self.shape.replication_factor == 1:
            return self.cluster.create_topic(name, workload.partitions, configs)
        return self.cluster.create_topic(  # type: ignore[call-arg]  # who has nodes has it
            name, workload.partitions, configs, replication_factor=self.shape.replication_factor
        )

    def _run_load(
        self, workload: Workload, layout: TopicLayout, seconds: float, max_requests: int
    ) -> Measurement:
        with Load(self.cluster, workload, layout) as load:
            load.run(seconds=RAMP_S, max_requests=max_requests // 4)
            costs = Costs(self.peer)
            report = load.run(seconds=seconds, max_requests=max_requests)
            cost = costs.until_now(report.client_cpu_s)
        return of_report(report, cost, self.peer.memory())

    def _run_latency(self, seconds: float) -> Measurement:
        assert self.shape.bench is not None
        configs = self.peer.durabilities[self.durability]
        workload = replace(
            self.shape.bench,
            seconds=seconds,
            warmup_s=min(self.shape.bench.warmup_s, seconds),
            topic_configs=",".join(f"{name}={value}" for name, value in configs.items()),
        )
        first, *more = self.peer.pids or [0]
        target = Target(self.peer.bootstrap, first, more_pids=tuple(more))
        costs, client = Costs(self.peer), sum(os.times()[:4])
        found = native_measure(target, workload, lambda *_: None)
        return of_round(found, costs.until_now(sum(os.times()[:4]) - client))


def contenders(
    shape: Shape, peers: Iterable[Peer], settings: Settings
) -> tuple[list[Contender], dict[str, Found]]:
    """Who runs, and who cannot, with the reason: by the name that stands in the table."""
    able: list[Contender] = []
    unable: dict[str, Found] = {}
    for peer in peers:
        wanted = [d for d in peer.durabilities if d != FSYNC or shape.fsync]
        lacking = [need for need in sorted(shape.needs) if need in peer.cannot]
        for durability in wanted:
            one = Contender(peer, durability, shape, settings)
            if lacking:
                unable[one.name] = Found(peer.name, durability, refusal=peer.cannot[lacking[0]])
            else:
                able.append(one)
    return able, unable


#: (round from 1, contender, what was measured)
Heard = Callable[[int, Contender, Measurement], None]


def run_shape(
    shape: Shape, peers: Sequence[Peer], settings: Settings, heard: Heard
) -> tuple[dict[str, Found], dict[str, list[Measurement]]]:
    """Warm-up of each, then interleaved rounds, every second one in the opposite order. Who fails
    is left out of the rest of this shape."""
    able, found = contenders(shape, peers, settings)
    runs: dict[str, list[Measurement]] = {one.name: [] for one in able}
    failed: dict[str, str] = {}

    def attempt(one: Contender, what: Callable[[], Any]) -> Any:
        if one.name in failed:
            return None
        try:
            return what()
        except REFUSALS as error:
            failed[one.name] = in_one_line(error)
            give_up(one)
            return None

    warm: set[str] = set()
    for one in able:
        if one.peer.name not in warm:  # its other durability takes the same way
            warm.add(one.peer.name)
            attempt(one, one.warm_up)
    for number in range(1, settings.rounds + 1):
        for one in able if number % 2 else reversed(able):
            measurement = attempt(one, one.measure)
            if measurement is not None:
                runs[one.name].append(measurement)
                heard(number, one, measurement)
    for one in able:
        attempt(one, one.finish)
        found[one.name] = Found(
            one.peer.name,
            one.durability,
            {} if one.name in failed else summarise(runs[one.name]),
            failed.get(one.name, ""),
        )
    order = {peer.name: place for place, peer in enumerate(peers)}
    return dict(sorted(found.items(), key=lambda item: order[item[1].peer])), runs


def summarise(runs: Sequence[Measurement]) -> dict[str, Any]:
    """A spread of each metric."""
    return {name: spread([run.metrics[name] for run in runs]) for name in runs[0].metrics}


def give_up(one: Contender) -> None:
    """Leaves a peer that failed fit for the next shape."""
    with contextlib.suppress(*REFUSALS):
        one.finish()
    with contextlib.suppress(*REFUSALS):  # who does not come back says so in the next shape
        if not one.peer.answers():
            one.peer.restart()


def in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__

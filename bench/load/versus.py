"""Brokers side by side: python -m bench.load.versus [--targets tidelog,kafka,floor] [--json FILE]

Runs the same workloads on each broker in turn (A, B, A, B, ...) after a warm-up, so that what else
happens on the machine hits all of them, and prints medians, their spread and ratios to the first
broker's peers. CPU and memory are those of all the broker's processes.
"""

import argparse
import json
import math
import mmap
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import process_stats
from bench.load.cluster import TopicLayout
from bench.load.targets import FloorTarget, ForeignTarget, KafkaTarget, Target, TidelogTarget
from bench.load.workload import WORKLOADS, ClusterLike, Load, Report, Workload, prepare_topic

DEFAULT_WORKLOADS = ("produce-255-x1", "produce-255", "produce-16k", "produce-1m", "fetch-1m")
RAMP_S = 0.3
MAP_POPULATE = 0x8000


@dataclass(frozen=True)
class Threshold:
    """What the ratio of the first target's median to Kafka's must reach."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, ratio: float) -> bool:
        if math.isnan(ratio):
            return False
        if self.at_least is not None:
            return ratio >= self.at_least
        return self.at_most is not None and ratio <= self.at_most

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:.3g}"


THRESHOLDS: Mapping[str, Sequence[Threshold]] = {
    "produce-255": (
        Threshold("requests_per_s", at_least=3.0),
        Threshold("cpu_s_per_gb", at_most=1 / 3),
    ),
    "produce-16k": (
        Threshold("mb_per_s", at_least=2.0),
        Threshold("cpu_s_per_gb", at_most=1 / 3),
    ),
    "produce-1m": (
        Threshold("mb_per_s", at_least=2.0),
        Threshold("cpu_s_per_gb", at_most=1 / 3),
    ),
    "fetch-1m": (
        Threshold("mb_per_s", at_least=1.3),
        Threshold("cpu_s_per_gb", at_most=2 / 3),
    ),
}
METRICS = (
    "requests_per_s",
    "mb_per_s",
    "cpu_s_per_gb",
    "p50_us",
    "p99_us",
    "client_cpu_share",
    "other_cpu_share",
)

RATIOS = METRICS[:5]  # the rest tells how far to trust a run


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


@dataclass(frozen=True)
class Spread:
    """Median, and the range of the runs."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def ratio(of: float, to: float) -> float:
    return of / to if to else math.nan


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
    """One target with its topics: makes them, runs, measures, removes them."""

    def __init__(self, target: Target, args: argparse.Namespace) -> None:
        self.target = target
        self.args = args
        self._cluster: ClusterLike | None = None
        self._readable: dict[str, TopicLayout] = {}  # filled topics, kept for all rounds

    @property
    def cluster(self) -> ClusterLike:
        if self._cluster is None:
            self._cluster = self.target.cluster()
        return self._cluster

    def warm_up(self, workload: Workload) -> None:
        self._run(workload, self.args.warmup)

    def measure(self, workload: Workload) -> Measurement:
        return self._run(workload, self.args.seconds)

    def end_of_workload(self) -> None:
        for layout in self._readable.values():
            self.cluster.delete_topic(layout.name)
        self._readable.clear()
        self.target.settle(self.args.settle_bytes)

    def _topic(self, workload: Workload) -> TopicLayout:
        if workload.name not in self._readable:
            if self.target.renew():
                self._cluster = None
            layout = prepare_topic(self.cluster, workload, label="versus")
            if workload.kind != "fetch":
                return layout
            self._readable[workload.name] = layout
        return self._readable[workload.name]

    def _run(self, workload: Workload, seconds: float) -> Measurement:
        layout = self._topic(workload)
        requests, warm_s = 0, 0.0
        if workload.kind == "produce":
            requests = max(1, self.args.max_run_bytes // workload.batch_bytes)
            warm_s = warm_memory(self.args.warm_bytes)
        if self.args.wait_quiet > 0:
            process_stats.wait_quiet(self.args.wait_quiet)
        with Load(self.cluster, workload, layout) as load:
            load.run(seconds=RAMP_S, max_requests=requests // 4)
            broker, machine = self.target.cpu_s(), process_stats.machine_cpu_s()
            report = load.run(seconds=seconds, max_requests=requests)
            broker = self.target.cpu_s() - broker
            machine = process_stats.machine_cpu_s() - machine
        others = max(0.0, machine - broker - report.client_cpu_s)
        others_share = others / (report.elapsed_s * (os.cpu_count() or 1))
        measurement = Measurement(report, broker, others_share, self.target.memory(), warm_s)
        if workload.kind == "produce":
            self.cluster.delete_topic(layout.name)
            self.target.settle(self.args.settle_bytes)
        return measurement


def run_workload(
    benches: Sequence[Bench], workload: Workload, rounds: int
) -> dict[str, list[Measurement]]:
    """Warm-up of each, then interleaved rounds; measurements by target name."""
    results: dict[str, list[Measurement]] = {bench.target.name: [] for bench in benches}
    for bench in benches:
        bench.warm_up(workload)
    for number in range(rounds):
        for bench in benches:
            measurement = bench.measure(workload)
            results[bench.target.name].append(measurement)
            progress(workload, number, bench.target.name, measurement)
    for bench in benches:
        bench.end_of_workload()
    return results


def progress(workload: Workload, number: int, name: str, m: Measurement) -> None:
    print(
        f"  {workload.name} round {number + 1} {name}: {m.report.requests_per_s:,.0f}/s, "
        f"{m.report.mb_per_s:,.1f} MB/s, {m.metric('cpu_s_per_gb'):,.2f} CPU s/GB, "
        f"client {m.report.client_cpu_share:.0%}, others {m.other_cpu_share:.0%}, "
        f"memory warmed in {m.warm_memory_s:.1f} s",
        file=sys.stderr,
        flush=True,
    )


def summarise(results: Mapping[str, Sequence[Measurement]]) -> dict[str, dict[str, Spread]]:
    return {
        name: {metric: spread([m.metric(metric) for m in runs]) for metric in METRICS}
        for name, runs in results.items()
    }


def judge(
    workload: str, summary: Mapping[str, Mapping[str, Spread]], subject: str, peer: str
) -> Iterator[tuple[Threshold, float, bool]]:
    """(threshold, ratio of medians, whether it holds) for each threshold of the workload."""
    if subject not in summary or peer not in summary:
        return
    for threshold in THRESHOLDS.get(workload, ()):
        of = summary[subject][threshold.metric].median
        to = summary[peer][threshold.metric].median
        found = ratio(of, to)
        yield threshold, found, threshold.holds(found)


def table(
    workload: str, summary: Mapping[str, Mapping[str, Spread]], args: argparse.Namespace
) -> str:
    head = f"{workload:<16}" + "".join(f"{metric:>25}" for metric in METRICS)
    lines = [head]
    for name, metrics in summary.items():
        cells = "".join(f"{show(metrics[metric]):>25}" for metric in METRICS)
        lines.append(f"  {name:<14}{cells}")
    names = list(summary)
    for other in names[1:]:
        cells = "".join(
            f"{ratio(summary[names[0]][m].median, summary[other][m].median):>25.2f}" for m in RATIOS
        )
        lines.append(f"  {'ratio to ' + other:<14}{cells}")
    for threshold, found, holds in judge(workload, summary, args.subject, args.peer):
        verdict = "met" if holds else "MISSED"
        lines.append(f"  {threshold.metric} ratio {found:.2f}, wanted {threshold}: {verdict}")
    return "\n".join(lines)


def show(s: Spread) -> str:
    digits = 0 if s.median >= 1000 else 2
    return f"{s.median:,.{digits}f} ({s.low:,.{digits}f}-{s.high:,.{digits}f})"


def to_json(
    results: Mapping[str, Mapping[str, Sequence[Measurement]]], args: argparse.Namespace
) -> dict[str, Any]:
    workloads: dict[str, Any] = {}
    for workload, by_target in results.items():
        summary = summarise(by_target)
        workloads[workload] = {
            "medians": {
                name: {metric: vars(value) for metric, value in metrics.items()}
                for name, metrics in summary.items()
            },
            "thresholds": [
                {"metric": t.metric, "wanted": str(t), "ratio": found, "met": holds}
                for t, found, holds in judge(workload, summary, args.subject, args.peer)
            ],
            "runs": {
                name: [
                    m.report.to_json()
                    | {
                        "broker_cpu_s": round(m.broker_cpu_s, 3),
                        "cpu_s_per_gb": round(m.metric("cpu_s_per_gb"), 4),
                        "other_cpu_share": round(m.other_cpu_share, 3),
                        "warm_memory_s": round(m.warm_memory_s, 3),
                        "rss_bytes": m.memory.rss,
                        "pss_bytes": m.memory.pss,
                    }
                    for m in runs
                ]
                for name, runs in by_target.items()
            },
        }
    return {"cpus": os.cpu_count(), "unix_time": int(time.time()), "workloads": workloads}


def make_target(name: str, parent: Path, args: argparse.Namespace) -> Target:
    cpus = args.cpu_broker or ()
    if name == "tidelog":
        return TidelogTarget(parent / name, cpus, args.workers, args.set or ())
    if name == "kafka":
        return KafkaTarget(parent / name, cpus)
    if name == "floor":
        return FloorTarget(parent / name, cpus, args.floor_option or ())
    if "=" in name:
        return ForeignTarget(parent / name.partition("=")[0], name)
    raise SystemExit(f"no such target: {name}")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--targets", default="tidelog,kafka", help="tidelog, kafka, floor, or NAME=HOST:PORT[@PID]")
    add("--workloads", default=",".join(DEFAULT_WORKLOADS))
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=3.0, help="of each measured run")
    add("--warmup", type=float, default=5.0, help="seconds per workload and broker")
    add("--in-flight", type=int, help="for all workloads, instead of each one's own")
    add("--connections", type=int)
    add("--partitions", type=int)
    add("--partitions-per-request", type=int)
    add("--acks", type=int, choices=(-1, 0, 1))
    add("--idempotent", action="store_true", default=None)
    add("--discard", action="store_true", default=None)
    add("--fill-bytes", type=int)
    add("--workers", type=int, default=1, help="Tidelog's")
    add("--set", action="append", metavar="KEY=VALUE", help="Tidelog's configs")
    add("--floor-option", action="append", help="for the floor, e.g. --preallocate")
    add("--data-parent", type=Path, help="where all brokers keep their data while they run")
    add("--max-run-bytes", type=int, default=2_000_000_000)
    add("--warm-bytes", type=int, default=8_000_000_000, help="see warm_memory")
    add("--settle-bytes", type=int, default=200_000_000, help="disk use to wait for after a run")
    add("--wait-quiet", type=float, default=0.0, metavar="SECONDS", help="for others to pause")
    add("--cpu-client", type=int, action="append", help="pin the client (repeatable)")
    add("--cpu-broker", type=int, action="append", help="pin every broker (repeatable)")
    add("--subject", default="tidelog", help="whose ratio to --peer the thresholds are for")
    add("--peer", default="kafka")
    add("--json", type=Path, help="write everything to this file")
    return parser.parse_args(argv)


def chosen_workloads(args: argparse.Namespace) -> list[Workload]:
    names = "in_flight connections partitions partitions_per_request acks idempotent fill_bytes"
    changes: dict[str, Any] = {
        name: getattr(args, name) for name in names.split() if getattr(args, name) is not None
    }
    workloads = [replace(WORKLOADS[name], **changes) for name in args.workloads.split(",")]
    if args.discard:
        workloads = [replace(w, discard=w.kind == "fetch") for w in workloads]
    return workloads


def main(argv: list[str] | None = None) -> int:
    """0 when every threshold that could be judged is met, else 1."""
    args = parse_arguments(argv)
    if args.cpu_client:
        os.sched_setaffinity(0, args.cpu_client)
    parent = Path(tempfile.mkdtemp(prefix="tidelog-versus-", dir=args.data_parent))
    results: dict[str, dict[str, list[Measurement]]] = {}
    missed = 0
    try:
        with ExitStack() as stack:
            targets = [make_target(name, parent, args) for name in args.targets.split(",")]
            benches = [Bench(stack.enter_context(target), args) for target in targets]
            for target in targets:
                idle = target.memory().rss / 1e6
                print(
                    f"{target.name}: up in {target.start_s:.2f} s, {idle:,.0f} MB idle", flush=True
                )
            for workload in chosen_workloads(args):
                results[workload.name] = run_workload(benches, workload, args.rounds)
                summary = summarise(results[workload.name])
                print(table(workload.name, summary, args), flush=True)
                judged = judge(workload.name, summary, args.subject, args.peer)
                missed += sum(not holds for _, _, holds in judged)
            for target in targets:
                print(f"{target.name}: {target.memory().rss / 1e6:,.0f} MB resident at the end")
    finally:
        shutil.rmtree(parent, ignore_errors=True)
        if args.json and results:
            args.json.write_text(json.dumps(to_json(results, args), indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What is run, and what has to come out: the table of workloads with their thresholds.

Pure data. A batch is encoded once and sent again and again by one native client; the
latency shapes are those of `tidelog bench`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from bench.versus.judge import BEST_ON_DISK, FLOOR, Threshold
from tidelog.benchmarks.shapes import WORKLOADS, Workload
from tidelog.benchmarks.workloads import WORKLOADS as BENCH_WORKLOADS
from tidelog.benchmarks.workloads import Workload as BenchWorkload


@dataclass(frozen=True)
class Shape:
    """`load` is run for throughput, `bench` for latency: one of them. `fsync`: runs a second time
    with an fsync before each answer, beside the first. `needs`: see peers.base.FEATURES."""

    name: str
    text: str
    load: Workload | None = None
    bench: BenchWorkload | None = None
    fsync: bool = False
    nodes: int = 1
    needs: frozenset[str] = field(default_factory=frozenset)
    headline: str = "mb_per_s"
    thresholds: tuple[Threshold, ...] = ()

    @property
    def replication_factor(self) -> int:
        return self.nodes

    @property
    def kind(self) -> str:
        """ "produce", "fetch" or "latency"."""
        return self.load.kind if self.load else "latency"


def _rate(metric: str, floor: float, peer: float) -> tuple[Threshold, ...]:
    """At least so much of the floor, and so many times the best peer on disk."""
    return (
        Threshold(metric, FLOOR, at_least=floor),
        Threshold(metric, BEST_ON_DISK, at_least=peer, floor_bound=True),
    )


def _cpu(at_most: float) -> Threshold:
    return Threshold("cpu_s_per_gb", "kafka", at_most=at_most)


def _replicated(name: str, text: str, of: str, peer: float) -> Shape:
    """Not bound by the floor: it does not replicate."""
    base = WORKLOADS[of]
    return Shape(
        name,
        text,
        Workload(name, "produce", base.batch_bytes, in_flight=base.in_flight, acks=-1),
        nodes=3,
        needs=frozenset({"nodes"}),
        thresholds=(
            Threshold("mb_per_s", "kafka", at_least=peer),
            Threshold("p99_us", "kafka", at_most=1.0),
        ),
    )


def _latency(name: str, text: str, of: str, **options: bool) -> Shape:
    return Shape(
        name,
        text,
        bench=BENCH_WORKLOADS[of],
        needs=frozenset({"latency"}),
        headline="p99_us",
        thresholds=tuple(
            Threshold(metric, "kafka", below=1.0) for metric in ("p50_us", "p99_us", "p999_us")
        ),
        **options,
    )


#: By name, in the order of the tables.
SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape(
            "produce-255-x1",
            "produce 255 B, 1 in flight",
            WORKLOADS["produce-255-x1"],
            fsync=True,
            headline="requests_per_s",
            thresholds=_rate("requests_per_s", 0.8, 1.5),
        ),
        Shape(
            "produce-255",
            "produce 255 B, 64 in flight",
            WORKLOADS["produce-255"],
            fsync=True,
            headline="requests_per_s",
            thresholds=_rate("requests_per_s", 0.5, 8.0),
        ),
        Shape(
            "produce-16k",
            "produce 16 KiB, 8 in flight",
            WORKLOADS["produce-16k"],
            fsync=True,
            thresholds=(*_rate("mb_per_s", 0.6, 3.0), _cpu(1 / 4)),
        ),
        Shape(
            "produce-1m",
            "produce 1 MB, 4 in flight",
            WORKLOADS["produce-1m"],
            fsync=True,
            thresholds=_rate("mb_per_s", 0.7, 2.2),
        ),
        Shape(
            "fetch-1m",
            "fetch 1 MiB",
            WORKLOADS["fetch-1m"],
            thresholds=(*_rate("mb_per_s", 0.85, 1.4), _cpu(2 / 3)),
        ),
        Shape(
            "connections-50",
            "50 connections over 16 partitions, 1 KiB, 1 in flight on each",
            Workload("connections-50", "produce", 1024, connections=50, partitions=16),
            fsync=True,
            headline="requests_per_s",
        ),
        Shape(
            "partitions-1000",
            "1,000 partitions, a batch of 255 B for 100 of them in each request, 4 in flight",
            Workload(
                "partitions-1000",
                "produce",
                255,
                in_flight=4,
                partitions=1000,
                partitions_per_request=100,
            ),
            headline="requests_per_s",
        ),
        Shape(
            "idempotent-16k",
            "idempotent batches of 16 KiB, acks=all, 5 in flight",
            Workload("idempotent-16k", "produce", 16_384, in_flight=5, acks=-1, idempotent=True),
            needs=frozenset({"idempotence"}),
        ),
        _latency("latency", "end to end, 20,000 records/s of 1 KiB, acks=1", "latency", fsync=True),
        _latency("latency-acks-all", "the same, acks=all", "latency-acks-all"),
        _replicated("replicated-16k", "3 copies, acks=all, 16 KiB, 8 in flight", "produce-16k", 3),
        _replicated("replicated-1m", "3 copies, acks=all, 1 MB, 4 in flight", "produce-1m", 2),
        Shape(
            "latency-replicated",
            "end to end as above, 3 copies, acks=all",
            bench=replace(BENCH_WORKLOADS["latency-acks-all"], replication_factor=3),
            nodes=3,
            needs=frozenset({"latency", "nodes"}),
            headline="p99_us",
        ),
    )
}

"""The floor, and Tidelog beside it under the same load.

Owned by the process of the command; floor and broker are processes that it starts in the folder, or
a broker that runs already. Both get the same requests from one native client, in turn.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tidelog._native.loadgen import LoadError
from tidelog.benchmarks.cluster import KafkaError
from tidelog.benchmarks.machine import BUSY_SHARE, CLIENT_SHARE
from tidelog.benchmarks.native_load import BenchError
from tidelog.benchmarks.shapes import WORKLOADS, Workload
from tidelog.benchmarks.side_by_side import Bench, Measurement
from tidelog.benchmarks.side_by_side import Limits as RunLimits
from tidelog.benchmarks.targets import FloorTarget, ForeignTarget, Target, TidelogTarget
from tidelog.profiling.gather import Grid, Limits, ProfileError, tables_of
from tidelog.profiling.results import Column, Section

Tell = Callable[[str, float], None]
Sampled = Callable[[Bench, str, Workload], None]

FLOOR: Final = "floor"
BROKER: Final = "tidelog"
LABEL: Final = "tidelog-profile"


@dataclass(frozen=True)
class Shape:
    """bytes_share: of all that may be written, for the runs of this shape. The large ones write
    as fast as the disk's cache takes it, the small ones next to nothing."""

    workload: Workload
    name: str
    bytes_share: float


SHAPES: Final = (
    Shape(WORKLOADS["produce-255-x1"], "produce 255 B, 1 in flight", 0.05),
    Shape(WORKLOADS["produce-255"], "produce 255 B, 64 in flight", 0.05),
    Shape(WORKLOADS["produce-16k"], "produce 16 KiB, 8 in flight", 0.2),
    Shape(WORKLOADS["produce-1m"], "produce 1 MB, 4 in flight", 0.6),
    Shape(WORKLOADS["fetch-1m"], "fetch 1 MiB", 0.1),
)
#: Part of a run that is not measured: connections grow their windows, files their first pages.
RAMP_SHARE: Final = 0.2
#: What a fetch reads is written before, at most so much.
FILL_BYTES_MAX: Final = 512_000_000
#: Free memory is touched before a run that writes: so many times what it writes.
WARM_FACTOR: Final = 4


@dataclass(frozen=True)
class BrokerPlace:
    """A broker that runs already. pid: of its process, 0 when not known."""

    bootstrap: str = ""
    pid: int = 0


def needed_bytes(limits: Limits, sides: int) -> int:
    """That lie on the disk at the same time: the fetched data of all, and one run's."""
    largest = max(run_bytes(limits, shape, sides) for shape in SHAPES)
    return sides * fill_bytes(limits, sides) + 2 * largest


def run_bytes(limits: Limits, shape: Shape, sides: int) -> int:
    """That one run writes at most, its ramp included."""
    runs = (limits.rounds + 1) * sides
    return max(shape.workload.batch_bytes, int(limits.write_bytes * shape.bytes_share / runs))


def fill_bytes(limits: Limits, sides: int) -> int:
    share = next(shape.bytes_share for shape in SHAPES if shape.workload.kind == "fetch")
    return max(8 << 20, min(FILL_BYTES_MAX, int(limits.write_bytes * share / sides)))


class BrokerTables:
    """Takes the figures of each round, by side."""

    def __init__(self, sides: Sequence[str]) -> None:
        both = len(sides) == 2

        def columns(unit: str, better: str, ratio: str) -> list[Column]:
            found = [Column(side, unit, better) for side in sides]
            return [*found, Column(f"of the {FLOOR}", "", ratio)] if both else found

        self._grids = {
            "requests_per_s": Grid(
                "requests", "load", columns("1/s", "higher", "higher"), "Answered in a second."
            ),
            "mb_per_s": Grid(
                "throughput", "load", columns("MB/s", "higher", "higher"), "Of record batches."
            ),
            "cpu_s_per_gb": Grid(
                "CPU",
                "load",
                columns("CPU s/GB", "lower", "lower"),
                "Of all threads and processes, for a GB of record batches.",
            ),
            "p50_us": Grid("latency, median", "load", columns("µs", "lower", "lower")),
            "p99_us": Grid("latency, 99 %", "load", columns("µs", "lower", "lower")),
            "client_cpu_share": Grid(
                "the client",
                "load",
                [Column(side, "of one CPU", "") for side in sides],
                f"How busy the client's thread was; from {CLIENT_SHARE:g} on it is the limit.",
            ),
        }
        self._sides = sides

    def add(self, name: str, found: Mapping[str, Measurement]) -> None:
        """One round of a shape, by side."""
        for metric, grid in self._grids.items():
            values = {side: one.metric(metric) for side, one in found.items()}
            for side in self._sides:
                grid.add(name, side, values[side])
            if len(values) == 2 and metric != "client_cpu_share":
                base = values[FLOOR]
                grid.add(name, f"of the {FLOOR}", values[BROKER] / base if base else math.nan)

    def section(
        self,
        limits: Limits,
        facts: Mapping[str, object],
        notes: Sequence[str],
        warnings: Sequence[str],
    ) -> Section:
        both = len(self._sides) == 2
        text = (
            "The floor is a native loop that only receives, checks the CRC, writes and answers, or "
            "looks up and sends: the least that any broker must do."
        )
        if both:
            text += " Beside it a broker under the same load, round by round in turn."
        return Section(
            "broker" if both else "floor",
            "Floor and broker" if both else "Floor",
            text,
            {"rounds": limits.rounds, **facts},
            tables_of(list(self._grids.values())),
            notes=notes,
            warnings=warnings,
        )


def measure_brokers(
    folder: Path,
    limits: Limits,
    place: BrokerPlace,
    floor_only: bool,
    tell: Tell,
    sampled: Sampled | None = None,
) -> Section:
    """`sampled` gets the broker once more after the rounds of each shape. Raises ProfileError."""
    sides = [FLOOR] if floor_only else [FLOOR, BROKER]
    tables, warnings = BrokerTables(sides), Warnings()
    with plain_errors(), ExitStack() as stack:
        targets: list[Target] = [FloorTarget(folder / FLOOR)]
        if not floor_only and place.bootstrap:
            spec = f"{BROKER}={place.bootstrap}@{place.pid}"
            targets.append(ForeignTarget(folder / BROKER, spec))
        elif not floor_only:
            targets.append(TidelogTarget(folder / BROKER))
        run_limits = RunLimits(limits.step_s(len(SHAPES) * len(sides)), 0.0, 0, fine_cpu=True)
        run_limits.ramp_s = run_limits.seconds * RAMP_SHARE
        run_limits.seconds -= run_limits.ramp_s
        run_limits.warmup_s = run_limits.ramp_s
        for target in targets:
            stack.enter_context(target)
        benches = [stack.enter_context(Bench(target, run_limits, LABEL)) for target in targets]
        for number, shape in enumerate(SHAPES):
            run_limits.max_run_bytes = run_bytes(limits, shape, len(sides)) * 4 // 5
            run_limits.warm_bytes = run_limits.max_run_bytes * WARM_FACTOR
            workload = prepared(shape.workload, limits, len(sides))
            for done, found in enumerate(rounds(benches, workload, limits.rounds)):
                part = (number + (done + 1) / limits.rounds) / len(SHAPES)
                tell(shape.name, part)
                tables.add(shape.name, found)
                warnings.look(shape.name, found)
                if done + 1 == limits.rounds and sampled is not None:
                    sampled(benches[-1], shape.name, workload)
    facts = {"seconds of a run": round(run_limits.seconds, 4), "broker": described(place)}
    if floor_only:
        del facts["broker"]
    notes = []
    if place.bootstrap and not place.pid:
        notes.append(
            "without --pid nothing is known of the broker's CPU, and it counts as another process"
        )
    return tables.section(limits, facts, notes, warnings.texts())


def described(place: BrokerPlace) -> str:
    return "one that runs" if place.bootstrap else "one worker of its own, page cache durability"


def prepared(workload: Workload, limits: Limits, sides: int) -> Workload:
    if workload.kind != "fetch":
        return workload
    return replace(workload, fill_bytes=fill_bytes(limits, sides))


def rounds(
    benches: Sequence[Bench], workload: Workload, count: int
) -> Iterator[dict[str, Measurement]]:
    """A warm-up of each, then rounds in turn, in changing order."""
    for bench in benches:
        bench.warm_up(workload)
    for number in range(count):
        order = benches if number % 2 == 0 else list(reversed(benches))
        yield {bench.target.name: bench.measure(workload) for bench in order}
    for bench in benches:
        bench.end_of_workload()


class Warnings:
    """What makes figures doubtful."""

    def __init__(self) -> None:
        self._client: dict[str, float] = {}
        self._others = 0.0
        self._disturbed: dict[str, None] = {}

    def look(self, name: str, found: Mapping[str, Measurement]) -> None:
        for side, one in found.items():
            what = f"{name}, {side}"
            if one.report.client_cpu_share > CLIENT_SHARE:
                share = max(self._client.get(what, 0.0), one.report.client_cpu_share)
                self._client[what] = share
            if one.other_cpu_share > BUSY_SHARE:
                self._others = max(self._others, one.other_cpu_share)
                self._disturbed[name] = None

    def texts(self) -> list[str]:
        found = [
            f"{what}: the client's thread was busy for up to {min(share, 1):.0%} of a run, so the "
            "client bounds the figure"
            for what, share in self._client.items()
        ]
        if self._disturbed:
            found.append(
                f"others used up to {self._others:.0%} of the machine during runs of "
                f"{'; '.join(self._disturbed)}"
            )
        return found


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raises ProfileError for what a broker or the floor does."""
    try:
        yield
    except (BenchError, KafkaError, LoadError, ValueError) as error:
        raise ProfileError(str(error)) from error
    except struct.error as error:
        raise ProfileError("an answer that is not Kafka's protocol") from error
    except OSError as error:
        raise ProfileError(error.strerror or str(error)) from error

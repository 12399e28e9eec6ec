"""Cost against size: python -m bench.load.scaling [--curves partitions,connections,log,workers]
[--quick] [--json FILE] [--svg DIR]

For each curve a fresh broker at each size (the defaults of `tidelog serve`, one worker unless that
is the curve):

- partitions: produce of one 1 KiB batch a request over all partitions, eight connections with eight
  requests on the wire each: requests a second, CPU of one, memory of the broker, time to create
  them, time of the first append to each (its files are made then)
- connections: 255 B batches, one on the wire for each connection, 16 partitions; and what an idle
  connection holds in memory
- log: how long a start takes and a look-up (a fetch of 4 KiB at a random offset, p50 and p99), with
  a log of so many GB in segments of 1 GiB. Its files are sparse: real index files, a real batch
  wherever it is going to be read, nothing in between
- workers: 16 KiB batches to 16 partitions over 8 connections

Figures are medians of --rounds. The sizes are stated in CURVES; --quick leaves out the large ones.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import struct
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from tidelog.benchmarks.batches import sized_batch
from tidelog.benchmarks.cluster import Cluster, Control, TopicLayout, parse_address
from tidelog.benchmarks.plots import significant
from tidelog.benchmarks.requests import API_FETCH, API_VERSIONS, fetch_request
from tidelog.benchmarks.shapes import Load, Workload
from tidelog.benchmarks.svg import Axis, Line, plot
from tidelog.benchmarks.targets import TidelogTarget
from tidelog.storage.checkpoints import (
    RECOVERY_POINT_CHECKPOINT,
    REPLICATION_CHECKPOINT,
    write_offsets,
)
from tidelog.storage.segment_files import (
    INDEX_SUFFIX,
    LOG_SUFFIX,
    SNAPSHOT_SUFFIX,
    TIME_INDEX_SUFFIX,
    file_name,
)

GIB = 1 << 30
SLOT_BYTES = 4096
SLOTS = GIB // SLOT_BYTES
LOOKUPS = 2_000
READABLE_PER_SEGMENT = 64
WARM_S = 0.5

Figures = dict[str, float]


@dataclass(frozen=True)
class Curve:
    """measure: (folder, size, seconds) -> figures; `law` is what the design promises."""

    sizes: Sequence[int]
    quick: Sequence[int]
    measure: Callable[[Path, int, float], Figures]
    law: str


def produced(target: TidelogTarget, layout: TopicLayout, workload: Workload, s: float) -> Figures:
    """Requests a second, and the broker's CPU of one."""
    cluster = target.cluster()
    with Load(cluster, workload, layout) as load:
        load.run(seconds=WARM_S)
        cpu_s = target.cpu_s()
        report = load.run(seconds=s)
        cpu_s = target.cpu_s() - cpu_s
    requests = report.counts["requests"]
    return {
        "requests/s": report.requests_per_s,
        "CPU us/request": cpu_s * 1e6 / max(requests, 1),
        "p99 us": report.latency_us["p99"],
    }


def partitions(folder: Path, size: int, seconds: float) -> Figures:
    with TidelogTarget(folder, workers=1) as target:
        at_rest = target.memory().pss
        began = time.monotonic()
        layout = target.cluster().create_topic("many", size)
        create_s = time.monotonic() - began
        held = target.memory().pss - at_rest
        workload = Workload("many", "produce", 1024, in_flight=8, connections=min(8, size))
        with Load(target.cluster(), workload, layout) as load:
            began = time.monotonic()
            load.run(max_requests=size)
            first_s = time.monotonic() - began
        found = produced(target, layout, workload, seconds)
        return found | {
            "create s": create_s,
            "first appends s": first_s,
            "broker MB": target.memory().pss / 1e6,
            "kB/partition at rest": held / 1e3 / size,
        }


def connections(folder: Path, size: int, seconds: float) -> Figures:
    with TidelogTarget(folder, workers=1) as target, ExitStack() as idle:
        layout = target.cluster().create_topic("t", 16)
        at_rest = target.memory().pss
        for _ in range(size):
            control = Control(parse_address(target.bootstrap))
            idle.callback(control.close)
            control.request(API_VERSIONS, 0, b"")
        held = target.memory().pss - at_rest
        idle.close()
        workload = Workload("each", "produce", 255, connections=size)
        found = produced(target, layout, workload, seconds)
        return found | {
            "broker MB": target.memory().pss / 1e6,
            "kB/idle connection": held / 1e3 / size,
        }


def workers(folder: Path, size: int, seconds: float) -> Figures:
    with TidelogTarget(folder, workers=size) as target:
        layout = target.cluster().create_topic("t", 16)
        workload = Workload("16k", "produce", 16_384, in_flight=8, connections=8)
        found = produced(target, layout, workload, seconds)
        return found | {"broker MB": target.memory().pss / 1e6}


# --- a log of any size ---------------------------------------------------------------------------


class SparseLog:
    """Fills the folder of a partition that holds nothing else. Batches are SLOT_BYTES long and hold
    one record, so that offset n lies at n * SLOT_BYTES; only `readable` offsets are written.
    """

    def __init__(self, folder: Path, size_gib: int, rng: random.Random) -> None:
        self.folder = folder
        self.readable: list[int] = []
        self.end = size_gib * SLOTS
        self._rng = rng
        self._index = b"".join(struct.pack(">ii", i, i * SLOT_BYTES) for i in range(1, SLOTS))
        batch = sized_batch(SLOT_BYTES, 1_700_000_000_000, record_bytes=SLOT_BYTES)
        assert batch.record_count == 1
        self._batch = batch.data
        # What says that no producer is known: without it a start reads everything to learn that.
        snapshot = next(folder.glob(f"*{SNAPSHOT_SUFFIX}")).read_bytes()
        for old in folder.glob("0*"):
            old.unlink()
        for segment in range(size_gib):
            self._write(segment * SLOTS)
        # The active one holds a batch of its own, behind all others.
        active = folder / file_name(self.end, LOG_SUFFIX)
        active.write_bytes(self._at(self.end))
        self.end += 1
        (folder / file_name(self.end, SNAPSHOT_SUFFIX)).write_bytes(snapshot)

    def _at(self, offset: int) -> bytes:
        """The batch with that base offset, which its CRC does not cover."""
        return struct.pack(">q", offset) + self._batch[8:]

    def _write(self, base: int) -> None:
        slots = {0, SLOTS - 1, *self._rng.sample(range(SLOTS), READABLE_PER_SEGMENT)}
        with (self.folder / file_name(base, LOG_SUFFIX)).open("wb") as log:
            log.truncate(GIB)
            for slot in sorted(slots):
                os.pwrite(log.fileno(), self._at(base + slot), slot * SLOT_BYTES)
        (self.folder / file_name(base, INDEX_SUFFIX)).write_bytes(self._index)
        last = struct.pack(">qi", 1_700_000_000_000, SLOTS - 1)
        (self.folder / file_name(base, TIME_INDEX_SUFFIX)).write_bytes(last)
        self.readable += [base + slot for slot in slots]


def log(folder: Path, size: int, seconds: float) -> Figures:
    settings = (
        "log.retention.ms=-1",
        f"log.segment.bytes={GIB}",
        "log.index.size.max.bytes=10485760",
    )
    with TidelogTarget(folder, workers=1, settings=settings) as target:
        cluster = target.cluster()
        cluster.create_topic("long", 1)
        with Load(cluster, Workload("one", "produce", 255), cluster.layout("long")) as load:
            load.run(max_requests=1)
        target.stop()
        node = folder / "data" / "node-1"
        made = SparseLog(node / "long-0", size, random.Random(size))
        for name in (RECOVERY_POINT_CHECKPOINT, REPLICATION_CHECKPOINT):
            write_offsets(str(node / name), {("long", 0): made.end})
        began = time.monotonic()
        target.start()
        start_s = time.monotonic() - began
        looked_up = look_up(target, made)
        return {
            "start s": start_s,
            "start CPU s": target.cpu_s(),
            **looked_up,
            "broker MB": target.memory().pss / 1e6,
        }


def look_up(target: TidelogTarget, made: SparseLog) -> Figures:
    """Fetches at random offsets; each answer has to hold the batch that was asked for."""
    cluster = Cluster(target.bootstrap)
    layout = cluster.layout("long")
    if cluster.offsets(layout, 0) != (0, made.end):
        raise SystemExit(f"the log was not taken as it is: {cluster.offsets(layout, 0)}")
    times_us = []
    with Control(layout.leaders[0]) as control:
        for offset in random.Random(1).choices(made.readable, k=LOOKUPS):
            request = fetch_request(
                4,
                {"long": {0: (offset, offset)}},
                max_bytes=SLOT_BYTES,
                partition_max_bytes=SLOT_BYTES,
            )
            began = time.perf_counter()
            answer = control.request(API_FETCH, 4, request.body)
            times_us.append((time.perf_counter() - began) * 1e6)
            if struct.pack(">q", offset) != answer.data[-SLOT_BYTES : 8 - SLOT_BYTES]:
                raise SystemExit(f"offset {offset} was not answered with its batch")
    cuts = quantiles(times_us, n=100)
    return {"look-up p50 us": cuts[49], "look-up p99 us": cuts[98]}


CURVES: Mapping[str, Curve] = {
    "partitions": Curve(
        (1, 10, 100, 1_000, 10_000), (1, 10, 100), partitions,
        "a request costs the same whatever the number of partitions; memory grows with it",
    ),
    "connections": Curve(
        (1, 10, 100, 1_000, 5_000), (1, 10, 100), connections,
        "a request costs the same whatever the number of connections; memory grows with it",
    ),
    "log": Curve(
        (1, 10, 30, 100), (1, 10), log,
        "a start looks at every segment's files, a look-up at log2(segments) names and "
        "log2(entries) of one index",
    ),
    "workers": Curve(
        tuple(range(1, (os.cpu_count() or 1) + 1)), (1,), workers,
        "a worker is a process with partitions of its own: nothing is shared but the machine",
    ),
}  # fmt: skip


# --- what is shown -------------------------------------------------------------------------------

STYLE = (
    "<style>text{font:12px sans-serif;fill:#555}text.x{text-anchor:middle}text.y{text-anchor:end}"
    "path,polyline{fill:none}path.grid{stroke:#ddd}polyline,path{stroke-width:2}"
    ".c0{stroke:#1f6feb}.c1{stroke:#d9822b}</style>"
)


def picture(name: str, figure: str, points: Sequence[tuple[int, float]]) -> str:
    """A figure over the size, as an SVG of its own; sizes are logarithmic."""
    top = max(value for _, value in points) * 1.1 or 1.0
    x = Axis(
        0, max(1.0, math.log10(points[-1][0])),
        [(math.log10(size), f"{size:,}") for size, _ in points], name,
    )  # fmt: skip
    y = Axis(0, top, [(top * i / 4, significant(top * i / 4)) for i in range(5)], figure)
    line = Line(figure, [(math.log10(size), value) for size, value in points])
    text = plot([line], x, y, f"{figure} over {name}")
    return text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        "<title>", f"{STYLE}<title>", 1
    )


def medians(rounds: Sequence[Figures]) -> Figures:
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def show(name: str, found: Mapping[int, Figures]) -> None:
    names = list(next(iter(found.values())))
    print(f"\n{name}: {CURVES[name].law}")
    print(f"{name:>12}" + "".join(f"{each:>22}" for each in names))
    for size, figures in found.items():
        print(f"{size:>12,}" + "".join(f"{figures[each]:>22,.4g}" for each in names))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", default=",".join(CURVES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="DIR", help="a plot of each figure")
    args = parser.parse_args(argv)
    chosen = args.curves.split(",")
    if unknown := set(chosen) - set(CURVES):
        parser.error(f"no such curve: {', '.join(sorted(unknown))}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found: dict[str, dict[int, Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="tidelog-scaling-") as parent:
        for name in chosen:
            curve = CURVES[name]
            rounds: dict[int, list[Figures]] = {}
            for number in range(args.rounds):
                for size in curve.quick if args.quick else curve.sizes:
                    folder = Path(parent) / f"{name}-{size}-{number}"
                    rounds.setdefault(size, []).append(curve.measure(folder, size, args.seconds))
            found[name] = {size: medians(each) for size, each in rounds.items()}
            show(name, found[name])
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    if args.svg:
        args.svg.mkdir(parents=True, exist_ok=True)
        for name, sizes in found.items():
            for figure in next(iter(sizes.values())):
                points = [(size, figures[figure]) for size, figures in sizes.items()]
                file = f"{name}-{figure.replace('/', '-per-').replace(' ', '-')}.svg"
                (args.svg / file).write_text(picture(name, figure, points))


if __name__ == "__main__":
    main()

"""What durability costs, and how many requests share one fdatasync:

python -m bench.load.durable [--connections 50] [--batch-bytes 1024] [--rounds 3] [--json FILE]

Many connections, each with one request on the wire, write to one partition of a broker of their
own: in turn with `flush.messages=1` (acknowledged when it is on the disk) and with Kafka's defaults
(when it is in the page cache). The broker counts its flushes and tells them when it stops.
"""

import argparse
import json
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from tidelog.benchmarks.shapes import Load, Workload, prepare_topic
from tidelog.benchmarks.targets import TidelogTarget

MODES = {"flush.messages=1": ("log.flush.interval.messages=1",), "page cache": ()}
WORKLOAD = Workload("durable", "produce", 1024, in_flight=1)


class InformingTarget(TidelogTarget):
    """Says at its end what it did."""

    def command(self) -> list[str]:
        return [*super().command(), "--log-level", "info"]

    def flushes(self) -> int:
        """Of a broker that has stopped."""
        told = re.findall(
            r'"node stopped" .*flushes=(\d+)', (self.folder / "stderr.txt").read_text()
        )
        return sum(map(int, told))


def measure(folder: Path, settings: tuple[str, ...], args: argparse.Namespace) -> dict[str, float]:
    workload = replace(
        WORKLOAD,
        connections=args.connections,
        partitions=args.partitions,
        batch_bytes=args.batch_bytes,
        record_bytes=min(1024, args.batch_bytes),
    )
    folder.mkdir(parents=True)
    target = InformingTarget(folder, settings=settings)
    target.start()
    try:
        cluster = target.cluster()
        layout = prepare_topic(cluster, workload)
        began = time.monotonic()
        with Load(cluster, workload, layout) as load:
            warm = load.run(seconds=args.warmup)
            report = load.run(seconds=args.seconds)
        elapsed_s = time.monotonic() - began
    finally:
        target.stop()
    requests = warm.counts["requests"] + report.counts["requests"]
    flushes = target.flushes()
    return {
        "requests/s": report.requests_per_s,
        "p50 us": report.latency_us["p50"],
        "p99 us": report.latency_us["p99"],
        "fsyncs/s": flushes / elapsed_s,
        "requests per fsync": requests / flushes if flushes else float("inf"),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--batch-bytes", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-parent", type=Path, help="on the disk that is meant")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory(prefix="tidelog-durable-", dir=args.data_parent) as parent:
        for number in range(args.rounds):
            for mode, settings in MODES.items():
                folder = Path(parent) / f"{number}-{len(found[mode])}-{len(settings)}"
                found[mode].append(measure(folder, settings, args))
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Medians with their range, one column for each mode."""
    modes = list(found)
    lines = [f"{'':20}" + "".join(f"{mode:>32}" for mode in modes)]
    for name in found[modes[0]][0]:
        cells = []
        for mode in modes:
            values = [one[name] for one in found[mode]]
            cells.append(f"{median(values):,.1f} ({min(values):,.1f} - {max(values):,.1f})")
        lines.append(f"{name:20}" + "".join(f"{cell:>32}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()

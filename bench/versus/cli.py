"""Brokers side by side: python -m bench.versus [--peers ...] [--shapes ...] [--rounds 5]

Runs the same workloads on each broker in turn after a warm-up, and prints medians, their spread,
ratios and whether the thresholds of each workload are met. CPU and memory are those of all the
broker's processes. Ends with 0 when every threshold that could be judged is met, 1 when one is
missed, 2 when the comparison could not be made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

from bench.versus import docs, peers, tables
from bench.versus.judge import MISSED, judge
from bench.versus.peers.base import ROOT, Peer
from bench.versus.runs import REFUSALS, Contender, Measurement, Settings, in_one_line, run_shape
from bench.versus.shapes import SHAPES, Shape
from tests.compat.programs import ProgramMissing
from tidelog.benchmarks import machine

DOCUMENT = ROOT / "docs" / "performance.md"


@dataclass
class Comparison:
    """What has been found so far."""

    subject: str
    outcomes: list[tables.Outcome] = field(default_factory=list)
    runs: dict[str, dict[str, list[Measurement]]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(
        self, shape: Shape, started: Sequence[Peer], settings: Settings, judged: bool
    ) -> tables.Outcome:
        """Runs a shape."""
        found, runs = run_shape(shape, started, settings, heard)
        verdicts = judge(shape.thresholds, found, self.subject) if judged else []
        told = {
            f"{name}: {text}": None for name, rs in runs.items() for r in rs for text in r.warnings
        }
        warnings = [*tables.warnings_of(found), *told]
        outcome = tables.Outcome(shape, found, verdicts, warnings)
        self.outcomes.append(outcome)
        self.runs[shape.name] = runs
        return outcome

    @property
    def missed(self) -> int:
        return sum(v.status == MISSED for outcome in self.outcomes for v in outcome.verdicts)

    def to_json(self) -> dict[str, Any]:
        return {
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "subject": self.subject,
            "machine": machine.describe(),
            "versions": self.versions,
            "skipped": self.skipped,
            "shapes": {
                outcome.shape.name: tables.to_json(outcome)
                | {
                    "runs": {
                        name: [
                            {"metrics": dict(m.metrics), "detail": dict(m.detail)} for m in measured
                        ]
                        for name, measured in self.runs[outcome.shape.name].items()
                    }
                }
                for outcome in self.outcomes
            },
        }


def heard(number: int, one: Contender, m: Measurement) -> None:
    """A line for each run, so that one sees that something happens."""
    shown = ("mb_per_s", "cpu_s_per_gb", "p99_us", "other_cpu_share")
    figures = ", ".join(
        f"{tables.number(m.metrics[name] * factor, digits)} {heading}"
        for name, (heading, factor, digits) in tables.COLUMNS.items()
        if name in shown
    )
    warnings = "".join(f"; {text}" for text in m.warnings)
    print(
        f"  {one.shape.name} round {number} {one.name}: {figures}{warnings}",
        file=sys.stderr,
        flush=True,
    )


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.versus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--peers", default=",".join(peers.NAMES), help="of these, or NAME=HOST:PORT[@PID]")
    add("--shapes", default=",".join(SHAPES))
    add("--list", action="store_true", help="what there is to run, and its thresholds")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=3.0, help="of each measured run")
    add("--warmup", type=float, default=5.0, help="seconds per workload and broker")
    add("--change", action="append", default=[], metavar="KEY=VALUE", help="of every workload")
    add("--workers", type=int, default=1, help="Tidelog's, but for the replicated workloads")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="Tidelog's configs")
    add("--floor-option", action="append", default=[], help="e.g. --preallocate")
    add("--data-parent", type=Path, help="where all brokers keep their data while they run")
    add("--max-run-bytes", type=int, default=2_000_000_000)
    add("--warm-bytes", type=int, default=8_000_000_000, help="of memory, before each run")
    add("--settle-bytes", type=int, default=200_000_000, help="disk use to wait for after a run")
    add("--wait-quiet", type=float, default=0.0, metavar="SECONDS", help="for others to pause")
    add("--cpu-client", type=int, action="append", help="pin the client (repeatable)")
    add("--cpu-broker", type=int, action="append", default=[], help="pin every broker (repeatable)")
    add("--subject", default="tidelog", help="whose thresholds are judged")
    add("--json", type=Path, help="write everything to this file")
    add("--write-docs", action="store_true", help="write the tables to docs/performance.md")
    args = parser.parse_args(argv)
    try:
        args.shapes = [changed(shape_named(name), args.change) for name in args.shapes.split(",")]
        args.peers = list(dict.fromkeys(args.peers.split(",")))
    except ValueError as error:
        parser.error(str(error))
    if args.rounds < 1:
        parser.error("--rounds: at least 1")
    return args


def shape_named(name: str) -> Shape:
    if name not in SHAPES:
        raise ValueError(f"no such shape: {name}; there are {', '.join(SHAPES)}")
    return SHAPES[name]


def changed(shape: Shape, changes: Sequence[str]) -> Shape:
    """The shape with settings of its load changed; one for latency stays as it is, and so does
    `discard` of one that writes. Raises ValueError."""
    if shape.load is None:
        return shape
    kinds = {f.name: type(getattr(shape.load, f.name)) for f in fields(shape.load)}
    load = shape.load
    for change in changes:
        name, _, text = change.partition("=")
        name = name.replace("-", "_")
        if name in ("name", "kind") or name not in kinds:
            raise ValueError(f"{change}: a workload has no such setting")
        value = kinds[name](text) if kinds[name] is not bool else text == "true"
        load = replace(load, **{name: value})
    if load.kind != "fetch":
        load = replace(load, discard=False)
    return replace(shape, load=load)


def listing(shapes: Sequence[Shape]) -> str:
    lines = []
    for shape in shapes:
        lines.append(f"{shape.name}: {shape.text}" + (", also with fsync" if shape.fsync else ""))
        lines += [f"    {t.metric} {t.text(t.against)}" for t in shape.thresholds]
    return "\n".join(lines)


def installed(names: Sequence[str], skipped: dict[str, str]) -> list[str]:
    """Those that can be had; the others go to `skipped`, with the reason. Raises ValueError."""
    found = []
    for name in names:
        try:
            peers.install(name)
        except ProgramMissing as missing:
            skipped[name] = in_one_line(missing)
            print(f"skipped: {skipped[name]}", flush=True)
        else:
            found.append(name)
    return found


def compare(names: Sequence[str], parent: Path, args: argparse.Namespace) -> Comparison:
    """All shapes: first those of one node, then those of three, whose brokers are others."""
    comparison = Comparison(args.subject)
    names = installed(names, comparison.skipped)
    settings = Settings(
        args.seconds,
        args.warmup,
        args.rounds,
        args.max_run_bytes,
        args.warm_bytes,
        args.settle_bytes,
        args.wait_quiet,
    )
    options = peers.Options(args.cpu_broker, args.workers, args.set, args.floor_option)
    try:
        ordered = sorted(args.shapes, key=lambda shape: shape.nodes)
        for nodes, shapes in groupby(ordered, key=lambda shape: shape.nodes):
            with ExitStack() as stack:
                started = start(names, parent / str(nodes), options, nodes, stack, comparison)
                for shape in shapes:
                    outcome = comparison.add(shape, started, settings, judged=not args.change)
                    print(tables.shape_text(outcome, args.subject), flush=True)
    finally:
        if args.json and comparison.outcomes:
            args.json.write_text(json.dumps(comparison.to_json(), indent=1))
    return comparison


def start(
    names: Sequence[str],
    folder: Path,
    options: peers.Options,
    nodes: int,
    stack: ExitStack,
    comparison: Comparison,
) -> list[Peer]:
    """The peers, running; those that cannot be a cluster of several nodes are not started."""
    taking_part = []
    for name in names:
        peer = peers.make_peer(name, folder / name.partition("=")[0], options, nodes)
        if nodes > 1 and "nodes" in peer.cannot:
            taking_part.append(peer)
            continue
        try:
            stack.enter_context(peer)
        except REFUSALS as error:
            if peer.name == comparison.subject:
                raise
            comparison.skipped[peer.name] = in_one_line(error)
            print(f"skipped: {peer.name}: {comparison.skipped[peer.name]}", flush=True)
            continue
        taking_part.append(peer)
        comparison.versions[peer.name] = peer.version()
        idle_mb = peer.memory().rss / 1e6
        of = f" ({nodes} nodes)" if nodes > 1 else ""
        print(f"{peer.name}{of}: up in {peer.start_s:.2f} s, {idle_mb:,.0f} MB idle", flush=True)
    return taking_part


def write_document(comparison: Comparison, command: str) -> None:
    found = machine.describe()
    memory_gb = found["memory_bytes"] / 1e9
    setting = tables.Setting(
        comparison.subject,
        f"{found['cpus']} CPUs ({found['cpu']}), {memory_gb:.0f} GB, Linux {found['kernel']}",
        time.strftime("%Y-%m-%d", time.gmtime()),
        command,
        {name: version for name, version in comparison.versions.items() if name != "floor"},
        comparison.skipped,
    )
    docs.write(DOCUMENT, tables.markdown(comparison.outcomes, setting))
    print(f"written to {DOCUMENT.relative_to(ROOT)}")


def end_on_sigterm(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C: brokers that were started are stopped on the way out."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status; see the module."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = parse_arguments(words)
    if args.list:
        print(listing(args.shapes))
        return 0
    if args.cpu_client:
        os.sched_setaffinity(0, args.cpu_client)
    before = signal.signal(signal.SIGTERM, end_on_sigterm)
    parent = Path(tempfile.mkdtemp(prefix="tidelog-versus-", dir=args.data_parent))
    try:
        comparison = compare(args.peers, parent, args)
        if args.write_docs:
            write_document(comparison, " ".join(["python -m bench.versus", *words]))
    except KeyboardInterrupt:
        print("interrupted: all brokers are stopped", file=sys.stderr)
        return 130
    except (*REFUSALS,) as error:
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(parent, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)
    print(summary(comparison.outcomes))
    return 1 if comparison.missed else 0


def summary(outcomes: Sequence[tables.Outcome]) -> str:
    """How many thresholds came out how."""
    counts: Mapping[str, int] = {}
    for outcome in outcomes:
        for verdict in outcome.verdicts:
            counts = {**counts, verdict.status: counts.get(verdict.status, 0) + 1}
    if not counts:
        return "no thresholds"
    return "thresholds: " + ", ".join(f"{count} {status}" for status, count in counts.items())

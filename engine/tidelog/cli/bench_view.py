"""What `tidelog bench` shows in a terminal: progress, tables, plots.

Runs in the user's shell. Values come in and text goes out; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from tidelog.benchmarks.compare import Comparison, compare_rounds
from tidelog.benchmarks.plots import comparison_cells, percentile_lines, significant, sparkline
from tidelog.benchmarks.results import (
    LATENCIES,
    Measured,
    Report,
    Round,
    Spread,
    spreads,
    unit_of,
)
from tidelog.benchmarks.stage import Target
from tidelog.cli.cluster import print_table

PLOT_WIDTH = 78


class Bar:
    """A bar on standard error when that is a terminal (`shown`)."""

    def __init__(self, name: str) -> None:
        console = Console(stderr=True, highlight=False, markup=False)
        self.shown = console.is_terminal
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self.shown,
        )
        self._task = self._bars.add_task(name, total=1.0)

    def show(self, text: str, share: float) -> None:
        """share: how much is done (0..1)."""
        self._bars.update(self._task, description=text, completed=share)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()


class Progress(Bar):
    """A bar, and a line for each round."""

    def __init__(self, name: str, rounds: int) -> None:
        super().__init__(name)
        self._name = name
        self._rounds = rounds
        self._done = 0

    def tell(self, what: str, share: float) -> None:
        """What is being done, and how much of it is done (0..1)."""
        self.show(f"{self._name}, round {self._done + 1} of {self._rounds}: {what}", share)

    def heard(self, number: int, target: Target, one: Round) -> None:
        """A round has ended."""
        self._done += 1
        parts = [
            f"{significant(one.figures[name])} {unit_of(name)}"
            for name in HEADLINES
            if name in one.figures
        ]
        parts += [
            f"{name.replace('_', ' ')} p99 {significant(h.percentile(99) / 1e3)} µs"
            for name, h in one.latencies.items()
        ]
        typer.echo(f"round {number + 1}, {target.bootstrap}: {', '.join(parts)}", err=True)


#: What is said of a round as soon as it has ended.
HEADLINES = (
    "records_per_s",
    "mb_per_s",
    "consumed_mb_per_s",
    "transactions_per_s",
    "drain_s",
    "create_s",
    "ready_s",
    "broker_cpu_share",
)


def show_report(report: Report) -> None:
    """Medians, plots, the comparison where there are two brokers, and every warning."""
    for target in report.targets:
        typer.echo(f"{report.workload} on {target.name}, {rounds_text(len(target.rounds))}")
        rows = [
            (metric, unit_of(metric), significant(s.median), range_text(s))
            for metric, s in spreads(target.rounds).items()
        ]
        columns = {"metric": "left", "unit": "left", "median": "right", "range": "left"}
        print_table(columns, rows)
        show_lines(throughput_lines(target))
    show_lines(latency_lines(report))
    if len(report.targets) == 2:
        show_comparison(compare_rounds(*report.targets))
    show_warnings(report.warnings)


def rounds_text(count: int) -> str:
    return f"{count} round{'s' if count != 1 else ''}"


def range_text(spread: Spread) -> str:
    if spread.low == spread.high:
        return ""
    return f"{significant(spread.low)} to {significant(spread.high)}"


def throughput_lines(target: Measured) -> list[str]:
    """Records by time, of the last round."""
    seconds = target.rounds[-1].seconds
    if len(seconds) < 2:
        return []
    lines = [""]
    for label, values in (
        ("written", [s.records for s in seconds]),
        ("read", [s.consumed for s in seconds]),
    ):
        if any(values):
            spans = [b - a for a, b in pairwise([0.0, *(s.at_s for s in seconds)])]
            rates = [value / max(span, 1e-9) for value, span in zip(values, spans, strict=True)]
            top = significant(max(rates))
            lines.append(f"{label:<8} {sparkline(rates)}  at most {top} records/s")
    return lines


def latency_lines(report: Report) -> list[str]:
    """A percentile curve for each latency, the brokers side by side."""
    names = [name for target in report.targets for one in target.rounds for name in one.latencies]
    lines: list[str] = []
    for name in dict.fromkeys(names):
        curves = {target.name: target.latency(name) for target in report.targets}
        text = LATENCIES.get(name, "")
        lines += ["", f"{name.replace('_', ' ')} latency, {text}", ""]
        lines += percentile_lines(curves, PLOT_WIDTH)
    return lines


def show_comparison(comparison: Comparison) -> None:
    typer.echo(f"\n{comparison.other} to {comparison.base}")
    rows = [(row.metric, *comparison_cells(row)) for row in comparison.rows]
    columns = {
        "metric": "left",
        comparison.base: "right",
        comparison.other if comparison.other != comparison.base else "(other)": "right",
        "ratio": "right",
        "spread": "right",
        "": "left",
    }
    print_table(columns, rows)
    show_warnings(comparison.warnings)


def show_warnings(warnings: Iterable[str]) -> None:
    for text in dict.fromkeys(warnings):
        typer.echo(f"warning: {text}", err=True)


def show_lines(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)

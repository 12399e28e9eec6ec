"""What `tidelog profile` shows in a terminal: progress, tables, latencies, comparisons.

Runs in the user's shell. Values come in and text goes out; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterable

import typer

from tidelog.benchmarks.plots import comparison_cells, percentile_lines
from tidelog.cli.bench_view import PLOT_WIDTH, Bar, show_lines, show_warnings
from tidelog.cli.cluster import print_table
from tidelog.profiling.compare import Comparison
from tidelog.profiling.results import Report, Section, Table
from tidelog.profiling.show import LEGEND, cell_text, column_title, has_spread, table_title


class Progress(Bar):
    """A bar; without a terminal a line for each part."""

    def __init__(self) -> None:
        super().__init__("profile")

    def tell(self, part: str, what: str, share: float) -> None:
        self.show(f"{part}: {what}", share)

    def heard(self, section: Section) -> None:
        """A part has ended."""
        if not self.shown:
            typer.echo(f"{section.title} is measured", err=True)


def show_report(report: Report) -> None:
    """Every section with its tables and latencies; warnings at the end, on standard error."""
    tables = [table for section in report.sections for table in section.tables]
    for number, section in enumerate(report.sections):
        show_section(section, first=number == 0)
    if any(has_spread(table) for table in tables):
        typer.echo(f"\n{LEGEND}")
    elif tables:
        typer.echo("\nOne round: nothing is known of the noise (--rounds 5 or more tells).")
    show_warnings([*report.warnings, *(w for s in report.sections for w in s.warnings)])


def show_section(section: Section, first: bool = False) -> None:
    typer.echo(("" if first else "\n\n") + section.title.upper())
    if section.text:
        typer.echo(section.text)
    if section.facts:
        typer.echo("; ".join(f"{name}: {value}" for name, value in section.facts.items()))
    for note in section.notes:
        typer.echo(f"note: {note}")
    for table in section.tables:
        show_table(table)
    show_lines(histogram_lines(section))
    for name, lines in section.text_blocks.items():
        show_lines(["", name, "", *lines])


def show_table(table: Table) -> None:
    typer.echo(f"\n{table_title(table)}")
    columns = {table.key: "left"}
    columns |= {column_title(table, column): "right" for column in table.columns}
    print_table(
        columns, ([row.name, *(cell_text(cell) for cell in row.cells)] for row in table.rows)
    )


def histogram_lines(section: Section) -> list[str]:
    """A percentile curve for each."""
    lines: list[str] = []
    for name, histogram in section.histograms.items():
        drawn = percentile_lines({name: histogram}, PLOT_WIDTH)
        if drawn:
            lines += ["", f"latency: {name}, {histogram.count} times", "", *drawn]
    return lines


def show_comparison(comparison: Comparison) -> None:
    """Table by table; the second file's figures to the first's."""
    for table in comparison.tables:
        typer.echo(f"\n{table.section}: {table.table}")
        columns = {
            "figure": "left",
            "first": "right",
            "second": "right",
            "ratio": "right",
            "spread": "right",
            "": "left",
        }
        rows: Iterable[tuple[str, ...]] = (
            (row.metric, *comparison_cells(row)) for row in table.rows
        )
        print_table(columns, rows)
    show_warnings(comparison.warnings)

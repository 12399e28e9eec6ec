"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

Pure: text comes out; whatever comes from outside is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

from tidelog.benchmarks.compare import Comparison, compare_rounds
from tidelog.benchmarks.histogram import PRECISION
from tidelog.benchmarks.plots import comparison_cells, significant
from tidelog.benchmarks.results import LATENCIES, Measured, Report, Round, spreads, unit_of
from tidelog.benchmarks.svg import Line, percentile_plot, time_plot

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d8dde4; --bg: #fff;
  --c0: #1f6feb; --c1: #d4620a; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #6e7781; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa5b4; --line: #323a45;
  --bg: #12161c; --c0: #6cb2ff; --c1: #ffa657; --c2: #56d364; --c3: #d2a8ff; --c4: #ff9bce; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--bg);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p, caption { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left; }
td.n, th.n { text-align: right; white-space: nowrap; }
ul.warnings { border-left: 3px solid var(--c1); padding: .4rem 0 .4rem 1.6rem; }
svg { width: 100%; height: auto; font-size: 12px; }
svg text { fill: var(--ink); } svg text.y { text-anchor: end; } svg text.x { text-anchor: middle; }
svg .grid { stroke: var(--line); fill: none; }
svg polyline, svg path[class^=c] { fill: none; stroke-width: 2; }
""" + "\n".join(f"svg .c{number} {{ stroke: var(--c{number}); }}" for number in range(6))


def page(report: Report) -> str:
    """The whole document."""
    title = f"{report.workload} on {', '.join(target.name for target in report.targets)}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>tidelog bench, {escape(report.started_at)}, client "
        f"{escape(str(report.settings.get('client', '')))}</p>",
        warning_list(report.warnings),
        *(figures_table(target) for target in report.targets),
    ]
    if len(report.targets) == 2:
        parts.append(comparison_table(compare_rounds(*report.targets)))
    parts += [*latency_plots(report), *throughput_plots(report)]
    parts += [
        mapping_table("Settings", report.settings),
        mapping_table("Machine", report.machine),
        mapping_table("Versions", report.versions),
    ]
    return document(title, parts)


def document(title: str, parts: Iterable[str]) -> str:
    """An HTML page. parts: HTML, or "" for nothing."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def warning_list(warnings: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in dict.fromkeys(warnings))
    return f'<h2>Warnings</h2>\n<ul class="warnings">{items}</ul>' if items else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """numbers: the columns that stand to the right."""

    def cells(kind: str, row: Sequence[str]) -> str:
        right = f'<{kind} class="n">'
        return "".join(
            f"{right if index in numbers else f'<{kind}>'}{escape(cell)}</{kind}>"
            for index, cell in enumerate(row)
        )

    lines = [f"<tr>{cells('td', row)}</tr>" for row in rows]
    header = f"<thead><tr>{cells('th', head)}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{header}<tbody>{"".join(lines)}</tbody></table></div>'


def figures_table(target: Measured) -> str:
    rows = [
        (
            metric.replace("_", " "),
            unit_of(metric),
            significant(spread.median),
            significant(spread.low),
            significant(spread.high),
        )
        for metric, spread in spreads(target.rounds).items()
    ]
    count = len(target.rounds)
    head = ("metric", "unit", "median", "lowest", "highest")
    return f"<h2>{escape(target.name)}, {count} round{'s' if count != 1 else ''}</h2>\n" + table(
        head, rows, numbers=(2, 3, 4)
    )


def comparison_table(comparison: Comparison) -> str:
    rows = [(row.metric.replace("_", " "), *comparison_cells(row)) for row in comparison.rows]
    head = ("metric", comparison.base, comparison.other, "ratio", "spread", "")
    title = f"<h2>{escape(comparison.other)} to {escape(comparison.base)}</h2>\n"
    note = "<p>Ratios of medians; where the ranges of the rounds overlap it is noise.</p>\n"
    found = title + note + table(head, rows, numbers=(1, 2, 3, 4))
    return found + warning_list(comparison.warnings)


def latency_plots(report: Report) -> list[str]:
    names = [name for target in report.targets for one in target.rounds for name in one.latencies]
    parts = []
    for name in dict.fromkeys(names):
        title = f"{name.replace('_', ' ')} latency"
        curves = [(target.name, target.latency(name)) for target in report.targets]
        drawn = percentile_plot(curves, title)
        if drawn:
            note = f"All rounds together, {LATENCIES.get(name, '')}; exact to {PRECISION:.1%}."
            parts.append(f"<h2>{escape(title.capitalize())}</h2>\n<p>{escape(note)}</p>\n{drawn}")
    return parts


def throughput_plots(report: Report) -> list[str]:
    """Records a second over time: the last round of each broker."""
    lines = []
    for target in report.targets:
        if not target.rounds:
            continue
        name = f"{target.name}: " if len(report.targets) > 1 else ""
        lines += [
            Line(f"{name}written", rates(target.rounds[-1], "records")),
            Line(f"{name}read", rates(target.rounds[-1], "consumed")),
        ]
    drawn = time_plot([line for line in lines if any(y for _, y in line.points)], "throughput")
    note = "Records a second, the last round."
    return [f"<h2>Throughput</h2>\n<p>{note}</p>\n{drawn}"] if drawn else []


def rates(one: Round, field: str) -> list[tuple[float, float]]:
    """(seconds, records a second) of each stretch of a round."""
    ends = [0.0, *(second.at_s for second in one.seconds)]
    return [
        (second.at_s, getattr(second, field) / max(end - start, 1e-9))
        for second, (start, end) in zip(one.seconds, pairwise(ends), strict=True)
    ]


def mapping_table(title: str, values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = [(name.replace("_", " "), str(value)) for name, value in values.items()]
    return f"<h2>{escape(title)}</h2>\n" + table((), rows)

"""A comparison as text for a terminal, as Markdown for the documentation, and as JSON.

Pure: values in, text out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.versus.judge import FLOOR, Found, Spread, Verdict, ratio
from bench.versus.shapes import Shape

#: Parts of the machine and of a run from which on a figure is to be doubted, as in `tidelog bench`.
BUSY_SHARE: Final = 0.15
CLIENT_SHARE: Final = 0.9

#: Metric: (heading, what to multiply by, digits).
COLUMNS: Final[Mapping[str, tuple[str, float, int]]] = {
    "requests_per_s": ("requests/s", 1, 0),
    "records_per_s": ("records/s", 1, 0),
    "mb_per_s": ("MB/s", 1, 1),
    "cpu_s_per_gb": ("CPU s/GB", 1, 2),
    "p50_us": ("p50 ms", 1e-3, 3),
    "p99_us": ("p99 ms", 1e-3, 2),
    "p999_us": ("p99.9 ms", 1e-3, 2),
    "rss_mb": ("MB resident", 1, 0),
    "client_cpu_share": ("client", 100, 0),
    "other_cpu_share": ("others %", 100, 0),
}


@dataclass(frozen=True)
class Outcome:
    """One shape: what was found, by contender, and what came out of it."""

    shape: Shape
    found: Mapping[str, Found]
    verdicts: Sequence[Verdict] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Setting:
    """What the tables depend on."""

    subject: str
    machine: str
    date: str
    command: str
    versions: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


def number(value: float, digits: int) -> str:
    """Three significant digits for rates of any size, and a dash for what is not known."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.{digits}f}"


def cell(metric: str, s: Spread) -> str:
    _, factor, digits = COLUMNS[metric]
    median, low, high = (number(v * factor, digits) for v in (s.median, s.low, s.high))
    return median if low == high else f"{median} ({low}-{high})"


def warnings_of(found: Mapping[str, Found]) -> list[str]:
    """Where a figure is not the broker's."""
    said = []
    for name, one in found.items():
        if not one.metrics:
            continue
        others = one.metrics["other_cpu_share"].median
        if others > BUSY_SHARE:
            said.append(f"{name}: other processes used {others:.0%} of the machine")
        client = one.metrics["client_cpu_share"].median
        if client > CLIENT_SHARE:
            said.append(f"{name}: the client was busy for {client:.0%} of a run, and bounds it")
    return said


def verdict_text(verdict: Verdict) -> str:
    """One line."""
    threshold = verdict.threshold
    what = f"{COLUMNS[threshold.metric][0]} {threshold.text(verdict.opponent)}"
    found = "" if math.isnan(verdict.ratio) else f", found {verdict.ratio:.2f}"
    note = f" ({verdict.note})" if verdict.note else ""
    return f"{verdict.status}: {what}{found}{note}"


def shape_text(outcome: Outcome, subject: str) -> str:
    """For the terminal: contenders by row, metrics by column, then ratios and verdicts."""
    measured = {name: one for name, one in outcome.found.items() if one.metrics}
    metrics = list(next(iter(measured.values())).metrics) if measured else []
    rows = [["", *(COLUMNS[m][0] for m in metrics)]]
    rows += [[name, *(cell(m, one.metrics[m]) for m in metrics)] for name, one in measured.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{outcome.shape.name}: {outcome.shape.text}"]
    for row in rows:
        cells = [part.rjust(width) for part, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"  {row[0].ljust(widths[0])}  " + "  ".join(cells))
    for name, one in outcome.found.items():
        if one.refusal:
            lines.append(f"  {name}: no: {one.refusal}")
    lines += [f"  {text}" for text in ratios(outcome, subject)]
    lines += [f"  warning: {text}" for text in outcome.warnings]
    lines += [f"  {verdict_text(verdict)}" for verdict in outcome.verdicts]
    return "\n".join(lines)


def ratios(outcome: Outcome, subject: str) -> list[str]:
    """The subject to each other contender of the same durability."""
    headline = outcome.shape.headline
    said = []
    for own_name, own in outcome.found.items():
        if own.peer != subject or not own.metrics:
            continue
        for name, one in outcome.found.items():
            if one.peer != subject and one.metrics and one.durability == own.durability:
                value = ratio(own.metrics[headline].median, one.metrics[headline].median)
                said.append(f"{COLUMNS[headline][0]}: {own_name} is {value:.2f} x {name}")
    return said


# --- Markdown -------------------------------------------------------------------------------------


def markdown(outcomes: Sequence[Outcome], setting: Setting) -> str:
    """What stands between the marks of the documentation."""
    parts = [
        f"Written on {setting.date} by `{setting.command}`. {setting.machine}. "
        + "; ".join(f"{name} {version}".strip() for name, version in setting.versions.items())
        + ". Medians, with the range of the rounds in brackets.",
    ]
    if setting.skipped:
        skipped = "; ".join(f"{name} ({why})" for name, why in setting.skipped.items())
        parts.append(f"Not measured: {skipped}.")
    throughput = [o for o in outcomes if o.shape.kind != "latency"]
    latency = [o for o in outcomes if o.shape.kind == "latency"]
    if throughput:
        parts += [
            "Rates, and beside each how many times that Tidelog reaches with the same durability:",
            table(throughput, setting, rate_cell),
            "CPU seconds of the broker per GB, and its resident memory in MB:",
            table(throughput, setting, cost_cell),
        ]
    if latency:
        parts += [
            "Latency from end to end, p50 / p99 / p99.9 in ms:",
            table(latency, setting, latency_cell),
        ]
    judged = [(o, v) for o in outcomes for v in o.verdicts]
    if judged:
        parts += ["Thresholds:", verdict_table(judged)]
    warnings = [f"- {o.shape.name}: {text}" for o in outcomes for text in o.warnings]
    if warnings:
        parts += ["To be wary of:", "\n".join(warnings)]
    return "\n\n".join(parts)


Cell = Callable[[Outcome, Found, Found | None], str]


def rate_cell(outcome: Outcome, one: Found, own: Found | None) -> str:
    headline = outcome.shape.headline
    text = f"{cell(headline, one.metrics[headline])} {unit(headline)}"
    if own is None or own is one or not own.metrics:
        return text
    return f"{text}, {ratio(own.metrics[headline].median, one.metrics[headline].median):.2f} x"


def unit(metric: str) -> str:
    return {"requests_per_s": "/s", "mb_per_s": "MB/s"}[metric]


def cost_cell(outcome: Outcome, one: Found, own: Found | None) -> str:
    memory = one.metrics["rss_mb"].median
    return f"{cell('cpu_s_per_gb', one.metrics['cpu_s_per_gb'])}, {number(memory, 0)} MB"


def latency_cell(outcome: Outcome, one: Found, own: Found | None) -> str:
    return " / ".join(
        number(one.metrics[m].median * 1e-3, COLUMNS[m][2]) for m in ("p50_us", "p99_us", "p999_us")
    )


def table(outcomes: Sequence[Outcome], setting: Setting, show: Cell) -> str:
    """Rows: shape and durability; columns: peers, the subject first and the floor last."""
    found = [one for outcome in outcomes for one in outcome.found.values()]
    peers = sorted(
        dict.fromkeys(one.peer for one in found if one.metrics or one.refusal),
        key=lambda name: (name == FLOOR, name != setting.subject),
    )
    lines = [row(["", *peers]), row(["---"] * (len(peers) + 1))]
    for outcome in outcomes:
        for durability in durabilities(outcome):
            here = {o.peer: o for o in outcome.found.values() if o.durability == durability}
            if durability == "memory":
                continue  # in the row of the page cache
            if durability == "page-cache":
                here = {
                    o.peer: o for o in outcome.found.values() if o.durability == "memory"
                } | here
            own = here.get(setting.subject)
            label = f"{outcome.shape.text}, fsync" if durability == "fsync" else outcome.shape.text
            cells = [markdown_cell(outcome, here.get(peer), own, show) for peer in peers]
            lines.append(row([label, *cells]))
    return "\n".join(lines)


def durabilities(outcome: Outcome) -> list[str]:
    return list(dict.fromkeys(one.durability for one in outcome.found.values()))


def markdown_cell(outcome: Outcome, one: Found | None, own: Found | None, show: Cell) -> str:
    if one is None:
        return ""
    if not one.metrics:
        return f"no: {one.refusal}"
    memory = " (in memory)" if one.durability == "memory" else ""
    return show(outcome, one, own) + memory


def row(cells: Sequence[str]) -> str:
    escaped = [text.replace("|", "\\|") for text in cells]
    return "| " + " | ".join(escaped) + " |"


def verdict_table(judged: Sequence[tuple[Outcome, Verdict]]) -> str:
    lines = [row(["", "what", "wanted", "found", ""]), row(["---"] * 5)]
    for outcome, verdict in judged:
        found = "-" if math.isnan(verdict.ratio) else f"{verdict.ratio:.2f}"
        note = f" ({verdict.note})" if verdict.note else ""
        wanted = verdict.threshold.text(verdict.opponent)
        what = COLUMNS[verdict.threshold.metric][0]
        lines.append(row([outcome.shape.text, what, wanted, found, verdict.status + note]))
    return "\n".join(lines)


# --- JSON -----------------------------------------------------------------------------------------


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Without the runs, which the caller has."""
    return {
        "text": outcome.shape.text,
        "found": {
            name: {
                "peer": one.peer,
                "durability": one.durability,
                "refusal": one.refusal,
                "metrics": {metric: vars(value) for metric, value in one.metrics.items()},
            }
            for name, one in outcome.found.items()
        },
        "verdicts": [
            {
                "metric": v.threshold.metric,
                "wanted": v.threshold.text(v.opponent),
                "ratio": None if math.isnan(v.ratio) else round(v.ratio, 4),
                "status": v.status,
                "note": v.note,
            }
            for v in outcome.verdicts
        ],
        "warnings": list(outcome.warnings),
    }

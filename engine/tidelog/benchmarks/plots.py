"""Plots in characters, for a terminal: bars of a percentile curve, and throughput by the second.

Pure: lines of text come out, at most `width` characters each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from tidelog.benchmarks.compare import Row
from tidelog.benchmarks.histogram import Histogram

CURVE: Final = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_LEVELS: Final = "▁▂▃▄▅▆▇█"
_LABEL: Final = 8
_VALUE: Final = 10


def bar(share: float, width: int) -> str:
    """A horizontal bar of share (0..1) of width characters."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """One character a value, from 0 to the largest; more values than `width` are averaged."""
    if not values:
        return ""
    if len(values) > width:
        edges = [i * len(values) // width for i in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges) if b > a]
    top = max(values)
    if top <= 0:
        return _LEVELS[0] * len(values)
    return "".join(_LEVELS[min(7, int(max(0.0, value) / top * 8))] for value in values)


def percentile_lines(histograms: Mapping[str, Histogram], width: int = 78) -> list[str]:
    """For each percentile of CURVE one bar per histogram, on a common logarithmic scale."""
    shown = {name: h for name, h in histograms.items() if h.count}
    if not shown:
        return []
    low = max(1, min(h.min_ns for h in shown.values()))
    high = max(h.max_ns for h in shown.values())
    name_width = max(len(name) for name in shown) if len(shown) > 1 else 0
    room = max(10, width - _LABEL - _VALUE - name_width - 4)
    lines = []
    for percent in CURVE:
        for number, (name, histogram) in enumerate(shown.items()):
            value = histogram.percentile(percent) if percent else histogram.min_ns
            label = ("min" if not percent else "max" if percent == 100 else f"p{percent:g}") * (
                number == 0
            )
            middle = f"{name:<{name_width}} " if name_width else ""
            lines.append(
                f"{label:<{_LABEL}}{middle}{duration(value):>{_VALUE}} "
                f"{bar(log_share(value, low, high), room)}".rstrip()
            )
    return lines


def log_share(value: float, low: float, high: float) -> float:
    """Where value stands between low and high on a logarithmic scale; a little more than nothing
    for the lowest, so that it has a bar."""
    if high <= low:
        return 1.0
    share = math.log(max(value, low) / low) / math.log(high / low)
    return 0.02 + 0.98 * share


def duration(nanoseconds: float) -> str:
    """Three significant digits: 812 ns, 1.23 ms, 4.56 s."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size * 0.9995:
            return f"{significant(nanoseconds / size)} {unit}"
    return f"{nanoseconds:.0f} ns"


def comparison_cells(row: Row) -> tuple[str, str, str, str, str]:
    """A row of a comparison without its metric: both medians, ratio, spreads, verdict."""
    return (
        significant(row.base.median),
        significant(row.other.median),
        "-" if math.isnan(row.ratio) else significant(row.ratio),
        f"{row.base.relative:.0%} / {row.other.relative:.0%}",
        row.verdict,
    )


def significant(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    digits = max(0, 2 - math.floor(math.log10(abs(value)) + 1e-9))
    return f"{value:,.{min(digits, 6)}f}"

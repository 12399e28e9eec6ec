"""Line plots as SVG, to stand inside a page: percentile curves and values over time.

Pure: text comes out; whatever comes from outside is escaped. Colours are classes, which the page
defines for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.plots import duration, significant

WIDTH: Final = 760
HEIGHT: Final = 320
LEFT, RIGHT, TOP, BOTTOM = 74, 14, 14, 44
COLOURS: Final = 6
#: Lines whose legend finds room within a plot.
LEGEND_WITHIN: Final = 3
#: Percentiles that are marked below a curve.
MARKS: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)


@dataclass(frozen=True)
class Line:
    """x and y of each point, in units of the plot's axes."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """low..high is drawn; ticks: (value, label)."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    label: str

    def share(self, value: float) -> float:
        span = self.high - self.low
        return (value - self.low) / span if span > 0 else 0.5


def plot(lines: Sequence[Line], x: Axis, y: Axis, title: str) -> str:
    """An <svg> with a legend when there are several lines: within it, or below it when they are
    many."""
    below = len(lines) > LEGEND_WITHIN
    rows = -(-len(lines) // 2) if below else 0
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(px: float, py: float) -> str:
        return f"{LEFT + x.share(px) * width:.1f},{TOP + (1 - y.share(py)) * height:.1f}"

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + rows * 18}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    for value, label in y.ticks:
        at = TOP + (1 - y.share(value)) * height
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="y" x="{LEFT - 8}" y="{at + 4:.1f}">{escape(label)}</text>')
    for value, label in x.ticks:
        at = LEFT + x.share(value) * width
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{TOP + height}"/>')
        parts.append(f'<text class="x" x="{at:.1f}" y="{TOP + height + 18}">{escape(label)}</text>')
    middle = LEFT + width / 2
    parts.append(f'<text class="x" x="{middle:.1f}" y="{HEIGHT - 6}">{escape(x.label)}</text>')
    for number, line in enumerate(lines):
        points = " ".join(place(px, py) for px, py in line.points)
        parts.append(f'<polyline {stroke(number)} points="{points}"/>')
    if len(lines) > 1:
        for number, line in enumerate(lines):
            at, left = TOP + 16 + 18 * number, LEFT + 12
            if below:
                at = HEIGHT + 10 + 18 * (number // 2)
                left += number % 2 * WIDTH // 2
            parts.append(f'<path {stroke(number)} d="M{left} {at - 4}h22"/>')
            parts.append(f'<text x="{left + 30}" y="{at}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>"])


def stroke(number: int) -> str:
    """How a line is drawn; when the colours are used up they come again, dashed."""
    dashed = ' stroke-dasharray="7 4"' if number >= COLOURS else ""
    return f'class="c{number % COLOURS}"{dashed}'


def percentile_plot(curves: Sequence[tuple[str, Histogram]], title: str) -> str:
    """Latency (logarithmic) over percentile; "" without a value. Each further nine is as wide."""
    shown = [(name, histogram) for name, histogram in curves if histogram.count]
    if not shown:
        return ""
    most = max(histogram.count for _, histogram in shown)
    # A percentile that less than one value lies beyond says nothing.
    last = max(p for p in MARKS if p == 0 or most * (100 - p) / 100 >= 1 or p <= 90)
    nines = nines_of(last) + 0.3
    lines = []
    for name, histogram in shown:
        points = []
        for step in range(201):
            percent = 100 * (1 - 10 ** -(nines * step / 200))
            points.append((nines * step / 200, math.log10(max(1, histogram.percentile(percent)))))
        lines.append(Line(name, points))
    low = min(y for line in lines for _, y in line.points)
    high = max(y for line in lines for _, y in line.points)
    ticks = [(nines_of(p), "min" if not p else f"p{p:g}") for p in MARKS if p <= last]
    return plot(lines, Axis(0, nines, ticks, "percentile"), log_axis(low, high), title)


def nines_of(percent: float) -> float:
    return -math.log10(1 - percent / 100)


def log_axis(low: float, high: float, show: Callable[[float], str] = duration) -> Axis:
    """For powers of ten of what `show` tells, nanoseconds as a rule."""
    bottom, top = math.floor(low * 2) / 2, math.ceil(high * 2) / 2
    if top <= bottom:
        top = bottom + 0.5
    ticks = []
    for power in range(math.floor(bottom), math.ceil(top) + 1):
        for factor in (1, 2, 5) if top - bottom <= 2 else (1,):
            value = power + math.log10(factor)
            if bottom - 1e-9 <= value <= top + 1e-9:
                ticks.append((value, show(10.0**power * factor)))
    return Axis(bottom, top, ticks, "")


def time_plot(lines: Sequence[Line], title: str, show: Callable[[float], str] = significant) -> str:
    """Values over seconds, from 0 on; "" with fewer than two points."""
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return ""
    end = max(x for line in lines for x, _ in line.points)
    top = max(y for line in lines for _, y in line.points) or 1.0
    steps = nice_steps(top)
    x_ticks = [(value, significant(value) + " s") for value in nice_steps(end) if value <= end]
    y = Axis(0.0, steps[-1], [(value, show(value)) for value in steps], "")
    return plot(lines, Axis(0.0, end, x_ticks, "time"), y, title)


def log_plot(
    lines: Sequence[Line], ticks: Sequence[tuple[float, str]], label: str, title: str
) -> str:
    """Values over something that grows by factors, both axes logarithmic; what is not above 0 is
    left out. ticks: (x, what it is called); "" with fewer than two points in every line."""
    drawn = [
        Line(line.name, [(math.log2(x), math.log10(y)) for x, y in line.points if x > 0 < y])
        for line in lines
    ]
    drawn = [line for line in drawn if len(line.points) > 1]
    if not drawn:
        return ""
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points]
    places = [(math.log2(x), name) for x, name in ticks if x > 0]
    x_axis = Axis(min(xs), max(xs), [p for p in places if min(xs) <= p[0] <= max(xs)], label)
    return plot(drawn, x_axis, log_axis(min(ys), max(ys), significant), title)


def nice_steps(top: float) -> list[float]:
    """0 and up to six round steps; the last is not below top."""
    rough = top / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    return [step * number for number in range(math.ceil(top / step * 0.9999) + 1)]

"""Plots as SVG: well-formed, within their frame, escaped."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.svg import (
    COLOURS,
    HEIGHT,
    WIDTH,
    Line,
    log_axis,
    log_plot,
    nice_steps,
    nines_of,
    percentile_plot,
    time_plot,
)


def histogram(*values: int) -> Histogram:
    found = Histogram()
    for value in values:
        found.record(value)
    return found


def points_of(text: str) -> list[list[tuple[float, float]]]:
    """Of each line, after parsing the whole."""
    root = ElementTree.fromstring(text)
    lines = [e.attrib["points"] for e in root.iter() if e.tag.endswith("polyline")]
    pairs = [[pair.split(",") for pair in line.split()] for line in lines]
    return [[(float(x), float(y)) for x, y in line] for line in pairs]


@pytest.mark.parametrize("values", [(5,), (5, 5), tuple(range(1000, 90_000, 7)), (1, 10**12)])
def test_a_percentile_curve_rises_within_its_frame(values: tuple[int, ...]) -> None:
    [line] = points_of(percentile_plot([("a", histogram(*values))], "t"))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)
    assert line == sorted(line, key=lambda point: (point[0], -point[1]))
    assert percentile_plot([("a", Histogram())], "t") == ""


def test_two_curves_have_a_legend_and_names_are_escaped() -> None:
    text = percentile_plot([("<a>", histogram(5, 9)), ("b", histogram(50))], "t & u")
    assert len(points_of(text)) == 2
    assert "&lt;a&gt;" in text
    assert "t &amp; u" in text


def test_percentiles_without_values_beyond_are_not_marked() -> None:
    text = percentile_plot([("a", histogram(*range(1, 150)))], "t")
    assert re.findall(r">(p[\d.]+)<", text) == ["p50", "p90", "p99"]


def test_values_over_time() -> None:
    text = time_plot([Line("a", [(1.0, 10.0), (2.0, 40.0)]), Line("b", [(1.0, 3.0)])], "t")
    [line] = points_of(text)
    assert line[0][1] > line[1][1]
    assert time_plot([Line("a", [(1.0, 1.0)])], "t") == ""
    assert points_of(time_plot([Line("a", [(1.0, 0.0), (2.0, 0.0)])], "t"))


@pytest.mark.parametrize("top", [0.003, 1.0, 7.3, 10.0, 999.0, 1_000_001.0])
def test_steps_are_round_and_reach_the_top(top: float) -> None:
    steps = nice_steps(top)
    assert steps[0] == 0
    assert steps[-1] >= top * 0.999
    assert 2 <= len(steps) <= 7


def test_axes_of_powers() -> None:
    axis = log_axis(3.1, 3.9)
    assert [label for _, label in axis.ticks] == ["1.00 µs", "2.00 µs", "5.00 µs", "10.0 µs"]
    assert log_axis(3.0, 3.0).high > 3
    assert nines_of(99.9) == pytest.approx(3)


def test_both_axes_can_be_logarithmic() -> None:
    lines = [Line("a", [(512, 10.0), (4096, 0.0), (65_536, 1000.0)]), Line("b", [(512, 5.0)])]
    drawn = log_plot(lines, [(512, "512 B"), (65_536, "64 KiB"), (1 << 40, "far")], "size", "t")
    root = ElementTree.fromstring(drawn)
    found = [part for part in root.iter() if part.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in found] == [2]  # 0 has no logarithm
    labels = [part.text for part in root.iter() if part.tag.endswith("text")]
    assert {"512 B", "64 KiB", "10.0", "1,000"} <= set(labels)
    assert "far" not in labels
    assert "stroke-dasharray" not in drawn
    many = [Line(str(n), [(1.0, n + 1.0), (2.0, n + 2.0)]) for n in range(COLOURS + 1)]
    assert log_plot(many, [], "size", "t").count("stroke-dasharray") == 2  # line and legend
    [height] = re.findall(r'viewBox="0 0 \d+ (\d+)"', log_plot(many, [], "size", "t"))
    assert int(height) == HEIGHT + 4 * 18  # the legend has its place below
    assert log_plot(lines[1:], [], "size", "t") == ""

"""Bars and numbers in characters."""

import pytest

from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.plots import (
    CURVE,
    bar,
    duration,
    log_share,
    percentile_lines,
    significant,
    sparkline,
)


def test_a_bar_is_as_long_as_its_share() -> None:
    assert bar(0.5, 10) == "█████"
    assert bar(1 / 16, 8) == "▌"
    assert (bar(0, 10), bar(-1, 10), bar(2, 3)) == ("", "", "███")


def test_a_sparkline_runs_from_nothing_to_the_largest() -> None:
    assert sparkline([0, 4, 8]) == "▁▅█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert len(sparkline(list(range(1000)), 40)) == 40


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0 ns"), (812, "812 ns"), (1234567, "1.23 ms"), (45_600_000_000, "45.6 s")],
)
def test_durations(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (12.345, "12.3"), (0.01234, "0.0123"), (1e-9, "0.000000")],
)
def test_three_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_a_percentile_curve_has_a_line_for_each_and_fits() -> None:
    one, other = Histogram(), Histogram()
    for value in range(1000, 100_000, 100):
        one.record(value)
        other.record(value * 2)
    lines = percentile_lines({"a": one, "bb": other}, 70)
    assert len(lines) == 2 * len(CURVE)
    assert all(len(line) <= 70 for line in lines)
    assert lines[0].startswith("min")
    assert "█" in lines[-1]
    assert percentile_lines({"a": Histogram()}) == []
    assert log_share(5, 5, 5) == 1.0

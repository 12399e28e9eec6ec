"""Ratios, and what is called noise."""

import json
import math

import pytest

from tidelog.benchmarks.compare import (
    compare_reports,
    compare_rounds,
    differences,
    verdict,
)
from tidelog.benchmarks.results import Measured, Report, Round, Spread


def measured(name: str, *rates: float) -> Measured:
    return Measured(name, [Round({"records_per_s": rate, "drain_s": 1 / rate}) for rate in rates])


def test_ratio_is_the_others_median_to_the_bases() -> None:
    found = compare_rounds(measured("a", 10, 11, 11, 11, 12), measured("b", 20, 22, 22, 22, 24))
    rows = {row.metric: row for row in found.rows}
    assert rows["records_per_s"].ratio == 2.0
    assert rows["records_per_s"].verdict == "better"
    assert rows["drain_s"].ratio == pytest.approx(0.5)
    assert rows["drain_s"].verdict == "better"
    assert not found.warnings


@pytest.mark.parametrize(
    ("metric", "base", "other", "rounds", "expected"),
    [
        ("records_per_s", (10, 9, 11), (12, 10.5, 14), 5, "within the noise"),
        ("records_per_s", (10, 9, 11), (8, 7, 8.5), 5, "worse"),
        ("produce_p99_us", (10, 9, 11), (8, 7, 8.5), 5, "better"),
        ("client_cpu_share", (10, 9, 11), (8, 7, 8.5), 5, "lower"),
        ("client_cpu_share", (10, 9, 11), (18, 17, 18.5), 5, "higher"),
        ("records_per_s", (10, 10, 10), (8, 8, 8), 4, ""),
        ("records_per_s", (10, 10, 10), (10, 10, 10), 1, "equal"),
        ("records_per_s", (1000, 300, 1001), (1004, 1003, 1005), 5, "equal"),
    ],
)
def test_verdicts(
    metric: str,
    base: tuple[float, float, float],
    other: tuple[float, float, float],
    rounds: int,
    expected: str,
) -> None:
    assert verdict(metric, Spread(*base), Spread(*other), rounds) == expected


def test_few_rounds_are_warned_about_and_nothing_divides_by_zero() -> None:
    found = compare_rounds(Measured("a", [Round({"drain_s": 0.0})]), measured("b", 1))
    assert "1 round a side" in found.warnings[0]
    assert math.isnan(found.rows[0].ratio)
    assert json.loads(json.dumps(found.to_json()))["metrics"]["drain_s"]["ratio"] is None


def test_reports_with_other_settings_are_compared_and_say_so() -> None:
    base = Report("w", {"partitions": 1, "bootstrap": "a:1"}, [measured("a", 1, 2, 3, 4, 5)])
    other = Report("w", {"partitions": 2, "bootstrap": "b:1"}, [measured("b", 1, 2, 3, 4, 5)])
    [found] = compare_reports(base, other)
    assert found.warnings == ["partitions differs: 1 and 2"]


def test_reports_that_cannot_be_compared() -> None:
    base = Report("w", {}, [measured("a", 1)])
    with pytest.raises(ValueError, match="different workloads"):
        compare_reports(base, Report("v", {}, [measured("a", 1)]))
    with pytest.raises(ValueError, match="no round"):
        compare_reports(base, Report("w", {}, []))


def test_differences_of_mappings() -> None:
    assert differences({"a": 1, "b": 2}, {"b": 3, "c": 4}) == [
        ("a", 1, None),
        ("b", 2, 3),
        ("c", None, 4),
    ]

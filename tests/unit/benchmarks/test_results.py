"""Reports as JSON and back, medians and ranges."""

import json
from typing import Any

import pytest

from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.results import (
    FIGURES,
    Measured,
    Report,
    Round,
    Second,
    Spread,
    better_of,
    spreads,
    unit_of,
)


def a_round(rate: float, *latencies_us: int) -> Round:
    histogram = Histogram()
    for value in latencies_us:
        histogram.record(value * 1000)
    return Round(
        {"records_per_s": rate},
        {"produce": histogram},
        [Second(1.0, 10, 1000, 3)],
        {"requests": 4},
        0.5,
        0.75,
        ["busy"],
    )


def a_report(*rates: float) -> Report:
    rounds = [a_round(rate, 100, 200) for rate in rates]
    return Report(
        "w",
        {"partitions": 3},
        [Measured("h:1", rounds)],
        "2026-01-01T00:00:00+00:00",
        {"tidelog": "1"},
        {"cpus": 2},
        ["noise"],
    )


def test_a_report_comes_back_from_json() -> None:
    text = json.dumps(a_report(5.0, 7.0).to_json())
    assert Report.from_json(json.loads(text)).to_json() == json.loads(text)
    assert json.loads(text)["targets"][0]["medians"]["records_per_s"] == 6.0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": "x"}, "not a result"),
        ({"version": 99}, "version 99"),
        ({"targets": [{}]}, "damaged"),
        ({"settings": None}, "damaged"),
        ({"targets": 3}, "damaged"),
    ],
)
def test_what_is_no_report(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Report.from_json(a_report(1.0).to_json() | change)
    with pytest.raises(ValueError, match="not a result"):
        Report.from_json([1])


def test_spreads_are_median_and_range_of_what_all_rounds_have() -> None:
    rounds = [a_round(rate, 100) for rate in (3.0, 9.0, 4.0)]
    odd = Round({"records_per_s": 5.0, "drain_s": 1.0})
    found = spreads(rounds)
    assert found["records_per_s"] == Spread(4.0, 3.0, 9.0)
    assert found["records_per_s"].relative == 1.5
    assert found["produce_p50_us"].median == pytest.approx(100, rel=0.01)
    assert set(spreads([odd, rounds[0]])) == {"records_per_s"}
    assert spreads([]) == {}
    assert Spread(0.0, 0.0, 0.0).relative == 0.0


def test_latencies_of_all_rounds_are_one_histogram() -> None:
    measured = Measured("h:1", [a_round(1.0, 5, 6), Round({}), a_round(1.0, 7)])
    assert measured.latency("produce").count == 3
    assert measured.latency("none").count == 0


def test_every_figure_says_what_is_better() -> None:
    assert {figure.better for figure in FIGURES.values()} == {"higher", "lower", ""}
    assert (better_of("produce_p99_us"), unit_of("produce_p99_us")) == ("lower", "µs")
    assert (better_of("records_per_s"), unit_of("mb_per_s")) == ("higher", "MB/s")
    assert (better_of("nothing"), unit_of("nothing")) == ("", "")

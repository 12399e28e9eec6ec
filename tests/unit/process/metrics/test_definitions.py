"""The table of metrics."""

from __future__ import annotations

import re

import pytest

from tidelog.process.metrics.definitions import BY_NAME, METRICS, Metric


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_are_as_prometheus_wants_them(metric: Metric) -> None:
    assert re.fullmatch("[a-z][a-z0-9_]*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
    assert metric.help and not metric.help.endswith(".")
    assert "node" not in metric.labels[1:]


def test_a_name_stands_once() -> None:
    assert len(BY_NAME) == len(METRICS)

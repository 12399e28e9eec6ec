"""docs/metrics.md and the dashboard name the metrics that there are, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidelog.process.metrics.definitions import BY_NAME, METRICS

DOCS = Path(__file__).parents[4] / "docs"
ROW = re.compile(r"^\| `([a-z0-9_]+)` \| (counter|gauge|histogram) \| (.*?) ?\| (.*) \|$", re.M)
#: A selector: a name with a matcher or a range behind it, or one of our names alone.
SELECTOR = re.compile(r"\b((?:kafka|tidelog|process|up)[a-z0-9_]*)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r"\s*([a-z_]+)\s*(?:=~|!~|!=|=)")
GROUPING = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")
PART = re.compile("_(?:bucket|sum|count)$")


def problems_of(query: str) -> list[str]:
    """Metrics and labels in a query that do not exist."""
    found, labels_known = [], {"le"}
    for name, matchers in SELECTOR.findall(query):
        metric = BY_NAME.get(name)
        if metric is None and (base := BY_NAME.get(PART.sub("", name))) is not None:
            metric = base if base.kind == "histogram" else None
        elif metric is not None and metric.kind == "histogram":
            metric = None  # only its parts are series
        if metric is None:
            found.append(name)
            continue
        labels_known |= {*metric.labels}
        found += [
            f"{name}{{{label}}}"
            for label in MATCHER.findall(matchers)
            if label not in (*metric.labels, "le")
        ]
    for grouping in GROUPING.findall(query):
        found += [
            f"by {label}"
            for label in (part.strip() for part in grouping.split(","))
            if label and label not in labels_known
        ]
    return found


def test_the_table_has_every_metric() -> None:
    rows = ROW.findall((DOCS / "metrics.md").read_text())
    expected = [
        (m.name, m.kind, ", ".join(f"`{label}`" for label in m.labels), m.help) for m in METRICS
    ]
    assert rows == expected


def test_queries_in_the_text_can_be_asked() -> None:
    text = (DOCS / "metrics.md").read_text().partition("## What to watch")[2]
    queries = re.findall(r"`([^`\n]*(?:\(|==|>)[^`\n]*)`", text.partition("## Stages")[0])
    assert len(queries) >= 8
    assert [(query, problems) for query in queries if (problems := problems_of(query))] == []


def expressions(part: Any) -> Iterator[str]:
    """Every query of a dashboard, also those of its variables."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "expr" or (key == "query" and isinstance(value, str) and "(" in value):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)


def test_the_dashboard_asks_for_what_there_is() -> None:
    board = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = list(expressions(board))
    assert len(queries) >= 20
    assert [(query, problems) for query in queries if (problems := problems_of(query))] == []
    asked = {PART.sub("", name) for query in queries for name, _ in SELECTOR.findall(query)}
    assert {
        "kafka_consumergroup_lag",
        "tidelog_request_stage_seconds",
        "kafka_network_requestmetrics_errors_total",
    } <= asked


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    panels = json.loads((DOCS / "grafana-dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in cells, panel["title"]
                assert x < 24
                cells.add((x, y))


@pytest.mark.parametrize(
    "query",
    [
        "rate(tidelog_no_such_total[5m])",
        'kafka_consumergroup_lag{group="x"}',
        "rate(tidelog_request_stage_seconds[5m])",
        "sum by (nod) (tidelog_connections)",
        "kafka_brokers_bucket",
    ],
)
def test_the_check_can_fail(query: str) -> None:
    assert problems_of(query)

"""What two looks at a cluster are made into."""

from __future__ import annotations

import math

import pytest

from tidelog.cli.top_view import (
    GroupTotals,
    Look,
    NodeTotals,
    Progress,
    TopicTotals,
    cell,
    compare,
    quantile,
    rate,
    shown,
)

INF = math.inf


def test_topics_by_what_they_changed_by_the_busiest_first() -> None:
    before = Look(10, 0.1, topics={"a": TopicTotals(100, 1000, 0, 5), "b": TopicTotals(0)})
    topics = {"a": TopicTotals(120, 2000, 10, 9), "b": TopicTotals(90), "c": TopicTotals(7)}
    now = Look(12, 0.02, topics=topics)
    view = compare(before, now)
    assert view.answered_ms == 20
    assert [row["topic"] for row in view.topics] == ["b", "a", "c"]
    assert view.topics[1] == {
        "topic": "a",
        "records_in_per_s": 10,
        "bytes_in_per_s": 500,
        "bytes_out_per_s": 5,
        "size": 9,
    }
    assert view.topics[0]["bytes_in_per_s"] is None
    # A topic that is new has no rate yet.
    assert view.topics[2]["records_in_per_s"] == 0


def test_groups_by_their_lag_in_each_topic() -> None:
    before = Look(0, 0, groups={"g": GroupTotals("Stable", 2, {"t": Progress(100, 50)})})
    groups = {
        "g": GroupTotals("Stable", 2, {"t": Progress(140, 30), "u": Progress(5, 99)}),
        "h": GroupTotals("Empty", 0),
    }
    view = compare(before, Look(2, 0, groups=groups))
    assert [(row["group"], row["topic"]) for row in view.groups] == [
        ("g", "u"), ("g", "t"), ("h", None)
    ]  # fmt: skip
    assert view.groups[0]["committed_per_s"] == 0
    assert view.groups[1] == {
        "group": "g",
        "state": "Stable",
        "members": 2,
        "topic": "t",
        "committed_per_s": 20,
        "lag": 30,
        "lag_per_s": -10,
    }
    assert list(view.groups[2]) == list(view.groups[1])


def test_latencies_are_those_of_the_interval() -> None:
    before = Look(0, 0, latencies={"Fetch": {0.001: 100, 0.01: 100, INF: 100}})
    latencies = {"Fetch": {0.001: 100, 0.01: 120, INF: 120}, "Produce": {0.001: 0, INF: 0}}
    (row,) = compare(before, Look(2, 0, latencies=latencies)).requests
    assert row["request"] == "Fetch"
    assert row["per_s"] == 10
    assert row["p50_ms"] == pytest.approx(5.5)


def test_a_node_that_began_anew_counts_from_nothing() -> None:
    before = Look(0, 0, latencies={"Fetch": {0.001: 100, INF: 200}})
    after = Look(1, 0, latencies={"Fetch": {0.001: 4, INF: 4}})
    (row,) = compare(before, after).requests
    assert row["per_s"] == 4
    assert rate(100, 30, 2) == 15


def test_nodes() -> None:
    before = Look(0, 0, nodes={"1": NodeTotals(True, 1.0, 5, 2)})
    nodes = {"1": NodeTotals(True, 1.5, 6, 3), "2": NodeTotals(False)}
    view = compare(before, Look(1, 0, nodes=nodes))
    assert view.nodes[0]["cpu_percent"] == 50
    assert view.nodes[1] == {
        "node": "2", "up": False, "cpu_percent": None, "memory": None, "connections": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 2.0), (0.99, 3.0)]
)
def test_quantiles_are_interpolated(q: float, expected: float) -> None:
    assert quantile({1.0: 50, 3.0: 100 if q == 0.75 else 99, INF: 100}, q) == pytest.approx(
        expected, rel=0.03
    )


def test_beyond_the_last_bound_its_the_bound() -> None:
    assert quantile({1.0: 0, INF: 10}, 0.5) == 1.0


def test_cells_are_for_people() -> None:
    assert cell("size", None) == "-"
    assert cell("size", 0.0) == "0 B"
    assert cell("bytes_in_per_s", 1536.0) == "1.5 KiB"
    assert cell("memory", 3 * 1024**4) == "3.0 TiB"
    assert cell("lag", 1234567.0) == "1,234,567"
    assert cell("p99_ms", 1.25) == "1.2"
    assert cell("up", False) == "NO"
    assert cell("members", 1000) == "1,000"
    assert shown([{"topic": "a"}, {"topic": "b"}], 1) == [["a"]]


def test_a_view_is_json() -> None:
    view = compare(Look(0, 0), Look(1, 0))
    assert view.as_json() == {
        "answered_ms": 0, "topics": [], "groups": [], "requests": [], "nodes": []
    }  # fmt: skip

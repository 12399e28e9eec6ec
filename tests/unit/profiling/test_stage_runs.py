"""Samples during runs, with a bench and nodes that are made up; real ones: tests/clients."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.profiling.samples import node_samples
from tidelog.benchmarks.shapes import WORKLOADS
from tidelog.cpu_samples import NodeSamples, Order
from tidelog.profiling import stage_runs
from tidelog.profiling.gather import ProfileError
from tidelog.profiling.results import Section
from tidelog.profiling.sampling import Nodes
from tidelog.profiling.stage_runs import StageRuns

WORKLOAD = WORKLOADS["produce-255"]


class Bench:
    def __init__(self) -> None:
        self.target = SimpleNamespace(bootstrap="127.0.0.1:1")
        self.runs = 0

    def measure(self, workload: Any) -> None:
        assert workload is WORKLOAD
        self.runs += 1


def test_each_load_is_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[Order] = []

    def sampled(
        cluster_id: str, node_ids: tuple[int, ...], order: Order, enough: threading.Event
    ) -> list[NodeSamples]:
        assert (cluster_id, node_ids) == ("c", (1, 2))
        assert enough.wait(30)  # the run has ended
        orders.append(order)
        return [node_samples(), node_samples(node_id=2)]

    monkeypatch.setattr(stage_runs, "nodes_of", lambda _: Nodes("c", (1, 2)))
    monkeypatch.setattr(stage_runs, "sample_nodes", sampled)
    runs, bench = StageRuns(), Bench()
    runs.run(bench, "small", WORKLOAD)  # type: ignore[arg-type]
    runs.run(bench, "large", WORKLOAD)  # type: ignore[arg-type]
    section = runs.section()
    assert runs.ran and bench.runs == 2 and len(orders) == 2
    each, share = section.tables
    assert [column.name for column in each.columns] == ["small", "large"]
    assert {row.name: row.cells for row in each.rows}["append"] == [[600_000.0], [600_000.0]]
    assert {row.name: row.cells for row in share.rows}["receive"] == [[25.0], [25.0]]
    assert "large, node 2, loop" in section.attachments[0].data
    assert Section.from_json(section.to_json()).to_json() == section.to_json()


def test_a_broker_that_gives_no_samples_costs_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> Nodes:
        raise ProfileError("it is no Tidelog")

    monkeypatch.setattr(stage_runs, "nodes_of", refused)
    runs, bench = StageRuns(), Bench()
    runs.run(bench, "small", WORKLOAD)  # type: ignore[arg-type]
    section = runs.section()
    assert bench.runs == 1 and section.notes == ["it is no Tidelog"]
    assert not section.tables and not section.attachments

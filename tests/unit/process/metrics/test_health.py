"""When a host is ready."""

from __future__ import annotations

import json

import pytest

from tests.unit.process.metrics.views import host, node
from tidelog.process.metrics.health import readiness
from tidelog.process.metrics.samples import NodeState


def test_all_nodes_serve() -> None:
    ready, told = readiness(host(node(1), node(2)))
    assert ready
    assert told["status"] == "ready"
    assert [one["node"] for one in told["nodes"]] == [1, 2]
    assert "reason" not in json.dumps(told)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (None, "does not answer"),
        (NodeState(), "does not serve yet"),
        (NodeState(True, 6), "has applied metadata version 6"),
        (NodeState(True, 7, 2), "2 logs are being opened"),
        (NodeState(True, 7, 0, 1), "1 logs are offline"),
        (NodeState(False, -1, 3, 1), "does not serve yet; 3 logs are being opened; 1 logs"),
    ],
)
def test_one_node_is_not_ready(state: NodeState | None, reason: str) -> None:
    ready, told = readiness(host(node(1), node(2, state=state)))
    assert not ready
    assert told["status"] == "not ready"
    assert [one["ready"] for one in told["nodes"]] == [True, False]
    assert reason in told["nodes"][1]["reason"]


def test_a_host_without_nodes_is_not_ready() -> None:
    assert not readiness(host())[0]

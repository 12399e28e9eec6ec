"""`tidelog metadata` with a cluster in memory."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.cli.clusters import FakeCluster
from tidelog.cli.app import run

Output = pytest.CaptureFixture[str]


class DescribedCluster(FakeCluster):
    def describe_cluster(self, **_: object) -> Any:
        nodes = [SimpleNamespace(id=i, host="h", port=9090 + i, rack=None) for i in (2, 1)]
        return self._future(SimpleNamespace(cluster_id="c", controller=nodes[0], nodes=nodes))

    def list_topics(self, timeout: float) -> Any:
        partition = SimpleNamespace(id=0, leader=-1, replicas=[1, 2], isrs=[2])
        topic = SimpleNamespace(partitions={0: partition})
        return SimpleNamespace(topics={"b": topic, "__internal": topic})


@pytest.fixture(autouse=True)
def _cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.cli.metadata.connect", lambda bootstrap: DescribedCluster())


def test_for_people(capsys: Output) -> None:
    assert run(["metadata"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["cluster", "c", "controller", "2"]
    assert lines[2:4] == [["1", "h:9091"], ["2", "h:9092"]]
    assert lines[-1] == ["b", "0", "none", "1,2", "2"]


def test_for_programs(capsys: Output) -> None:
    assert run(["metadata", "--json", "--internal"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [topic["name"] for topic in found["topics"]] == ["__internal", "b"]
    assert found["topics"][1]["partitions"][0]["leader"] is None
    assert run(["metadata", "--json", "--no-topics"]) == 0
    assert "topics" not in json.loads(capsys.readouterr().out)

"""`tidelog configs --broker default`, with a node that answers from a table."""

from __future__ import annotations

import json
from typing import Any, Self

import pytest

from tidelog.cli import cluster_configs
from tidelog.cli.app import run
from tidelog.protocol.messages.describe_configs import (
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsResponse,
)

Output = pytest.CaptureFixture[str]


class FakeWire:
    answer: Any
    asked: list[tuple[int, int, Any]]

    def __init__(self, bootstrap: str) -> None:
        assert bootstrap

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def nodes(self) -> dict[int, tuple[str, int]]:
        return {2: ("h", 2), 1: ("h", 1)}

    def ask(self, node_id: int, request: Any, version: int, answer: type) -> Any:
        self.asked.append((node_id, version, request))
        assert isinstance(self.answer, answer)
        return self.answer


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> type[FakeWire]:
    monkeypatch.setattr(cluster_configs, "Wire", FakeWire)
    FakeWire.asked = []
    return FakeWire


def test_describe(wire: type[FakeWire], capsys: Output) -> None:
    configs = [
        DescribeConfigsResourceResult(name="log.retention.ms", value="7", config_source=3),
        DescribeConfigsResourceResult(name="a.secret", is_sensitive=True, config_source=3),
    ]
    wire.answer = DescribeConfigsResponse(results=[DescribeConfigsResult(configs=configs)])
    assert run(["configs", "describe", "--broker", "default", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["value"], row["source"]) for row in rows] == [
        ("a.secret", "(secret)", "all nodes, changed while they ran"),
        ("log.retention.ms", "7", "all nodes, changed while they ran"),
    ]
    ((node, _, request),) = wire.asked
    (resource,) = request.resources
    assert (node, resource.resource_type, resource.resource_name) == (1, 4, "")
    assert resource.configuration_keys is None


def test_alter(wire: type[FakeWire], capsys: Output) -> None:
    wire.answer = IncrementalAlterConfigsResponse(responses=[AlterConfigsResourceResponse()])
    options = ["--set", "log.retention.ms=7", "--delete", "log.roll.ms", "--validate-only"]
    assert run(["configs", "alter", "--broker", "default", *options]) == 0
    assert capsys.readouterr().out == "valid for all nodes\n"
    ((_, _, request),) = wire.asked
    assert request.validate_only
    (resource,) = request.resources
    assert (resource.resource_type, resource.resource_name) == (4, "")
    assert [(one.name, one.config_operation, one.value) for one in resource.configs] == [
        ("log.retention.ms", 0, "7"),
        ("log.roll.ms", 1, None),
    ]


def test_a_refusal(wire: type[FakeWire], capsys: Output) -> None:
    refused = AlterConfigsResourceResponse(error_code=42, error_message="no such value")
    wire.answer = IncrementalAlterConfigsResponse(responses=[refused])
    assert run(["configs", "alter", "--broker", "default", "--set", "a=1"]) == 1
    expected = "configs of all nodes were not changed: no such value (INVALID_REQUEST)"
    assert capsys.readouterr().err == f"tidelog: {expected}\n"
    wire.answer = DescribeConfigsResponse(results=[DescribeConfigsResult(error_code=29)])
    assert run(["configs", "describe", "--broker", "default"]) == 1
    assert "(TOPIC_AUTHORIZATION_FAILED)" in capsys.readouterr().err
    wire.answer = DescribeConfigsResponse()
    assert run(["configs", "describe", "--broker", "default"]) == 1
    assert "the answer is empty" in capsys.readouterr().err

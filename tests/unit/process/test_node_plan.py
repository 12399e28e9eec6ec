"""Which nodes run on which addresses."""

from __future__ import annotations

import pytest

from tidelog.config import ConfigValueError
from tidelog.limits import WORKERS_AUTO_MAX, WORKERS_MAX
from tidelog.process.node_plan import (
    NodePlan,
    PlanError,
    plan_advertised,
    plan_listeners,
    plan_nodes,
)

PROTOCOLS = {
    "PLAINTEXT": "PLAINTEXT",
    "SSL": "SSL",
    "CONTROLLER": "PLAINTEXT",
    "OTHER": "PLAINTEXT",
}


@pytest.mark.parametrize(
    ("recorded", "first", "workers", "cores", "expected"),
    [
        ([], None, None, 4, NodePlan((1, 2, 3, 4), ())),
        ([], None, None, 64, NodePlan(tuple(range(1, WORKERS_AUTO_MAX + 1)), ())),
        ([], None, None, 0, NodePlan((1,), ())),
        ([], None, 2, 8, NodePlan((1, 2), ())),
        ([], 5, 2, 8, NodePlan((5, 6), ())),
        ([], 0, 1, 8, NodePlan((0,), ())),
        ([1, 2], None, None, 8, NodePlan((1, 2), ())),
        ([5, 6], None, None, 1, NodePlan((5, 6), ())),
        ([5, 6], 5, 3, 1, NodePlan((5, 6, 7), ())),
        ([1, 2, 3], 1, 1, 8, NodePlan((1,), (2, 3))),
    ],
)
def test_nodes(
    recorded: list[int], first: int | None, workers: int | None, cores: int, expected: NodePlan
) -> None:
    assert plan_nodes(recorded, first, workers, cores) == expected


@pytest.mark.parametrize(
    ("recorded", "first", "workers"),
    [([], -1, 1), ([1, 2], 2, 2), ([], None, 0), ([], None, WORKERS_MAX + 1)],
)
def test_impossible_nodes(recorded: list[int], first: int | None, workers: int) -> None:
    with pytest.raises(PlanError):
        plan_nodes(recorded, first, workers, 4)


def addresses(values: list[str], nodes: int, controllers: list[str]) -> list[list[str]]:
    plan = plan_listeners(values, PROTOCOLS, controllers, nodes)
    return [[f"{e.name}/{e.host}:{e.port}" for e in endpoints] for endpoints in plan]


def test_listeners_of_each_node() -> None:
    assert addresses(["PLAINTEXT://h:9092"], 3, []) == [
        ["PLAINTEXT/h:9092"],
        ["PLAINTEXT/h:9093"],
        ["PLAINTEXT/h:9094"],
    ]
    assert addresses(["PLAINTEXT://:0"], 2, []) == [["PLAINTEXT/:0"], ["PLAINTEXT/:0"]]
    two = ["PLAINTEXT://h:9092", "OTHER://[::1]:19092"]
    assert addresses(two, 2, [])[1] == ["PLAINTEXT/h:9093", "OTHER/::1:19093"]


def test_apaches_own_file_has_a_controller_listener() -> None:
    values = ["PLAINTEXT://:9092", "CONTROLLER://:9093"]
    assert addresses(values, 2, ["controller"]) == [["PLAINTEXT/:9092"], ["PLAINTEXT/:9093"]]


@pytest.mark.parametrize(
    ("values", "nodes", "controllers"),
    [
        (["SSL://h:9092"], 1, []),
        (["CONTROLLER://h:9092"], 1, ["CONTROLLER"]),
        (["PLAINTEXT://h:65535"], 2, []),
        (["nonsense"], 1, []),
    ],
)
def test_impossible_listeners(values: list[str], nodes: int, controllers: list[str]) -> None:
    with pytest.raises(ConfigValueError):
        plan_listeners(values, PROTOCOLS, controllers, nodes)


def test_advertised() -> None:
    assert plan_advertised(None, PROTOCOLS, 2) == [{}, {}]
    shifted = plan_advertised(["PLAINTEXT://h:19092"], PROTOCOLS, 2)
    assert [plan["PLAINTEXT"].port for plan in shifted] == [19092, 19093]
    listed = plan_advertised(["PLAINTEXT://a:1", "PLAINTEXT://b:7"], PROTOCOLS, 2)
    assert [(plan["PLAINTEXT"].host, plan["PLAINTEXT"].port) for plan in listed] == [
        ("a", 1),
        ("b", 7),
    ]
    with pytest.raises(ConfigValueError, match="2 addresses"):
        plan_advertised(["PLAINTEXT://a:1", "PLAINTEXT://b:7"], PROTOCOLS, 3)

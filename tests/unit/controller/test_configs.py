"""Alter requests: operations, replacement, and the codes that a running Kafka 4.3 gives."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import World
from tidelog.controller.requests import (
    AlterConfigs,
    AlterConfigsAnswer,
    AlterOperation,
    ConfigChange,
    NewTopic,
    ResourceChange,
)
from tidelog.metadata.records import ConfigRecord

SET, DELETE = AlterOperation.SET, AlterOperation.DELETE
APPEND, SUBTRACT = AlterOperation.APPEND, AlterOperation.SUBTRACT
TOPIC, BROKER, GROUP = 2, 4, 32


@pytest.fixture
def world() -> World:
    made = World(nodes=2)
    made.create(NewTopic("t", configs=(("retention.ms", "1"), ("cleanup.policy", "compact"))))
    return made


def alter(
    world: World,
    changes: list[tuple[str, str | None, int]],
    resource: tuple[int, str] = (TOPIC, "t"),
    *,
    incremental: bool = True,
    validate_only: bool = False,
) -> int:
    item = ResourceChange(*resource, tuple(ConfigChange(*change) for change in changes))
    answer = world.ask(AlterConfigs((item,), validate_only, incremental))
    assert isinstance(answer, AlterConfigsAnswer)
    (result,) = answer.resources
    assert (result.resource_type, result.resource_name) == resource
    assert (result.error_message is None) == (result.error_code == 0)
    return result.error_code


def test_operations(world: World) -> None:
    assert (
        alter(
            world,
            [("segment.ms", "2", SET), ("retention.ms", None, DELETE), ("none", None, DELETE)],
        )
        == 0
    )
    assert world.image.config(TOPIC, "t") == {"segment.ms": "2", "cleanup.policy": "compact"}
    assert world.records == [
        ConfigRecord(TOPIC, "t", "segment.ms", "2"),
        ConfigRecord(TOPIC, "t", "retention.ms", None),
    ]


@pytest.mark.parametrize(
    ("before", "operation", "value", "after"),
    [
        ("compact", APPEND, "delete", "compact,delete"),
        ("compact", APPEND, "compact", "compact"),
        (None, APPEND, "compact", "delete,compact"),
        ("compact, delete", SUBTRACT, "delete", "compact"),
        ("compact", SUBTRACT, "delete", "compact"),
        ("compact", SUBTRACT, "compact", ""),
        ("", APPEND, "delete,compact", "delete,compact"),
        (None, SUBTRACT, "delete", ""),
    ],
)
def test_lists(world: World, before: str | None, operation: int, value: str, after: str) -> None:
    first = DELETE if before is None else SET
    assert alter(world, [("cleanup.policy", before, first)]) == 0
    assert alter(world, [("cleanup.policy", value, operation)]) == 0
    assert world.image.config(TOPIC, "t")["cleanup.policy"] == after


def test_what_does_not_change_is_not_written(world: World) -> None:
    version = world.image.version
    assert alter(world, [("retention.ms", "1", SET)]) == 0
    assert world.records == []
    assert world.image.version == version


def test_replacement(world: World) -> None:
    assert (
        alter(world, [("retention.ms", "1", SET), ("segment.ms", "3", SET)], incremental=False) == 0
    )
    assert world.image.config(TOPIC, "t") == {"retention.ms": "1", "segment.ms": "3"}
    assert alter(world, [], incremental=False) == 0
    assert world.image.config(TOPIC, "t") == {}


@pytest.mark.parametrize(
    ("changes", "resource", "code"),
    [
        ([("retention.ms", "bad", SET)], (TOPIC, "t"), 40),
        ([("retention.ms", None, SET)], (TOPIC, "t"), 42),
        ([("cleanup.policy", None, APPEND)], (TOPIC, "t"), 42),
        ([("retention.ms", "1", APPEND)], (TOPIC, "t"), 40),
        ([("retention.ms", "1", SUBTRACT)], (TOPIC, "t"), 40),
        ([("retention.ms", "1", SET), ("retention.ms", "2", SET)], (TOPIC, "t"), 42),
        ([("retention.ms", "1", 7)], (TOPIC, "t"), -1),
        ([("k", "1", SET)], (TOPIC, "none"), 3),
        ([("k", "1", SET)], (TOPIC, "a b"), 17),
        ([("k", "1", SET)], (TOPIC, ""), 42),
        ([("k", "1", SET)], (BROKER, "3"), 42),
        ([("k", "1", SET)], (BROKER, "x"), 42),
        ([("k", "1", SET)], (BROKER, "-1"), 42),
        ([("k", "1", SET)], (BROKER, "\u0661"), 42),
        ([("log.retention.ms", "bad", SET)], (BROKER, ""), 42),
        ([("num.partitions", "2", SET)], (BROKER, ""), 42),
        ([("unheard.of", "1", SET)], (TOPIC, "t"), 40),
        ([("unheard.of", "1", SET)], (GROUP, "g"), 40),
        ([("k", "1", SET)], (GROUP, ""), 42),
        ([("k", "1", SET)], (16, ""), 42),
        ([("k", "1", SET)], (8, "1"), 42),
        ([("k", "1", SET)], (99, "t"), 42),
        ([("k", "1", SET)], (BROKER, "9" * 5000), 42),
        ([("log.retention.ms", "\x1f0", SET)], (BROKER, ""), 42),
        ([("log.roll.ms", "\x1f0", SET)], (BROKER, ""), 42),
    ],
)
def test_refusals(
    world: World, changes: list[tuple[str, str | None, int]], resource: tuple[int, str], code: int
) -> None:
    assert alter(world, changes, resource) == code
    assert world.records == []


@pytest.mark.parametrize(
    ("resource", "key", "value"),
    [
        ((BROKER, ""), "log.retention.ms", "1000"),
        ((BROKER, "2"), "log.retention.ms", "1000"),
        ((BROKER, ""), "log.retention.ms", "\x1f1000"),
        ((BROKER, ""), "unheard.of", "x"),
        ((GROUP, "g"), "consumer.session.timeout.ms", "45000"),
        ((16, "m"), "interval.ms", "1000"),
    ],
)
def test_other_resources(world: World, resource: tuple[int, str], key: str, value: str) -> None:
    assert alter(world, [(key, value, SET)], resource) == 0
    assert world.image.config(*resource) == {key: value}


def test_a_refused_resource_changes_nothing_of_itself(world: World) -> None:
    assert alter(world, [("segment.ms", "1", SET), ("retention.ms", "bad", SET)]) == 40
    assert "segment.ms" not in world.image.config(TOPIC, "t")


def test_what_holds_for_all_brokers_counts(world: World) -> None:
    """The lags of compaction depend on each other, also when one is the brokers' default."""
    lag = [("min.compaction.lag.ms", "5000", SET)]
    assert alter(world, lag, validate_only=True) == 0
    world.apply(ConfigRecord(BROKER, "", "log.cleaner.max.compaction.lag.ms", "1000"))
    assert alter(world, lag, validate_only=True) == 40


def test_validate_only(world: World) -> None:
    assert alter(world, [("segment.ms", "1", SET)], validate_only=True) == 0
    assert alter(world, [("segment.ms", "bad", SET)], validate_only=True) == 40
    assert world.records == []


def test_resources_succeed_on_their_own_and_occur_once(world: World) -> None:
    change = (ConfigChange("retention.ms", "9"),)
    items = (
        ResourceChange(TOPIC, "t", change),
        ResourceChange(TOPIC, "none", change),
        ResourceChange(GROUP, "g", ()),
        ResourceChange(GROUP, "g", ()),
    )
    answer = world.ask(AlterConfigs(items))
    assert isinstance(answer, AlterConfigsAnswer)
    assert [r.error_code for r in answer.resources] == [0, 3, 42, 42]
    assert world.image.config(TOPIC, "t")["retention.ms"] == "9"

"""Changes of configs: results and refusals as a running Kafka 4.3.1 gave them."""

from __future__ import annotations

import pytest

from tidelog.config.changes import (
    INVALID_CONFIG,
    INVALID_REQUEST,
    Change,
    ConfigChangeError,
    incremental,
    replacement,
)
from tidelog.config.definition import ResourceType
from tidelog.config.layers import BrokerLayers

NONE = BrokerLayers()
TOPIC, BROKER, GROUP = ResourceType.TOPIC, ResourceType.BROKER, ResourceType.GROUP
METRICS = ResourceType.CLIENT_METRICS
SET, DELETE, APPEND, SUBTRACT = range(4)


def alter(
    kind: ResourceType, name: str, current: dict[str, str], *changes: tuple[str, int, str | None]
) -> dict[str, str]:
    return incremental(kind, name, current, [Change(*change) for change in changes], NONE)


def test_set_and_delete() -> None:
    assert alter(TOPIC, "t", {"retention.ms": "5"}, ("retention.ms", SET, "6")) == {
        "retention.ms": "6"
    }
    assert alter(TOPIC, "t", {"retention.ms": "5"}, ("retention.ms", DELETE, None)) == {}
    assert alter(TOPIC, "t", {}, ("no.such.config", DELETE, None)) == {}


def test_lists_grow_and_shrink() -> None:
    policy = "cleanup.policy"
    grown = alter(TOPIC, "t", {}, (policy, APPEND, "compact"))
    assert grown == {policy: "delete,compact"}
    assert alter(TOPIC, "t", grown, (policy, APPEND, "compact")) == grown
    shrunk = alter(TOPIC, "t", grown, (policy, SUBTRACT, "delete"))
    assert shrunk == {policy: "compact"}
    assert alter(TOPIC, "t", shrunk, (policy, SUBTRACT, "delete,compact")) == {policy: ""}


def test_the_current_configs_are_left_alone() -> None:
    current = {"retention.ms": "5"}
    alter(TOPIC, "t", current, ("retention.ms", SET, "6"))
    assert current == {"retention.ms": "5"}


@pytest.mark.parametrize(
    ("kind", "name", "changes", "code"),
    [
        (TOPIC, "t", [("retention.ms", APPEND, "1")], INVALID_CONFIG),
        (TOPIC, "t", [("retention.ms", SET, None)], INVALID_REQUEST),
        (TOPIC, "t", [("retention.ms", SET, "")], INVALID_CONFIG),
        (TOPIC, "t", [("retention.ms", 7, "1")], INVALID_REQUEST),
        (TOPIC, "t", [("retention.ms", SET, "1"), ("retention.ms", SET, "2")], INVALID_REQUEST),
        (TOPIC, "t", [("nope", SET, "1")], INVALID_CONFIG),
        (TOPIC, "", [("retention.ms", SET, "1")], INVALID_REQUEST),
        (TOPIC, "t", [("segment.bytes", SET, "1")], INVALID_CONFIG),
        (TOPIC, "t", [("remote.storage.enable", SET, "true")], INVALID_CONFIG),
        (
            TOPIC,
            "t",
            [("min.compaction.lag.ms", SET, "10"), ("max.compaction.lag.ms", SET, "5")],
            INVALID_CONFIG,
        ),
        (BROKER, "1", [("num.partitions", SET, "3")], INVALID_REQUEST),
        (BROKER, "", [("listeners", SET, "PLAINTEXT://:1")], INVALID_REQUEST),
        (BROKER, "1", [("log.segment.bytes", SET, "1")], INVALID_REQUEST),
        (BROKER, "1", [("log.segment.bytes", SET, "x")], INVALID_REQUEST),
        (BROKER, "1", [("log.segment.bytes", APPEND, "1")], INVALID_CONFIG),
        (BROKER, "1", [("log.roll.hours", SET, "5")], INVALID_REQUEST),
        (BROKER, "1", [("log.retention.ms", SET, "0")], INVALID_REQUEST),
        (BROKER, "", [("tidelog.nothing", SET, "0")], INVALID_REQUEST),
        (GROUP, "g", [("consumer.session.timeout.ms", SET, "5")], INVALID_CONFIG),
        (GROUP, "g", [("nope", SET, "5")], INVALID_CONFIG),
        (GROUP, "", [("consumer.session.timeout.ms", SET, "50000")], INVALID_REQUEST),
        (METRICS, "m", [("interval.ms", SET, "50")], INVALID_REQUEST),
        (METRICS, "m", [("match", SET, "foo=a.*")], INVALID_CONFIG),
        (METRICS, "", [("interval.ms", SET, "500")], INVALID_REQUEST),
        (ResourceType.BROKER_LOGGER, "1", [("a.logger", SET, "INFO")], INVALID_REQUEST),
    ],
)
def test_refusals(
    kind: ResourceType, name: str, changes: list[tuple[str, int, str | None]], code: int
) -> None:
    with pytest.raises(ConfigChangeError) as error:
        alter(kind, name, {}, *changes)
    assert error.value.code == code
    assert str(error.value)


def test_dynamic_broker_configs() -> None:
    assert alter(BROKER, "", {}, ("log.retention.ms", SET, "5")) == {"log.retention.ms": "5"}
    assert alter(BROKER, "1", {}, ("a.plug.ins.own", SET, "x")) == {"a.plug.ins.own": "x"}
    assert alter(BROKER, "1", {}, ("listener.name.a.ssl.keystore.type", SET, "JKS"))
    assert alter(BROKER, "1", {}, ("log.cleanup.policy", APPEND, "compact")) == {
        "log.cleanup.policy": "delete,compact"
    }
    # What stands there already is not judged again.
    assert alter(BROKER, "1", {"num.partitions": "3"}, ("max.connections", SET, "9"))


def test_replacement_forgets_the_rest() -> None:
    assert replacement(TOPIC, "t", [("retention.ms", "5")], NONE) == {"retention.ms": "5"}
    for configs, code in (
        ([("retention.ms", "5"), ("retention.ms", "6")], INVALID_REQUEST),
        ([("retention.ms", None)], INVALID_REQUEST),
        ([("retention.ms", "x")], INVALID_CONFIG),
        ([("nope", "x")], INVALID_CONFIG),
    ):
        with pytest.raises(ConfigChangeError) as error:
            replacement(TOPIC, "t", configs, NONE)
        assert error.value.code == code

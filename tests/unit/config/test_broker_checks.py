"""Checks of broker configs beyond the table of ranges."""

from __future__ import annotations

import pytest

from tidelog.config.broker_checks import check_dynamic, is_known, static_problems, value_problem
from tidelog.config.definition import ConfigValueError
from tidelog.config.layers import BrokerLayers


def test_single_values() -> None:
    assert value_problem("num.partitions", "3") is None
    assert value_problem("some.plug.in", "3") is None
    assert value_problem("log.retention.ms", "-1") is None
    for name, text in (
        ("num.partitions", "0"),
        ("num.partitions", "x"),
        ("log.retention.ms", "0"),
        ("log.retention.hours", "0"),
        ("log.roll.ms", "0"),
        ("tidelog.no.such", "1"),
        ("tidelog.helper.threads", "0"),
        ("listener.name.x.ssl.client.auth", "perhaps"),
    ):
        problem = value_problem(name, text)
        assert problem, name


def test_known_names() -> None:
    assert is_known("listeners")
    assert is_known("listener.name.a.ssl.provider")
    assert not is_known("listener.name.a.nothing")


@pytest.mark.parametrize(
    ("static", "word"),
    [
        ({"group.min.session.timeout.ms": "10", "group.max.session.timeout.ms": "5"}, "group.min"),
        ({"listeners": "PLAINTEXT://h"}, "listeners"),
        ({"listeners": "A://:1"}, "security protocol"),
        ({"advertised.listeners": "PLAINTEXT://0.0.0.0:1"}, "no address"),
        ({"listener.security.protocol.map": "A:B"}, "LISTENER:PROTOCOL"),
        ({"group.consumer.session.timeout.ms": "5"}, "does not lie between"),
        ({"group.share.max.heartbeat.interval.ms": "1"}, "does not lie between"),
    ],
)
def test_values_that_do_not_fit_together(static: dict[str, str], word: str) -> None:
    problems = list(static_problems(BrokerLayers(static=static)))
    assert len(problems) >= 1
    assert word in problems[0]


def test_defaults_fit_together() -> None:
    assert not list(static_problems(BrokerLayers()))


def test_what_may_change_at_runtime() -> None:
    check_dynamic({"log.retention.ms": "5", "x.y": "z"}, per_broker=False)
    check_dynamic({"listeners": "PLAINTEXT://:1"}, per_broker=True)
    for configs, per_broker in (
        ({"num.partitions": "5"}, True),
        ({"listeners": "PLAINTEXT://:1"}, False),
        ({"max.connections": "-1"}, True),
        ({"max.connections.per.ip.overrides": "10.0.0.1"}, False),
        ({"max.connections.per.ip": "0"}, False),
    ):
        with pytest.raises(ConfigValueError):
            check_dynamic(configs, per_broker=per_broker)


def test_a_wrong_value_is_said_once() -> None:
    with pytest.raises(ConfigValueError) as refused:
        check_dynamic({"num.io.threads": "abc"}, per_broker=True)
    expected = "invalid value abc for num.io.threads: not a number of type INT"
    assert str(refused.value) == expected
    with pytest.raises(ConfigValueError, match="no Tidelog config named"):
        check_dynamic({"tidelog.no.such": "1"}, per_broker=False)


def test_nobody_may_connect_only_if_somebody_may() -> None:
    overrides = {"max.connections.per.ip.overrides": "10.0.0.1:5"}
    check_dynamic({"max.connections.per.ip": "0", **overrides}, per_broker=False)
    layers = BrokerLayers(dynamic_default=overrides)
    check_dynamic({"max.connections.per.ip": "0"}, per_broker=False, layers=layers)

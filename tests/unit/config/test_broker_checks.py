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
        ("log.roll.jitter.ms", "-1"),
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
        ({"log.cleaner.dedupe.buffer.size": "1048576"}, "more than 1 MiB"),
        ({"log.cleaner.threads": "128"}, "more than 1 MiB"),
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
        ({"max.connections.per.ip": "-0"}, False),
        # Nobody could take them back.
        ({"max.connections": "0"}, False),
        ({"max.connection.creation.rate": "0"}, True),
        ({"group.consumer.assignment.interval.ms": "15001"}, False),
        ({"log.cleaner.dedupe.buffer.size": "-1"}, True),
        ({"log.cleaner.dedupe.buffer.size": "1048576"}, True),
        ({"log.roll.jitter.ms": "-1"}, False),
    ):
        with pytest.raises(ConfigValueError):
            check_dynamic(configs, per_broker=per_broker)
    check_dynamic({"group.consumer.assignment.interval.ms": "15000"}, per_broker=False)
    check_dynamic({"log.cleaner.dedupe.buffer.size": "1048577"}, per_broker=False)


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("log.cleaner.threads", "1 2", "0 3"),
        ("num.io.threads", "4 16", "0 1 3 17"),
        ("num.network.threads", "1 6", "0 7"),
        ("num.recovery.threads.per.data.dir", "1 4", "0 5"),
        ("num.replica.fetchers", "1 2", "0 3"),
        ("background.threads", "5 20", "0 4 21"),
    ],
)
def test_threads_change_in_steps(name: str, taken: str, refused: str) -> None:
    for text in taken.split():
        check_dynamic({name: text}, per_broker=False)
    for text in refused.split():
        with pytest.raises(ConfigValueError):
            check_dynamic({name: text}, per_broker=False)
    # What is set already may be set again.
    check_dynamic({name: "99"}, per_broker=True, layers=BrokerLayers(dynamic={name: "99"}))


def test_memory_of_the_cleaner_is_looked_at_with_its_threads() -> None:
    size, threads = "log.cleaner.dedupe.buffer.size", "log.cleaner.threads"
    held = BrokerLayers(static={size: str(3 << 20)})
    check_dynamic({threads: "2"}, per_broker=False, layers=held)
    for configs in ({threads: "2", size: str(2 << 20)}, {size: str(1 << 20)}):
        with pytest.raises(ConfigValueError, match="more than 1 MiB"):
            check_dynamic(configs, per_broker=False, layers=held)
    # What does not concern it is not held up by it.
    small = BrokerLayers(static={size: "5"})
    check_dynamic({"log.retention.ms": "5"}, per_broker=False, layers=small)


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

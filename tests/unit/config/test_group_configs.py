"""Configs of groups and of client metrics subscriptions: tables and bounds."""

from __future__ import annotations

import pytest

from tests.unit.config.test_broker_configs import FACTS, differences
from tidelog.config.broker_configs import BROKER_CONFIGS
from tidelog.config.definition import ConfigValueError, UnknownConfigError
from tidelog.config.group_configs import (
    GROUP_CONFIGS,
    validate_client_metrics,
    validate_group_configs,
)
from tidelog.config.layers import BrokerLayers

NONE = BrokerLayers()


def test_table_is_the_reference() -> None:
    assert not differences(GROUP_CONFIGS, FACTS["group"])
    synonyms = {
        name: definition.synonyms[0].name if definition.synonyms else None
        for name, definition in GROUP_CONFIGS.items()
    }
    assert synonyms == FACTS["group_synonyms"]
    assert set(BROKER_CONFIGS) >= {s for s in synonyms.values() if s is not None}


def test_values_in_bounds_are_taken() -> None:
    validate_group_configs({"consumer.session.timeout.ms": "50000"}, NONE)
    validate_group_configs({"share.auto.offset.reset": "by_duration:PT1H"}, NONE)
    validate_group_configs({}, NONE)


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("consumer.session.timeout.ms", "5", "less"),
        ("consumer.session.timeout.ms", "60001", "more"),
        ("share.delivery.count.limit", "11", "more"),
        ("streams.num.standby.replicas", "3", "more"),
        ("consumer.heartbeat.interval.ms", "x", "number"),
    ],
)
def test_values_out_of_bounds_are_refused(name: str, text: str, word: str) -> None:
    with pytest.raises(ConfigValueError, match=word):
        validate_group_configs({name: text}, NONE)


def test_bounds_are_the_brokers() -> None:
    wider = BrokerLayers(
        static={
            "group.consumer.min.session.timeout.ms": "\x1f1",
            "group.consumer.min.heartbeat.interval.ms": "1",
        }
    )
    validate_group_configs(
        {"consumer.session.timeout.ms": "6000", "consumer.heartbeat.interval.ms": "5"}, wider
    )
    with pytest.raises(ConfigValueError, match="not greater"):
        validate_group_configs({"consumer.session.timeout.ms": "5000"}, wider)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownConfigError, match="nope"):
        validate_group_configs({"nope": "1"}, NONE)
    with pytest.raises(UnknownConfigError, match="nope"):
        validate_client_metrics({"nope": "1"})


def test_client_metrics() -> None:
    validate_client_metrics({"interval.ms": "100", "match": "client_id=a.*", "metrics": "*"})
    for bad in ({"interval.ms": "99"}, {"match": "foo=a"}, {"match": "client_id=("}):
        with pytest.raises(ConfigValueError):
            validate_client_metrics(bad)

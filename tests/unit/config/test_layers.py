"""Which layer's value holds, and in which order the others stand behind it."""

from __future__ import annotations

from tidelog.config.definition import ConfigSource
from tidelog.config.layers import BrokerLayers

NAMES = ("log.retention.ms", "log.retention.minutes", "log.retention.hours")


def test_a_stronger_layer_goes_first_whatever_the_name() -> None:
    layers = BrokerLayers(
        static={"log.retention.minutes": "5"},
        dynamic_default={"log.retention.ms": "99999"},
        dynamic={"log.retention.ms": "88888"},
    )
    assert list(layers.entries(NAMES)) == [
        ("log.retention.ms", "88888", ConfigSource.DYNAMIC_BROKER),
        ("log.retention.ms", "99999", ConfigSource.DYNAMIC_DEFAULT_BROKER),
        ("log.retention.minutes", "5", ConfigSource.STATIC_BROKER),
        ("log.retention.hours", "168", ConfigSource.DEFAULT),
    ]
    assert list(layers.synonyms("log.retention.hours")) == list(layers.entries(NAMES))


def test_values() -> None:
    layers = BrokerLayers(static={"num.partitions": "3"}, dynamic={"a.plug.ins": "x"})
    assert layers.value("num.partitions") == "3"
    assert layers.value("default.replication.factor") == "1"
    assert layers.value("log.retention.ms") is None
    assert layers.value("a.plug.ins") == "x"
    assert layers.value("nothing") is None

"""Typed broker configs: defaults, layers, and the two that are parsed further."""

from __future__ import annotations

import pytest

from tidelog.config.broker_config import BrokerConfig, parse_ip_overrides
from tidelog.config.definition import ConfigValueError
from tidelog.config.layers import BrokerLayers


def test_defaults() -> None:
    config = BrokerConfig.resolve()
    assert config.socket_request_max_bytes == 104857600
    assert config.auto_create_topics_enable is True
    assert config.listeners == ("PLAINTEXT://:9092",)
    assert config.advertised_listeners is None
    assert config.node_id is None
    assert config.group_initial_rebalance_delay_ms == 0
    assert config.offsets_topic_replication_factor == 1
    assert config.data_dirs == config.log_dir


def test_layers_give_values() -> None:
    config = BrokerConfig.resolve(
        BrokerLayers(
            static={"node.id": "7", "log.dirs": "/a,/b", "max.connections": "5"},
            dynamic={"max.connections": "6"},
        )
    )
    assert (config.node_id, config.data_dirs, config.max_connections) == (7, ("/a", "/b"), 6)


def test_a_bad_value_is_named() -> None:
    with pytest.raises(ConfigValueError, match=r"num\.partitions"):
        BrokerConfig.resolve(BrokerLayers(static={"num.partitions": "0"}))


def test_limits_of_single_addresses() -> None:
    assert parse_ip_overrides("") == {}
    assert parse_ip_overrides("127.0.0.1:5, ::1:7,host:0") == {"127.0.0.1": 5, "::1": 7, "host": 0}
    config = BrokerConfig.resolve(
        BrokerLayers(static={"max.connections.per.ip.overrides": "10.0.0.1:2"})
    )
    assert config.connections_per_ip_overrides == {"10.0.0.1": 2}
    for text in ("x", ":5", "h:", "h:-1", "h:x", "h:1,,", "h:" + "9" * 5000):
        with pytest.raises(ConfigValueError):
            parse_ip_overrides(text)

"""Configs of the moment: layers in order, resolved anew only when configs change."""

from __future__ import annotations

from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ConfigRecord
from tidelog.replication.node_config import NodeConfig

TOPIC, BROKER = 2, 4


def image(*records: ConfigRecord) -> MetadataImage:
    return MetadataImage().apply(records, 1)


def test_layers() -> None:
    config = NodeConfig(1, {"log.retention.ms": "1000", "num.partitions": "7"})
    empty = image()
    assert config.broker(empty).num_partitions == 7
    assert config.topic(empty, "t").retention_ms == 1000
    everybody = image(ConfigRecord(BROKER, "", "log.retention.ms", "2000"))
    assert config.topic(everybody, "t").retention_ms == 2000
    own = everybody.apply([ConfigRecord(BROKER, "1", "log.retention.ms", "3000")], 2)
    assert config.topic(own, "t").retention_ms == 3000
    other = everybody.apply([ConfigRecord(BROKER, "2", "log.retention.ms", "4000")], 2)
    assert config.topic(other, "t").retention_ms == 2000
    topic = own.apply([ConfigRecord(TOPIC, "t", "retention.ms", "5000")], 3)
    assert config.topic(topic, "t").retention_ms == 5000
    assert config.topic(topic, "u").retention_ms == 3000
    assert config.topic(empty, "t").retention_ms == 1000


def test_values_are_kept_while_nothing_changes() -> None:
    config = NodeConfig(1, {})
    first = image(ConfigRecord(TOPIC, "t", "retention.ms", "5000"))
    kept = config.topic(first, "t"), config.topic(first, "u"), config.broker(first)
    again = config.topic(first, "t"), config.topic(first, "u"), config.broker(first)
    assert all(a is b for a, b in zip(kept, again, strict=True))
    # Another topic's config: the broker's own values are not resolved anew.
    second = first.apply([ConfigRecord(TOPIC, "v", "retention.ms", "1")], 2)
    assert config.broker(second) is kept[2]
    assert config.topic(second, "u") is kept[1]
    assert config.topic(second, "t") == kept[0]
    assert config.layers(second).static == {}

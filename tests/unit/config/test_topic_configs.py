"""The topic table is the reference's; values resolve through the layers as Kafka's do."""

from __future__ import annotations

import pytest

from tests.unit.config.test_broker_configs import FACTS, differences
from tidelog.config.broker_configs import BROKER_CONFIGS
from tidelog.config.definition import ConfigValueError, UnknownConfigError, parse_value
from tidelog.config.layers import BrokerLayers
from tidelog.config.topic_configs import TOPIC_CONFIGS, TopicConfig, validate_overrides


def test_table_is_the_reference() -> None:
    assert not differences(TOPIC_CONFIGS, FACTS["topic"])
    assert set(TOPIC_CONFIGS) == {fact["name"] for fact in FACTS["topic"]}
    synonyms = {
        name: [synonym.name for synonym in definition.synonyms]
        for name, definition in TOPIC_CONFIGS.items()
        if definition.synonyms
    }
    assert synonyms == FACTS["topic_synonyms"]


def test_a_topics_default_is_its_brokers() -> None:
    config = TopicConfig.resolve()
    for name, definition in TOPIC_CONFIGS.items():
        assert getattr(config, name.replace(".", "_")) == parse_value(
            definition, definition.default
        ), name


def test_effects_name_existing_configs() -> None:
    from tidelog.config.effects import TOPIC_EFFECTS

    assert set(TOPIC_CONFIGS) >= TOPIC_EFFECTS


@pytest.mark.parametrize(
    ("layers", "value"),
    [
        ({}, 604_800_000),
        ({"static": {"log.retention.hours": "2"}}, 7_200_000),
        ({"static": {"log.retention.hours": "2", "log.retention.minutes": "3"}}, 180_000),
        ({"static": {"log.retention.minutes": "3", "log.retention.ms": "4"}}, 4),
        ({"static": {"log.retention.minutes": "-1"}}, -1),
        (
            {
                "static": {"log.retention.ms": "4"},
                "dynamic_default": {"log.retention.ms": "5"},
            },
            5,
        ),
        (
            {
                "dynamic_default": {"log.retention.ms": "5"},
                "dynamic": {"log.retention.ms": "6"},
            },
            6,
        ),
        # Java's trim() takes every control character away.
        ({"static": {"log.retention.hours": "\x1f1"}}, 3_600_000),
        ({"static": {"log.retention.ms": "\x1c7"}}, 7),
    ],
)
def test_retention_precedence(layers: dict[str, dict[str, str]], value: int) -> None:
    below = BrokerLayers(**layers)
    assert TopicConfig.resolve({}, below).retention_ms == value
    assert TopicConfig.resolve({"retention.ms": "77"}, below).retention_ms == 77


@pytest.mark.parametrize("layer", ["static", "dynamic_default", "dynamic"])
@pytest.mark.parametrize(
    ("broker_config", "text", "name", "value"),
    [
        ("log.retention.ms", "-2", "retention_ms", -1),
        ("log.retention.hours", "-2", "retention_ms", -1),
        ("log.flush.interval.ms", "-1", "flush_ms", 0),
        ("log.flush.scheduler.interval.ms", "-5", "flush_ms", 0),
        ("log.roll.jitter.ms", "-1", "segment_jitter_ms", 0),
    ],
)
def test_what_a_broker_takes_and_a_topic_does_not(
    layer: str, broker_config: str, text: str, name: str, value: int
) -> None:
    """Kafka takes these for a broker; they must not end a node whose logs have no own ones."""
    layers = BrokerLayers(**{layer: {broker_config: text}})
    assert getattr(TopicConfig.resolve({}, layers), name) == value


def test_roll_and_flush_precedence() -> None:
    static = BrokerLayers(
        static={
            "log.roll.hours": "3",
            "log.roll.jitter.hours": "1",
            "log.flush.scheduler.interval.ms": "9",
        }
    )
    config = TopicConfig.resolve(None, static)
    assert (config.segment_ms, config.segment_jitter_ms, config.flush_ms) == (
        10_800_000,
        3_600_000,
        9,
    )
    closer = BrokerLayers(
        static={**static.static, "log.roll.ms": "10", "log.flush.interval.ms": "8"}
    )
    config = TopicConfig.resolve(None, closer)
    assert (config.segment_ms, config.flush_ms) == (10, 8)


def test_derived_values() -> None:
    config = TopicConfig.resolve(
        {
            "cleanup.policy": "compact, delete",
            "message.timestamp.type": "LogAppendTime",
            "compression.type": "zstd",
            "compression.zstd.level": "7",
            "internal.segment.bytes": "500",
        }
    )
    assert config.compact
    assert config.delete
    assert config.log_append_time
    assert config.compression_level == 7
    assert config.effective_segment_bytes == 500
    plain = TopicConfig.resolve()
    assert (plain.compact, plain.delete, plain.log_append_time) == (False, True, False)
    assert plain.compression_level is None
    assert plain.effective_segment_bytes == BROKER_CONFIGS_SEGMENT_BYTES
    assert not TopicConfig.resolve({"cleanup.policy": ""}).delete


BROKER_CONFIGS_SEGMENT_BYTES = int(BROKER_CONFIGS["log.segment.bytes"].default or 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("retention.ms", "abc"),
        ("retention.ms", "-2"),
        ("retention.ms", ""),
        ("segment.bytes", "1048575"),
        ("segment.bytes", "3000000000"),
        ("cleanup.policy", "foo"),
        ("cleanup.policy", "delete,,"),
        ("preallocate", "yes"),
        ("min.cleanable.dirty.ratio", "2"),
        ("compression.type", "GZIP"),
        ("compression.gzip.level", "0"),
        ("message.timestamp.type", "foo"),
        ("leader.replication.throttled.replicas", "a:b"),
        ("local.retention.ms", "-3"),
        ("min.insync.replicas", "0"),
        ("flush.messages", "0"),
        ("segment.index.bytes", "3"),
    ],
)
def test_values_that_the_reference_refuses(name: str, text: str) -> None:
    with pytest.raises(ConfigValueError):
        validate_overrides({name: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("retention.ms", " 5 "),
        ("retention.ms", "+5"),
        ("cleanup.policy", "delete,delete"),
        ("cleanup.policy", ""),
        ("cleanup.policy", "compact, delete"),
        ("preallocate", "TRUE"),
        ("retention.bytes", "-5"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("leader.replication.throttled.replicas", "*"),
        ("internal.segment.bytes", "1000"),
    ],
)
def test_values_that_the_reference_takes(name: str, text: str) -> None:
    validate_overrides({name: text})


@pytest.mark.parametrize(
    "name", ["nope", "message.format.version", "message.downconversion.enable"]
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(UnknownConfigError, match=name):
        validate_overrides({name: "1"})

"""What is said to work is read somewhere, and the names exist."""

from __future__ import annotations

from dataclasses import fields

from tidelog.config.broker_config import BrokerConfig
from tidelog.config.broker_configs import BROKER_CONFIGS
from tidelog.config.effects import BROKER_EFFECTS, TOPIC_EFFECTS
from tidelog.config.topic_configs import SYNONYMS, TOPIC_CONFIGS


def test_names_exist() -> None:
    assert set(TOPIC_CONFIGS) >= TOPIC_EFFECTS
    assert set(BROKER_CONFIGS) >= BROKER_EFFECTS


def test_broker_configs_with_effect_can_be_read() -> None:
    typed = {field.name.replace("_", ".") for field in fields(BrokerConfig)}
    of_topics = {synonym.name for name in TOPIC_EFFECTS for synonym in SYNONYMS.get(name, ())}
    assert BROKER_EFFECTS - typed - of_topics == set()


def test_a_topic_config_works_with_its_broker_config() -> None:
    """What works for a topic works for all topics of a broker, and the other way round."""
    for name in TOPIC_CONFIGS:
        for synonym in SYNONYMS.get(name, ()):
            if synonym.name != "min.insync.replicas":
                assert (synonym.name in BROKER_EFFECTS) == (name in TOPIC_EFFECTS), name

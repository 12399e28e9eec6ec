"""What is said to work is read somewhere, and the names exist."""

from __future__ import annotations

from dataclasses import fields

from tidelog.config.broker_config import BrokerConfig
from tidelog.config.broker_configs import BROKER_CONFIGS
from tidelog.config.effects import BROKER_EFFECTS, GROUP_EFFECTS, TOPIC_EFFECTS
from tidelog.config.group_configs import BOUNDS
from tidelog.config.topic_configs import SYNONYMS, TOPIC_CONFIGS


def test_names_exist() -> None:
    assert set(TOPIC_CONFIGS) >= TOPIC_EFFECTS
    assert set(BROKER_CONFIGS) >= BROKER_EFFECTS


def test_broker_configs_with_effect_can_be_read() -> None:
    typed = {field.name.replace("_", ".") for field in fields(BrokerConfig)}
    of_topics = {synonym.name for name in TOPIC_EFFECTS for synonym in SYNONYMS.get(name, ())}
    of_groups = {name for bounds in BOUNDS.values() for name in bounds if name is not None}
    assert BROKER_EFFECTS - typed - of_topics - of_groups == set()


def test_what_bounds_a_config_of_groups_works_with_it() -> None:
    for name, bounds in BOUNDS.items():
        for broker_name in bounds:
            if broker_name is not None:
                assert (broker_name in BROKER_EFFECTS) == (name in GROUP_EFFECTS), broker_name


def test_a_topic_config_works_with_its_broker_config() -> None:
    """What works for a topic works for all topics of a broker, and the other way round."""
    for name in TOPIC_CONFIGS:
        for synonym in SYNONYMS.get(name, ()):
            if synonym.name != "min.insync.replicas":
                assert (synonym.name in BROKER_EFFECTS) == (name in TOPIC_EFFECTS), name

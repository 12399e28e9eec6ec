"""The broker table is the reference's, but for the differences that give a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidelog.config.broker_configs import (
    BROKER_CONFIGS,
    DEFAULT_DIFFERENCES,
    OWN_PREFIX,
    SYNONYMS,
    find,
    listener_base_name,
    update_mode,
)
from tidelog.config.definition import ConfigDef, UpdateMode, parse_value
from tidelog.config.validators import Endpoints, ListOf, Validator

FACTS = json.loads((Path(__file__).parent / "data" / "kafka_4_3_1.json").read_text())


def differences(ours: Mapping[str, ConfigDef], facts: list[dict[str, Any]]) -> list[str]:
    """Where definitions differ from facts about the reference; the docs are our own."""
    found = []
    for fact in facts:
        definition = ours.get(fact["name"])
        if definition is None:
            found.append(f"{fact['name']} is missing")
            continue
        pairs = {
            "type": (definition.type.name, fact["type"]),
            "default": (definition.default, fact["default"]),
            "valid": (definition.validator.text(), fact["valid"]),
            "importance": (definition.importance.value, fact["importance"]),
            "internal": (definition.internal, fact["internal"]),
        }
        if fact["mode"] is not None:
            pairs["mode"] = (definition.update_mode.value, fact["mode"])
        if fact["valid"] == "non-null string":
            del pairs["valid"]
        found += [
            f"{fact['name']} {what}: {mine} is not {theirs}"
            for what, (mine, theirs) in pairs.items()
            if mine != theirs
        ]
    return found


def list_rule(validator: Validator) -> list[bool] | None:
    """Whether a list may be empty and whether it may be missing."""
    return [validator.empty, validator.null] if isinstance(validator, ListOf) else None


def test_table_is_the_reference() -> None:
    found = differences(BROKER_CONFIGS, FACTS["broker"])
    wanted = [
        f"{name} default: {value} is not {fact['default']}"
        for name, (value, _) in DEFAULT_DIFFERENCES.items()
        for fact in FACTS["broker"]
        if fact["name"] == name
    ]
    assert sorted(found) == sorted(wanted)
    assert len(wanted) == len(DEFAULT_DIFFERENCES)


def test_comparison_can_fail() -> None:
    fact = dict(next(f for f in FACTS["broker"] if f["name"] == "num.partitions"))
    assert not differences(BROKER_CONFIGS, [fact])
    for key in ("name", "type", "default", "valid", "importance", "internal", "mode"):
        assert differences(BROKER_CONFIGS, [fact | {key: "other"}]), key


def test_lists_are_as_strict_as_the_reference() -> None:
    rules = {
        name: list_rule(definition.validator)
        for name, definition in BROKER_CONFIGS.items()
        if list_rule(definition.validator) is not None
    }
    assert rules == {name: rule for name, rule in FACTS["lists"].items() if name in BROKER_CONFIGS}


def test_nothing_but_our_own_is_added() -> None:
    theirs = {fact["name"] for fact in FACTS["broker"]}
    added = {name for name in BROKER_CONFIGS if name not in theirs}
    assert added
    assert all(name.startswith(OWN_PREFIX) for name in added)
    assert list(BROKER_CONFIGS) == sorted(BROKER_CONFIGS)


def test_defaults_pass_their_own_validators() -> None:
    for definition in BROKER_CONFIGS.values():
        if definition.default is not None:
            parse_value(definition, definition.default)


def test_every_config_says_what_it_means() -> None:
    for definition in BROKER_CONFIGS.values():
        assert definition.doc[0].isupper(), definition.name
        assert definition.doc.endswith("."), definition.name
    assert all(BROKER_CONFIGS[name].default_reason for name in DEFAULT_DIFFERENCES)


def test_effects_name_existing_configs() -> None:
    from tidelog.config.effects import BROKER_EFFECTS

    assert set(BROKER_CONFIGS) >= BROKER_EFFECTS
    assert BROKER_CONFIGS["log.retention.ms"].effect == "full"
    assert BROKER_CONFIGS["ssl.provider"].effect == "none yet"


def test_synonyms_are_of_the_table() -> None:
    assert SYNONYMS["log.retention.hours"][0] == "log.retention.ms"
    assert "log.flush.scheduler.interval.ms" not in SYNONYMS
    assert set(BROKER_CONFIGS) >= {n for group in SYNONYMS.values() for n in group}


def test_listener_prefix() -> None:
    prefix = "listener.name.internal."
    assert listener_base_name(prefix + "ssl.keystore.location") == "ssl.keystore.location"
    assert listener_base_name(prefix + "scram-sha-256.sasl.jaas.config") == "sasl.jaas.config"
    assert listener_base_name(prefix + "nothing.like.it") is None
    assert find("listener.name.a.no") is None
    assert find("ssl.keystore.location") is BROKER_CONFIGS["ssl.keystore.location"]
    assert update_mode(prefix + "ssl.client.auth") is UpdateMode.PER_BROKER
    assert update_mode("a.plug.ins.own") is UpdateMode.CLUSTER_WIDE
    assert update_mode("num.partitions") is UpdateMode.READ_ONLY


def test_endpoint_lists_show_as_kafka_shows_them() -> None:
    validator = BROKER_CONFIGS["controller.quorum.voters"].validator
    assert validator == Endpoints(with_id=True)

"""Configs of groups (resource type 32) and of client metrics subscriptions (resource type 16).

Pure, owned by no process. A group's value comes from the group, else from the broker config of the
same meaning; the broker's `group.*.min.*` and `group.*.max.*` bound what a group may set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tidelog.config.definition import (
    BrokerSynonym,
    ConfigDef,
    ConfigType,
    ConfigValueError,
    Importance,
    Row,
    UnknownConfigError,
    UpdateMode,
    make,
    parse_value,
    split_list,
)
from tidelog.config.effects import GROUP_EFFECTS
from tidelog.config.layers import BrokerLayers
from tidelog.config.tables.group import ROWS
from tidelog.config.validators import ANY_LIST, between

#: Group configs that have no broker config behind them.
_WITHOUT_SYNONYM = frozenset(
    {"share.auto.offset.reset", "share.isolation.level", "share.renew.acknowledge.enable"}
)

#: Every group config by name, in alphabetical order.
GROUP_CONFIGS: dict[str, ConfigDef] = {
    row[0]: make(
        row,
        synonyms=() if row[0] in _WITHOUT_SYNONYM else (BrokerSynonym(f"group.{row[0]}"),),
        effect="full" if row[0] in GROUP_EFFECTS else "none yet",
    )
    for row in ROWS
}

#: Broker configs that bound a group config: lower and upper, None for no bound.
BOUNDS: dict[str, tuple[str | None, str | None]] = {
    f"{kind}.{name}": (f"group.{kind}.min.{name}", f"group.{kind}.max.{name}")
    for kind in ("consumer", "share", "streams")
    for name in ("assignment.interval.ms", "heartbeat.interval.ms", "session.timeout.ms")
}
BOUNDS.update(
    {
        f"share.{name}": (f"group.share.min.{name}", f"group.share.max.{name}")
        for name in (
            "delivery.count.limit",
            "partition.max.record.locks",
            "record.lock.duration.ms",
        )
    }
)
BOUNDS["streams.num.standby.replicas"] = (None, "group.streams.max.standby.replicas")

_MEDIUM = Importance.MEDIUM
_CLUSTER_WIDE = UpdateMode.CLUSTER_WIDE
# fmt: off
_CLIENT_METRICS_ROWS: tuple[Row, ...] = (
    ("interval.ms", ConfigType.INT, 300000, between(100, 3600000), _MEDIUM, _CLUSTER_WIDE,
     "How often matching clients push their metrics."),
    ("match", ConfigType.LIST, "", ANY_LIST, _MEDIUM, _CLUSTER_WIDE,
     "Which clients the subscription covers, as selector=pattern pairs."),
    ("metrics", ConfigType.LIST, "", ANY_LIST, _MEDIUM, _CLUSTER_WIDE,
     "Prefixes of the metric names that are asked for; * asks for all, empty for none."),
)
# fmt: on

#: Configs of a client metrics subscription (KIP-714) by name.
CLIENT_METRICS_CONFIGS: dict[str, ConfigDef] = {row[0]: make(row) for row in _CLIENT_METRICS_ROWS}

_MATCH_SELECTORS = frozenset(
    {
        "client_id",
        "client_instance_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    }
)


def validate_group_configs(configs: Mapping[str, str], layers: BrokerLayers) -> None:
    """Checks all configs of one group: alone, against the broker's bounds, against each other.

    Raises UnknownConfigError or ConfigValueError.
    """
    numbers: dict[str, int] = {}
    for name, text in configs.items():
        definition = GROUP_CONFIGS.get(name)
        if definition is None:
            raise UnknownConfigError("group", name)
        value = parse_value(definition, text)
        if definition.type is ConfigType.INT:
            assert isinstance(value, int)
            numbers[name] = value
    for name, value in numbers.items():
        low, high = BOUNDS.get(name, (None, None))
        if low is not None and value < _broker_number(layers, low):
            raise ConfigValueError(name, value, f"less than the broker's {low}")
        if high is not None and value > _broker_number(layers, high):
            raise ConfigValueError(name, value, f"more than the broker's {high}")
    for kind in ("consumer", "share", "streams"):
        names = (f"{kind}.heartbeat.interval.ms", f"{kind}.session.timeout.ms")
        heartbeat, session = (
            numbers[name] if name in numbers else _broker_number(layers, f"group.{name}")
            for name in names
        )
        if session <= heartbeat and (names[0] in numbers or names[1] in numbers):
            raise ConfigValueError(names[1], session, f"not greater than {names[0]}")


def _broker_number(layers: BrokerLayers, name: str) -> int:
    text = layers.value(name)
    assert text is not None, name
    return int(text.strip())


def validate_client_metrics(configs: Mapping[str, str]) -> None:
    """Checks the configs of a client metrics subscription.

    Raises UnknownConfigError or ConfigValueError.
    """
    for name, text in configs.items():
        definition = CLIENT_METRICS_CONFIGS.get(name)
        if definition is None:
            raise UnknownConfigError("client metrics", name)
        parse_value(definition, text)
        if name == "match":
            for pair in split_list(text):
                selector, equals, pattern = pair.partition("=")
                if not equals or selector.strip() not in _MATCH_SELECTORS:
                    raise ConfigValueError(name, pair, "not selector=pattern")
                try:
                    re.compile(pattern.strip())
                except re.error as error:
                    raise ConfigValueError(name, pair, f"not a pattern: {error}") from error

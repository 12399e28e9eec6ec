"""What AlterConfigs and IncrementalAlterConfigs make of a resource's configs, and their refusals.

Pure, owned by no process: takes the configs that a resource has and the change, gives those that it
will have, or raises. It must not store anything. Error codes are those of a running Kafka 4.3.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

from tidelog.config.broker_checks import check_dynamic
from tidelog.config.broker_configs import BROKER_CONFIGS, find
from tidelog.config.definition import (
    ConfigDef,
    ConfigType,
    ConfigValueError,
    ResourceType,
    UnknownConfigError,
    split_list,
)
from tidelog.config.group_configs import (
    CLIENT_METRICS_CONFIGS,
    GROUP_CONFIGS,
    validate_client_metrics,
    validate_group_configs,
)
from tidelog.config.layers import BrokerLayers
from tidelog.config.topic_configs import TOPIC_CONFIGS, TopicConfig, validate_overrides
from tidelog.errors import TidelogError

INVALID_CONFIG = 40
INVALID_REQUEST = 42


class Operation(IntEnum):
    """Operations of IncrementalAlterConfigs (KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class Change(NamedTuple):
    """One change of one config; `value` is None for DELETE."""

    name: str
    operation: int
    value: str | None


class ConfigChangeError(TidelogError):
    """A change that is refused; `code` is the error code of the answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def incremental(
    kind: ResourceType,
    name: str,
    current: Mapping[str, str],
    changes: Iterable[Change],
    layers: BrokerLayers,
) -> dict[str, str]:
    """The configs of resource `kind`:`name` after `changes` to `current`.

    `layers` are the broker's (bounds of group configs, values that topic configs fall back to).
    Raises ConfigChangeError.
    """
    result = dict(current)
    touched: set[str] = set()
    for change in changes:
        if change.name in touched:
            raise ConfigChangeError(INVALID_REQUEST, f"{change.name} is named more than once")
        touched.add(change.name)
        _apply(kind, result, change)
    validate(kind, name, {k: result[k] for k in touched if k in result}, result, layers)
    return result


def replacement(
    kind: ResourceType, name: str, configs: Iterable[tuple[str, str | None]], layers: BrokerLayers
) -> dict[str, str]:
    """The configs that AlterConfigs gives a resource: all old ones go. Raises ConfigChangeError."""
    result: dict[str, str] = {}
    for key, value in configs:
        if key in result:
            raise ConfigChangeError(INVALID_REQUEST, f"{key} is named more than once")
        if value is None:
            raise ConfigChangeError(INVALID_REQUEST, f"{key} has no value")
        result[key] = value
    validate(kind, name, result, result, layers)
    return result


def validate(
    kind: ResourceType,
    name: str,
    touched: Mapping[str, str],
    result: Mapping[str, str],
    layers: BrokerLayers,
) -> None:
    """Checks what a resource's configs become; `touched` is the part that the request set."""
    try:
        if kind is ResourceType.TOPIC:
            if not name:
                raise ConfigChangeError(INVALID_REQUEST, "a topic needs a name")
            validate_overrides(result)
            check_topic(result, layers)
        elif kind is ResourceType.BROKER:
            check_dynamic(touched, per_broker=bool(name), layers=layers)
        elif kind is ResourceType.GROUP:
            if not name:
                raise ConfigChangeError(INVALID_REQUEST, "a group needs a name")
            validate_group_configs(result, layers)
        elif kind is ResourceType.CLIENT_METRICS:
            if not name:
                raise ConfigChangeError(INVALID_REQUEST, "a subscription needs a name")
            validate_client_metrics(result)
        else:
            raise ConfigChangeError(INVALID_REQUEST, f"resource type {int(kind)} has no configs")
    except UnknownConfigError as error:
        raise ConfigChangeError(INVALID_CONFIG, str(error)) from error
    except ConfigValueError as error:
        # Kafka answers a bad broker config, and a bad push interval, with the other code.
        other = kind is ResourceType.BROKER or error.name == "interval.ms"
        raise ConfigChangeError(INVALID_REQUEST if other else INVALID_CONFIG, str(error)) from error


def check_topic(overrides: Mapping[str, str], layers: BrokerLayers) -> None:
    """Checks topic configs that depend on each other. Raises ConfigValueError."""
    config = TopicConfig.resolve(overrides, layers)
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms:
        raise ConfigValueError(
            "min.compaction.lag.ms",
            config.min_compaction_lag_ms,
            f"more than max.compaction.lag.ms ({config.max_compaction_lag_ms})",
        )
    if config.remote_storage_enable:
        raise ConfigValueError("remote.storage.enable", "true", "this broker has no remote storage")


def _apply(kind: ResourceType, configs: dict[str, str], change: Change) -> None:
    name, operation, value = change
    if operation == Operation.DELETE:
        configs.pop(name, None)
        return
    if operation not in (Operation.SET, Operation.APPEND, Operation.SUBTRACT):
        raise ConfigChangeError(INVALID_REQUEST, f"there is no operation {operation}")
    if value is None:
        raise ConfigChangeError(INVALID_REQUEST, f"{name} has no value")
    if operation == Operation.SET:
        configs[name] = value
        return
    definition = _definition(kind, name)
    if definition is None or definition.type is not ConfigType.LIST:
        raise ConfigChangeError(
            INVALID_CONFIG, f"{name} is no list, so nothing can be added to it or taken from it"
        )
    # Without a value yet the list starts from its default.
    members = list(split_list(configs.get(name, definition.default or "")))
    for member in split_list(value):
        if operation == Operation.APPEND and member not in members:
            members.append(member)
        elif operation == Operation.SUBTRACT and member in members:
            members.remove(member)
    configs[name] = ",".join(members)


def _definition(kind: ResourceType, name: str) -> ConfigDef | None:
    if kind is ResourceType.TOPIC:
        return TOPIC_CONFIGS.get(name)
    if kind is ResourceType.BROKER:
        return BROKER_CONFIGS.get(name) or find(name)
    if kind is ResourceType.GROUP:
        return GROUP_CONFIGS.get(name)
    if kind is ResourceType.CLIENT_METRICS:
        return CLIENT_METRICS_CONFIGS.get(name)
    return None

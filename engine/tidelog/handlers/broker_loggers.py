"""The loggers of a node and their levels, as DescribeConfigs shows them and IncrementalAlterConfigs
sets them (KIP-412).

Belongs to the request's task. The loggers are those of Python's logging in this worker: one for
each module that has something to say, and `root`. Levels have log4j's names. What is set holds for
this worker until it ends; it is kept nowhere, as in Kafka.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Final

from tidelog.config import ResourceType
from tidelog.config.definition import ConfigSource
from tidelog.config.describe import ConfigEntry
from tidelog.controller.requests import AlterOperation, ConfigChange, ResourceChange
from tidelog.protocol.error_codes import ErrorCode

ROOT: Final = "root"
_PACKAGE: Final = "tidelog"

#: log4j's levels, by name; there is nothing below DEBUG here.
LEVELS: Final = {
    "FATAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": logging.DEBUG,
}


def describe_loggers(keys: Collection[str] | None = None) -> list[ConfigEntry]:
    """An entry for each logger, with the level that holds for it. `keys` None or empty: all."""
    return [
        ConfigEntry(
            name=name,
            value=_level_name(logger.getEffectiveLevel()),
            read_only=False,
            source=int(ConfigSource.DYNAMIC_BROKER_LOGGER),
            sensitive=False,
            synonyms=(),
            type=0,
            doc="",
        )
        for name, logger in _loggers().items()
        if not keys or name in keys
    ]


def alter_loggers(
    change: ResourceChange, node_id: int, *, validate_only: bool
) -> tuple[ErrorCode, str | None]:
    """Sets levels, or takes them back (then that of the logger above holds): all or none."""
    assert change.resource_type == ResourceType.BROKER_LOGGER
    if change.resource_name != str(node_id):
        return ErrorCode.INVALID_REQUEST, f"this is node {node_id}, not {change.resource_name!r}"
    loggers = _loggers()
    problem = _problem(change.changes, loggers)
    if problem is None and not validate_only:
        for each in change.changes:
            wanted = each.value if each.operation == AlterOperation.SET else None
            level = logging.NOTSET if wanted is None else LEVELS[wanted.upper()]
            loggers[each.key].setLevel(level)
    return problem or (ErrorCode.NONE, None)


def _problem(
    changes: Iterable[ConfigChange], loggers: Collection[str]
) -> tuple[ErrorCode, str] | None:
    seen: set[str] = set()
    for name, value, operation in ((each.key, each.value, each.operation) for each in changes):
        if name in seen:
            return ErrorCode.INVALID_REQUEST, f"{name} is named more than once"
        seen.add(name)
        if operation not in (AlterOperation.SET, AlterOperation.DELETE):
            return ErrorCode.INVALID_REQUEST, "a level is set or deleted"
        if operation == AlterOperation.SET and value is None:
            return ErrorCode.INVALID_REQUEST, f"{name} has no level"
        if name not in loggers:
            return ErrorCode.INVALID_CONFIG, f"there is no logger {name}"
        if operation == AlterOperation.DELETE and name == ROOT:
            return ErrorCode.INVALID_REQUEST, "the level of the root logger cannot be deleted"
        if operation == AlterOperation.SET and str(value).upper() not in LEVELS:
            return ErrorCode.INVALID_CONFIG, f"there is no level {value!r}"
    return None


def _loggers() -> dict[str, logging.Logger]:
    known = logging.root.manager.loggerDict
    return {ROOT: logging.root} | {
        name: logger
        for name in sorted(known)
        if isinstance(logger := known[name], logging.Logger)
        and (name == _PACKAGE or name.startswith(_PACKAGE + "."))
    }


def _level_name(level: int) -> str:
    """The name of the lowest of log4j's levels that is not below this one."""
    for name in ("DEBUG", "INFO", "WARN", "ERROR"):
        if level <= LEVELS[name]:
            return name
    return "FATAL"

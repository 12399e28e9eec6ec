"""Configs of topics, brokers, groups and client metrics: what an alter request changes. Pure.

Codes as a running Kafka 4.3 answers them (KIP-339 for the operations). Broker loggers are a node's
own affair and never come here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tidelog.config.definition import ResourceType
from tidelog.controller.decision import ConfigRules, Decision, Refusal
from tidelog.controller.requests import (
    AlterConfigs,
    AlterConfigsAnswer,
    AlteredResource,
    AlterOperation,
    ConfigChange,
    ResourceChange,
)
from tidelog.controller.topic_names import name_problem
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import CLUSTER_DEFAULT, ChangeRecord, ConfigRecord
from tidelog.protocol.error_codes import ErrorCode

_NAMED_ONLY = {ResourceType.GROUP: "group", ResourceType.CLIENT_METRICS: "client metrics"}


def alter_configs(image: MetadataImage, rules: ConfigRules, request: AlterConfigs) -> Decision:
    """Decides one request; each resource succeeds or fails as a whole."""
    seen = Counter((item.resource_type, item.resource_name) for item in request.resources)
    records: list[ChangeRecord] = []
    results = []
    for item in request.resources:
        try:
            if seen[item.resource_type, item.resource_name] > 1:
                raise Refusal(ErrorCode.INVALID_REQUEST, "the resource occurs twice in the request")
            _check_resource(image, item)
            _check_keys(item)
            present = image.config(item.resource_type, item.resource_name)
            if request.incremental:
                wanted = _apply_operations(rules, item, present)
            else:
                wanted = {change.key: _value(change) for change in item.changes}
            changed = {key for key, value in wanted.items() if present.get(key) != value}
            problem = rules.check(item.resource_type, item.resource_name, wanted, changed)
            if problem is not None:
                raise Refusal(problem.error_code, problem.message)
        except Refusal as refusal:
            code, message = refusal.error_code, refusal.message
            results.append(AlteredResource(item.resource_type, item.resource_name, code, message))
            continue
        records.extend(_records(item, present, wanted))
        results.append(AlteredResource(item.resource_type, item.resource_name, ErrorCode.NONE))
    return Decision([] if request.validate_only else records, AlterConfigsAnswer(tuple(results)))


def _check_resource(image: MetadataImage, item: ResourceChange) -> None:
    name = item.resource_name
    match item.resource_type:
        case ResourceType.TOPIC:
            if not name:
                raise Refusal(ErrorCode.INVALID_REQUEST, "topics have no common default configs")
            if name not in image.topics:
                problem = name_problem(name)
                if problem is not None:
                    raise Refusal(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
                raise Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {name}")
        case ResourceType.BROKER:
            if name == CLUSTER_DEFAULT:
                return
            if not (name.isascii() and name.isdigit()):
                raise Refusal(ErrorCode.INVALID_REQUEST, f"{name!r} is no node id")
            if int(name) not in image.nodes:
                raise Refusal(ErrorCode.INVALID_REQUEST, f"there is no node {name}")
        case ResourceType.GROUP | ResourceType.CLIENT_METRICS:
            if not name:
                kind = _NAMED_ONLY[ResourceType(item.resource_type)]
                raise Refusal(ErrorCode.INVALID_REQUEST, f"a {kind} resource needs a name")
        case _:
            raise Refusal(
                ErrorCode.INVALID_REQUEST, f"resources of type {item.resource_type} have no configs"
            )


def _check_keys(item: ResourceChange) -> None:
    keys = Counter(change.key for change in item.changes)
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        raise Refusal(ErrorCode.INVALID_REQUEST, f"configs named twice: {', '.join(twice)}")


def _value(change: ConfigChange) -> str:
    if change.value is None:
        raise Refusal(ErrorCode.INVALID_REQUEST, f"config {change.key} has no value")
    return change.value


def _apply_operations(
    rules: ConfigRules, item: ResourceChange, present: Mapping[str, str]
) -> dict[str, str]:
    wanted = dict(present)
    for change in item.changes:
        match change.operation:
            case AlterOperation.SET:
                wanted[change.key] = _value(change)
            case AlterOperation.DELETE:
                wanted.pop(change.key, None)
            case AlterOperation.APPEND | AlterOperation.SUBTRACT:
                wanted[change.key] = _change_list(rules, item, change, wanted.get(change.key))
            case _:
                # Kafka fails on it before it finds a better code.
                raise Refusal(
                    ErrorCode.UNKNOWN_SERVER_ERROR, f"unknown operation {change.operation}"
                )
    return wanted


def _change_list(
    rules: ConfigRules, item: ResourceChange, change: ConfigChange, present: str | None
) -> str:
    if not rules.is_list(item.resource_type, change.key):
        raise Refusal(
            ErrorCode.INVALID_CONFIG, f"{change.key} is no list: nothing to append or subtract"
        )
    if present is None:
        present = rules.default(item.resource_type, change.key)
    members = _split(present)
    given = _split(_value(change))
    if change.operation == AlterOperation.APPEND:
        members.extend(member for member in given if member not in members)
    else:
        members = [member for member in members if member not in given]
    return ",".join(members)


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _records(
    item: ResourceChange, present: Mapping[str, str], wanted: Mapping[str, str]
) -> list[ConfigRecord]:
    changed = [
        ConfigRecord(item.resource_type, item.resource_name, key, value)
        for key, value in wanted.items()
        if present.get(key) != value
    ]
    ended = [
        ConfigRecord(item.resource_type, item.resource_name, key, None)
        for key in present
        if key not in wanted
    ]
    return changed + ended

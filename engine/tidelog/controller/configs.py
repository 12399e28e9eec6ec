"""Configs of topics, brokers, groups and client metrics: what an alter request changes. Pure.

Which resources there are is decided here, what their configs may be in `config.changes`. Codes as
a running Kafka 4.3 answers them (KIP-339 for the operations). Broker loggers are a node's own
affair and never come here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tidelog.config.changes import Change, ConfigChangeError, incremental, replacement
from tidelog.config.definition import ResourceType
from tidelog.config.layers import BrokerLayers
from tidelog.config.validators import is_number
from tidelog.controller.decision import Decision, Refusal
from tidelog.controller.requests import (
    AlterConfigs,
    AlterConfigsAnswer,
    AlteredResource,
    AlterOperation,
    ResourceChange,
)
from tidelog.controller.topic_names import name_problem
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import CLUSTER_DEFAULT, ChangeRecord, ConfigRecord
from tidelog.protocol.error_codes import ErrorCode

_NAMED_ONLY = {ResourceType.GROUP: "group", ResourceType.CLIENT_METRICS: "client metrics"}
_OPERATIONS = frozenset(AlterOperation)


def alter_configs(image: MetadataImage, layers: BrokerLayers, request: AlterConfigs) -> Decision:
    """Decides one request; each resource succeeds or fails as a whole.

    layers: what holds for every broker, for configs that depend on others.
    """
    seen = Counter((item.resource_type, item.resource_name) for item in request.resources)
    records: list[ChangeRecord] = []
    results = []
    for item in request.resources:
        present = image.config(item.resource_type, item.resource_name)
        try:
            if seen[item.resource_type, item.resource_name] > 1:
                raise Refusal(ErrorCode.INVALID_REQUEST, "the resource occurs twice in the request")
            _check_resource(image, item)
            wanted = _wanted(item, present, layers, incrementally=request.incremental)
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
            if not is_number(name):
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


def _wanted(
    item: ResourceChange, present: Mapping[str, str], layers: BrokerLayers, *, incrementally: bool
) -> dict[str, str]:
    """The configs that the resource shall have, checked."""
    kind, name = ResourceType(item.resource_type), item.resource_name
    unknown = next((c.operation for c in item.changes if c.operation not in _OPERATIONS), None)
    if incrementally and unknown is not None:
        # Kafka fails on it before it finds a better code.
        raise Refusal(ErrorCode.UNKNOWN_SERVER_ERROR, f"there is no operation {unknown}")
    try:
        if incrementally:
            changes = [Change(c.key, c.operation, c.value) for c in item.changes]
            return incremental(kind, name, present, changes, layers)
        return replacement(kind, name, [(c.key, c.value) for c in item.changes], layers)
    except ConfigChangeError as error:
        raise Refusal(error.code, str(error)) from None


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

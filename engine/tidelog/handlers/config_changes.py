"""What AlterConfigs and IncrementalAlterConfigs do alike.

Belongs to the request's task. Topics, brokers (one, or "" for all), groups and client metrics go to
the controller, which decides each resource as a whole. Levels of broker loggers (type 8) are this
worker's own affair, and only IncrementalAlterConfigs sets them. A change of one broker's configs or
loggers has to reach that broker, as in Kafka.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidelog.config import ResourceType
from tidelog.controller.requests import (
    AlterConfigs,
    AlterConfigsAnswer,
    AlteredResource,
    ResourceChange,
)
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.broker_loggers import alter_loggers
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.protocol.error_codes import ErrorCode


async def alter_configs(
    changes: Iterable[ResourceChange],
    context: RequestContext,
    *,
    validate_only: bool,
    incremental: bool,
) -> list[AlteredResource]:
    """One result for each distinct resource. Raises KafkaError when the controller is silent."""
    results: dict[tuple[int, str], AlteredResource] = {}
    wanted: list[ResourceChange] = []
    for change in changes:
        outcome = _refuse(change, context)
        if outcome is None and change.resource_type == ResourceType.BROKER_LOGGER and incremental:
            node_id = context.services.node_id
            outcome = alter_loggers(change, node_id, validate_only=validate_only)
        if outcome is None:
            wanted.append(change)
        else:
            code, message = outcome
            key = change.resource_type, change.resource_name
            results[key] = AlteredResource(*key, code, message)
    if wanted:
        request = AlterConfigs(tuple(wanted), validate_only, incremental)
        answer = await ask_controller(context.services.controller, request, AlterConfigsAnswer)
        for item in answer.resources:
            results[item.resource_type, item.resource_name] = item
    return list(results.values())


def _refuse(change: ResourceChange, context: RequestContext) -> tuple[ErrorCode, str | None] | None:
    kind, name = change.resource_type, change.resource_name
    if kind == ResourceType.TOPIC:
        if not context.authorize(Operation.ALTER_CONFIGS, Resource.TOPIC, name):
            return ErrorCode.TOPIC_AUTHORIZATION_FAILED, None
    elif kind == ResourceType.GROUP:
        if not context.authorize(Operation.ALTER_CONFIGS, Resource.GROUP, name):
            return ErrorCode.GROUP_AUTHORIZATION_FAILED, None
    elif not context.authorize(Operation.ALTER_CONFIGS, Resource.CLUSTER, CLUSTER_NAME):
        return ErrorCode.CLUSTER_AUTHORIZATION_FAILED, None
    if kind == ResourceType.BROKER and name not in ("", str(context.services.node_id)):
        return (
            ErrorCode.INVALID_REQUEST,
            f"this is node {context.services.node_id}; configs of node {name} are changed there",
        )
    return None

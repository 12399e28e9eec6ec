"""DescribeConfigs (key 32), versions 1-4.

Behaviour:
* Topics (2), this broker or "" for what is set for all brokers (4), groups (32), client metrics
  (16), this broker's loggers (8). Anything else is 42.
* Keys null or empty ask for all; an unknown key is left out. A success has an empty message, not
  null.
* A group or a client metrics subscription need not exist; an empty name for them is 42.

Version notes: 1 sources and synonyms, 3 types and documentation.
"""

from __future__ import annotations

from typing import Final

from tidelog.config import ResourceType
from tidelog.config.describe import (
    ConfigEntry,
    describe_broker,
    describe_client_metrics,
    describe_cluster_default,
    describe_group,
    describe_topic,
)
from tidelog.controller.topic_names import name_problem
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.broker_loggers import describe_loggers
from tidelog.handlers.context import RequestContext
from tidelog.metadata.records import CLUSTER_DEFAULT
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)

API: Final = Api(ApiKey.DESCRIBE_CONFIGS, 1, 4)


def handle(request: DescribeConfigsRequest, context: RequestContext) -> DescribeConfigsResponse:
    return DescribeConfigsResponse(
        results=[_describe(resource, request, context) for resource in request.resources]
    )


def error_answer(
    request: DescribeConfigsRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeConfigsResponse:
    return DescribeConfigsResponse(
        results=[_error(resource, code, message) for resource in request.resources]
    )


def _describe(
    resource: DescribeConfigsResource, request: DescribeConfigsRequest, context: RequestContext
) -> DescribeConfigsResult:
    try:
        _authorize(resource, context)
        entries = _entries(resource, context)
    except KafkaError as error:
        return _error(resource, ErrorCode(error.error_code), error.message)
    return DescribeConfigsResult(
        error_message="",
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
        configs=[_result(entry, request) for entry in entries],
    )


def _authorize(resource: DescribeConfigsResource, context: RequestContext) -> None:
    kind, name = resource.resource_type, resource.resource_name
    refused = None
    if kind == ResourceType.TOPIC:
        if not context.authorize(Operation.DESCRIBE_CONFIGS, Resource.TOPIC, name):
            refused = ErrorCode.TOPIC_AUTHORIZATION_FAILED
    elif kind == ResourceType.GROUP:
        if not context.authorize(Operation.DESCRIBE_CONFIGS, Resource.GROUP, name):
            refused = ErrorCode.GROUP_AUTHORIZATION_FAILED
    elif not context.authorize(Operation.DESCRIBE_CONFIGS, Resource.CLUSTER, CLUSTER_NAME):
        refused = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
    if refused is not None:
        raise KafkaError(refused)


def _entries(resource: DescribeConfigsResource, context: RequestContext) -> list[ConfigEntry]:
    image, name = context.image, resource.resource_name
    keys = resource.configuration_keys
    layers = context.services.node_config.layers(image)
    kind = resource.resource_type
    match kind:
        case ResourceType.TOPIC:
            problem = name_problem(name)
            if problem is not None:
                raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
            if name not in image.topics:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "")
            return describe_topic(image.config(kind, name), layers, keys)
        case ResourceType.BROKER:
            if name == CLUSTER_DEFAULT:
                return describe_cluster_default(image.config(kind, name), keys)
            if name != str(context.services.node_id):
                raise KafkaError(
                    ErrorCode.INVALID_REQUEST,
                    f"this is node {context.services.node_id}, not {name!r}",
                )
            return describe_broker(layers, keys)
        case ResourceType.GROUP | ResourceType.CLIENT_METRICS:
            if not name:
                raise KafkaError(ErrorCode.INVALID_REQUEST, "the resource needs a name")
            own = image.config(kind, name)
            if kind == ResourceType.GROUP:
                return describe_group(own, layers, keys)
            return describe_client_metrics(own, keys)
        case ResourceType.BROKER_LOGGER:
            if name != str(context.services.node_id):
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"{name!r} is not this node")
            return describe_loggers(keys)
    raise KafkaError(ErrorCode.INVALID_REQUEST, f"resources of type {kind} have no configs")


def _result(entry: ConfigEntry, request: DescribeConfigsRequest) -> DescribeConfigsResourceResult:
    synonyms = entry.synonyms if request.include_synonyms else ()
    return DescribeConfigsResourceResult(
        name=entry.name,
        value=entry.value,
        read_only=entry.read_only,
        config_source=entry.source,
        is_sensitive=entry.sensitive,
        synonyms=[
            DescribeConfigsSynonym(name=each.name, value=each.value, source=each.source)
            for each in synonyms
        ],
        config_type=entry.type,
        documentation=entry.doc if request.include_documentation else None,
    )


def _error(
    resource: DescribeConfigsResource, code: ErrorCode, message: str | None
) -> DescribeConfigsResult:
    return DescribeConfigsResult(
        error_code=code,
        error_message=code.text if message is None else message,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )

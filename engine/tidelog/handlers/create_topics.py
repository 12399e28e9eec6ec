"""CreateTopics (key 19), versions 2-7.

Behaviour:
* Any node takes it and passes it to the controller; the answer comes when the new leaders serve.
* A name that occurs twice gets one answer, error 42, as in Kafka. `__cluster_metadata` is refused
  with 42.
* The answer's configs are all that hold for the topic, with their source; the topic's own stand as
  they were given.

Version notes: 5 counts, configs and the error about configs (tagged) in the answer; 6 a quota's
error (KIP-599); 7 the topic id.
"""

from __future__ import annotations

from typing import Final

from tidelog.config.describe import describe_topic
from tidelog.controller.requests import (
    CreatedTopic,
    CreateTopics,
    CreateTopicsAnswer,
    NewTopic,
    ReplicaAssignment,
)
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.handlers.mutations import QUOTA_EXCEEDED, mutations, owe
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tidelog.quotas.clients import Mutations

API: Final = Api(ApiKey.CREATE_TOPICS, 2, 7)

#: Kafka's own metadata log; a topic of that name would shadow it for every tool.
_RESERVED: Final = "__cluster_metadata"

#: From this version on a quota refuses topics (KIP-599).
_STRICT_FROM: Final = 6


async def handle(request: CreateTopicsRequest, context: RequestContext) -> CreateTopicsResponse:
    results: dict[str, CreatableTopicResult] = {}
    wanted: list[NewTopic] = []
    everything = context.authorize(Operation.CREATE, Resource.CLUSTER, CLUSTER_NAME)
    for topic in request.topics:
        if topic.name == _RESERVED:
            message = f"topic {_RESERVED} cannot be created"
            results[topic.name] = _refuse(topic.name, ErrorCode.INVALID_REQUEST, message)
        elif everything or context.authorize(Operation.CREATE, Resource.TOPIC, topic.name):
            wanted.append(_new_topic(topic))
        else:
            code = ErrorCode.TOPIC_AUTHORIZATION_FAILED
            results[topic.name] = _refuse(topic.name, code, None)
    allowed = mutations(context, _STRICT_FROM)
    if allowed is not None:
        wanted = await _within(allowed, wanted, request, context, results)
        owe(context, allowed)
    if wanted:
        answer = await ask_controller(
            context.services.controller,
            CreateTopics(tuple(wanted), request.validate_only),
            CreateTopicsAnswer,
            request.timeout_ms,
        )
        for created in answer.topics:
            results[created.name] = _result(created, context)
    return CreateTopicsResponse(topics=list(results.values()))


async def _within(
    allowed: Mutations,
    wanted: list[NewTopic],
    request: CreateTopicsRequest,
    context: RequestContext,
    results: dict[str, CreatableTopicResult],
) -> list[NewTopic]:
    """What of it goes on to the controller: all but what its quota does not allow, which has its
    refusal. Only what would be created counts, so the controller is asked first.
    """
    answer = await ask_controller(
        context.services.controller,
        CreateTopics(tuple(wanted), validate_only=True),
        CreateTopicsAnswer,
        request.timeout_ms,
    )
    refused = set()
    for topic in answer.topics:
        if topic.error_code == ErrorCode.NONE and not allowed.take(topic.partition_count):
            refused.add(topic.name)
            results[topic.name] = _refuse(topic.name, QUOTA_EXCEEDED, None)
    return [topic for topic in wanted if topic.name not in refused]


def error_answer(
    request: CreateTopicsRequest, code: ErrorCode, message: str | None, version: int
) -> CreateTopicsResponse:
    names = dict.fromkeys(topic.name for topic in request.topics)
    return CreateTopicsResponse(topics=[_refuse(name, code, message) for name in names])


def _new_topic(topic: CreatableTopic) -> NewTopic:
    return NewTopic(
        topic.name,
        topic.num_partitions,
        topic.replication_factor,
        tuple(
            ReplicaAssignment(each.partition_index, tuple(each.broker_ids))
            for each in topic.assignments
        ),
        tuple((config.name, config.value) for config in topic.configs),
    )


def _result(created: CreatedTopic, context: RequestContext) -> CreatableTopicResult:
    if created.error_code:
        return _refuse(created.name, created.error_code, created.error_message)
    result = CreatableTopicResult(name=created.name, topic_id=created.topic_id, error_message=None)
    if context.api_version < 5:
        return result
    if not context.authorize(Operation.DESCRIBE_CONFIGS, Resource.TOPIC, created.name):
        result.topic_config_error_code = ErrorCode.TOPIC_AUTHORIZATION_FAILED
        result.configs = None
        return result
    result.num_partitions = created.partition_count
    result.replication_factor = created.replication_factor
    own = dict(created.configs)
    layers = context.services.node_config.layers(context.image)
    result.configs = [
        CreatableTopicConfigs(
            name=entry.name,
            value=own.get(entry.name, entry.value),
            read_only=entry.read_only,
            config_source=entry.source,
            is_sensitive=entry.sensitive,
        )
        for entry in describe_topic(own, layers)
    ]
    return result


def _refuse(name: str, code: int, message: str | None) -> CreatableTopicResult:
    return CreatableTopicResult(name=name, error_code=code, error_message=message_of(code, message))

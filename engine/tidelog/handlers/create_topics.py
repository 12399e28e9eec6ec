"""CreateTopics (key 19), versions 2-7.

Behaviour:
* Any node takes it and passes it to the controller; the answer comes when the new leaders serve.
* A name that occurs twice gets one answer, error 42, as in Kafka. `__cluster_metadata` is refused
  with 42.
* The answer's configs are all that hold for the topic, with their source; the topic's own stand as
  they were given.

Version notes: 5 counts, configs and the error about configs (tagged) in the answer; 7 the topic id.
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
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)

API: Final = Api(ApiKey.CREATE_TOPICS, 2, 7)

#: Kafka's own metadata log; a topic of that name would shadow it for every tool.
_RESERVED: Final = "__cluster_metadata"


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

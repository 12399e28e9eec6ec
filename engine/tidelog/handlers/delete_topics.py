"""DeleteTopics (key 20), versions 1-6.

Behaviour:
* Any node takes it and passes it to the controller; the answer comes when every live node has let
  go of the topics.
* An item has a name or an id. Both, neither, and whatever is given twice (also once by name and
  once by id) is refused with one answer, 42.
* With delete.topic.enable off: 73, before version 3 (which has no such error) 42.

Version notes: 5 error messages and a quota's error (KIP-599), 6 topic ids.
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.requests import (
    DeletedTopic,
    DeleteTopics,
    DeleteTopicsAnswer,
    TopicReference,
)
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.handlers.mutations import QUOTA_EXCEEDED, mutations, owe
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from tidelog.quotas.clients import Mutations
from tidelog.types import ZERO_TOPIC_ID

API: Final = Api(ApiKey.DELETE_TOPICS, 1, 6)

#: From this version on a quota refuses deletions (KIP-599).
_STRICT_FROM: Final = 5

_Key = tuple[str | None, bytes]


async def handle(request: DeleteTopicsRequest, context: RequestContext) -> DeleteTopicsResponse:
    if not context.config.delete_topic_enable:
        old = context.api_version < 3
        raise KafkaError(
            ErrorCode.INVALID_REQUEST if old else ErrorCode.TOPIC_DELETION_DISABLED,
            "delete.topic.enable is off",
        )
    results: dict[_Key, DeletableTopicResult] = {}
    wanted: list[TopicReference] = []
    keys = _keys(request, context.api_version)
    twice = _named_twice(keys, context)
    allowed = mutations(context, _STRICT_FROM)
    for name, topic_id in keys:
        if (name, topic_id) in twice:
            continue
        known = name or context.image.topic_names.get(topic_id)
        if known is not None and not context.authorize(Operation.DELETE, Resource.TOPIC, known):
            results[name, topic_id] = DeletableTopicResult(
                name=name, topic_id=topic_id, error_code=ErrorCode.TOPIC_AUTHORIZATION_FAILED
            )
        elif not _within(allowed, known, context):
            results[name, topic_id] = _result(DeletedTopic(known, topic_id, QUOTA_EXCEEDED))
        else:
            wanted.append(TopicReference(name, None if topic_id == ZERO_TOPIC_ID else topic_id))
    owe(context, allowed)
    if wanted:
        answer = await ask_controller(
            context.services.controller,
            DeleteTopics(tuple(wanted)),
            DeleteTopicsAnswer,
            request.timeout_ms,
        )
        for reference, topic in zip(wanted, answer.topics, strict=True):
            results[reference.name, reference.topic_id or ZERO_TOPIC_ID] = _result(topic)
    refused = [
        _result(DeletedTopic(name, topic_id, ErrorCode.INVALID_REQUEST, "given by name and by id"))
        for (name, _), topic_id in twice.items()
        if name is not None
    ]
    return DeleteTopicsResponse(responses=[*results.values(), *refused])


def error_answer(
    request: DeleteTopicsRequest, code: ErrorCode, message: str | None, version: int
) -> DeleteTopicsResponse:
    return DeleteTopicsResponse(
        responses=[
            DeletableTopicResult(
                name=name,
                topic_id=topic_id,
                error_code=code,
                error_message=message_of(code, message),
            )
            for name, topic_id in dict.fromkeys(_keys(request, version))
        ]
    )


def _keys(request: DeleteTopicsRequest, version: int) -> list[_Key]:
    if version >= 6:
        return [(topic.name, topic.topic_id) for topic in request.topics]
    return [(name, ZERO_TOPIC_ID) for name in request.topic_names]


def _within(allowed: Mutations | None, name: str | None, context: RequestContext) -> bool:
    """Whether the quota lets the topic go. One that does not exist costs nothing."""
    topic = None if name is None else context.image.topics.get(name)
    return allowed is None or topic is None or allowed.take(len(topic.partitions))


def _named_twice(keys: list[_Key], context: RequestContext) -> dict[_Key, bytes]:
    """The items that give one topic by its name and by its id, with that id: neither is deleted."""
    twice: dict[_Key, bytes] = {}
    ids = {topic_id for name, topic_id in keys if name is None}
    for name, _ in keys:
        topic = None if name is None else context.image.topics.get(name)
        if topic is not None and topic.topic_id in ids:
            twice[name, ZERO_TOPIC_ID] = twice[None, topic.topic_id] = topic.topic_id
    return twice


def _result(topic: DeletedTopic) -> DeletableTopicResult:
    return DeletableTopicResult(
        name=topic.name,
        topic_id=topic.topic_id or ZERO_TOPIC_ID,
        error_code=topic.error_code,
        error_message=message_of(topic.error_code, topic.error_message),
    )

"""DeleteTopics (key 20), versions 1-6.

Behaviour:
* Any node takes it and passes it to the controller; the answer comes when every live node has let
  go of the topics.
* An item has a name or an id. Both, neither, and anything given twice is 42; repeated items get one
  answer.
* With delete.topic.enable off: 73, before version 3 (which has no such error) 42.

Version notes: 5 error messages, 6 topic ids.
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
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from tidelog.types import ZERO_TOPIC_ID

API: Final = Api(ApiKey.DELETE_TOPICS, 1, 6)

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
    for name, topic_id in _keys(request, context.api_version):
        known = name or context.image.topic_names.get(topic_id)
        if known is not None and not context.authorize(Operation.DELETE, Resource.TOPIC, known):
            results[name, topic_id] = DeletableTopicResult(
                name=name, topic_id=topic_id, error_code=ErrorCode.TOPIC_AUTHORIZATION_FAILED
            )
        else:
            wanted.append(TopicReference(name, None if topic_id == ZERO_TOPIC_ID else topic_id))
    if wanted:
        answer = await ask_controller(
            context.services.controller,
            DeleteTopics(tuple(wanted)),
            DeleteTopicsAnswer,
            request.timeout_ms,
        )
        for reference, topic in zip(wanted, answer.topics, strict=True):
            results[reference.name, reference.topic_id or ZERO_TOPIC_ID] = _result(topic)
    return DeleteTopicsResponse(responses=list(results.values()))


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


def _result(topic: DeletedTopic) -> DeletableTopicResult:
    return DeletableTopicResult(
        name=topic.name,
        topic_id=topic.topic_id or ZERO_TOPIC_ID,
        error_code=topic.error_code,
        error_message=message_of(topic.error_code, topic.error_message),
    )

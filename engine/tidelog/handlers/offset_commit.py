"""OffsetCommit (key 8), versions 2-10.

Behaviour: topics that don't exist are refused here (error 3, by id 100); the rest goes to the group
coordinator, which gets names in every version. The answer has the topics in the order of the
request.

Version notes: 5 drops the retention time, 6 leader epochs, 7 static members, 9 KIP-848 groups, 10
topic ids instead of names.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)

API: Final = Api(ApiKey.OFFSET_COMMIT, 2, 10)


async def handle(request: OffsetCommitRequest, context: RequestContext) -> OffsetCommitResponse:
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    results: list[OffsetCommitResponseTopic | None] = []
    accepted: list[OffsetCommitRequestTopic] = []
    for topic in request.topics:
        code = _resolve(topic, context)
        if code == ErrorCode.NONE:
            accepted.append(topic)
            results.append(None)
        else:
            results.append(_refuse(topic, code))
    if accepted or not request.topics:
        everything, request.topics = request.topics, accepted
        answer = await context.services.groups.commit_offsets(request, context)
        request.topics = everything
        committed = iter(answer.topics)
        for position, topic in enumerate(request.topics):
            if results[position] is None:
                results[position] = result = next(committed)
                result.topic_id = topic.topic_id
    return OffsetCommitResponse(topics=[result for result in results if result is not None])


def error_answer(
    request: OffsetCommitRequest, code: ErrorCode, message: str | None, version: int
) -> OffsetCommitResponse:
    return OffsetCommitResponse(topics=[_refuse(topic, code) for topic in request.topics])


def _resolve(topic: OffsetCommitRequestTopic, context: RequestContext) -> ErrorCode:
    """Fill in the topic's name, and say whether it can be committed for."""
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if context.api_version >= 10:
        topic.name = context.image.topic_names.get(topic.topic_id, "")
        unknown = ErrorCode.UNKNOWN_TOPIC_ID
    if topic.name not in context.image.topics:
        return unknown
    if not context.authorize(Operation.READ, Resource.TOPIC, topic.name):
        return ErrorCode.TOPIC_AUTHORIZATION_FAILED
    return ErrorCode.NONE


def _refuse(topic: OffsetCommitRequestTopic, code: ErrorCode) -> OffsetCommitResponseTopic:
    return OffsetCommitResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=[
            OffsetCommitResponsePartition(
                partition_index=partition.partition_index, error_code=code
            )
            for partition in topic.partitions
        ],
    )

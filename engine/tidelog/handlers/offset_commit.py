"""OffsetCommit (key 8), versions 2-10.

Behaviour: topics and partitions that don't exist are refused here (error 3; an unknown id 100); the
rest goes to the group coordinator, which gets names in every version. The answer has topics and
partitions in the order of the request, each as often as it is named there.

Version notes: 5 drops the retention time, 6 leader epochs, 7 static members, 9 KIP-848 groups, 10
topic ids instead of names.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.partitions import codes_of, merged_codes
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
    topics = request.topics
    codes = [_resolve(topic, context) for topic in topics]
    accepted = [
        (position, _only(topic, codes[position]))
        for position, topic in enumerate(topics)
        if ErrorCode.NONE in codes[position]
    ]
    if accepted:
        request.topics = [topic for _, topic in accepted]
        answer = await context.services.groups.commit_offsets(request, context)
        for (position, _), result in zip(accepted, answer.topics, strict=True):
            codes[position] = merged_codes(
                codes[position], [p.error_code for p in result.partitions]
            )
    return OffsetCommitResponse(topics=[_result(*each) for each in zip(topics, codes, strict=True)])


def error_answer(
    request: OffsetCommitRequest, code: ErrorCode, message: str | None, version: int
) -> OffsetCommitResponse:
    return OffsetCommitResponse(
        topics=[_result(topic, [code] * len(topic.partitions)) for topic in request.topics]
    )


def _resolve(topic: OffsetCommitRequestTopic, context: RequestContext) -> list[int]:
    """Fill in the topic's name, and say for each partition whether it can be committed for."""
    image = context.image
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if context.api_version >= 10:
        topic.name = image.topic_names.get(topic.topic_id, "")
        unknown = ErrorCode.UNKNOWN_TOPIC_ID
    indexes = [partition.partition_index for partition in topic.partitions]
    known = image.topics.get(topic.name)
    if known is not None and not context.authorize(Operation.READ, Resource.TOPIC, topic.name):
        return [ErrorCode.TOPIC_AUTHORIZATION_FAILED] * len(indexes)
    found = codes_of(known, indexes, unknown)
    return [found[index] for index in indexes]


def _only(topic: OffsetCommitRequestTopic, codes: list[int]) -> OffsetCommitRequestTopic:
    """The topic with the partitions that were not refused."""
    return OffsetCommitRequestTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=[each for each, code in zip(topic.partitions, codes, strict=True) if code == 0],
    )


def _result(topic: OffsetCommitRequestTopic, codes: list[int]) -> OffsetCommitResponseTopic:
    return OffsetCommitResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=[
            OffsetCommitResponsePartition(partition_index=each.partition_index, error_code=code)
            for each, code in zip(topic.partitions, codes, strict=True)
        ],
    )

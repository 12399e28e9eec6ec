"""OffsetDelete (key 47), version 0.

Behaviour: topics and partitions that don't exist are refused here (error 3); the rest goes to the
group coordinator. The answer has the topics in the order of the request, without those that name no
partition. A group that is unknown or consumes something else than topics is refused as a whole.

Version notes: there is only one.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)

API: Final = Api(ApiKey.OFFSET_DELETE, 0, 0)


async def handle(request: OffsetDeleteRequest, context: RequestContext) -> OffsetDeleteResponse:
    if not context.authorize(Operation.DELETE, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    topics = request.topics
    codes = [_resolve(topic, context) for topic in topics]
    request.topics = [
        OffsetDeleteRequestTopic(
            name=topic.name,
            partitions=[p for p in topic.partitions if codes[i][p.partition_index] == 0],
        )
        for i, topic in enumerate(topics)
    ]
    answer = await context.services.groups.delete_offsets(request, context)
    for found, result in zip(codes, answer.topics, strict=True):
        found.update((each.partition_index, each.error_code) for each in result.partitions)
    return OffsetDeleteResponse(
        topics=[
            OffsetDeleteResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetDeleteResponsePartition(partition_index=index, error_code=code)
                    for index, code in found.items()
                ],
            )
            for topic, found in zip(topics, codes, strict=True)
            if found
        ]
    )


def _resolve(topic: OffsetDeleteRequestTopic, context: RequestContext) -> dict[int, int]:
    """For each partition, whether it may be asked for."""
    indexes = [partition.partition_index for partition in topic.partitions]
    if not context.authorize(Operation.READ, Resource.TOPIC, topic.name):
        return dict.fromkeys(indexes, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
    known = context.image.topics.get(topic.name)
    count = 0 if known is None else len(known.partitions)
    return {
        index: ErrorCode.NONE if 0 <= index < count else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        for index in indexes
    }


def error_answer(
    request: OffsetDeleteRequest, code: ErrorCode, message: str | None, version: int
) -> OffsetDeleteResponse:
    return OffsetDeleteResponse(error_code=code)

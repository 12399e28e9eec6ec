"""DeleteRecords (key 21), versions 0-2.

Behaviour: moves the log start of partitions that this node leads; offset -1 stands for the high
watermark. Internal topics are refused with 17, topics that are compacted only with 44, offsets
below 0 or above the high watermark with 1. Files that fall below the new start are deleted later,
by retention. The answer comes when every live replica has moved its start.

Version notes: 2 is the first flexible version.
"""

from __future__ import annotations

import asyncio
from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from tidelog.types import INTERNAL_TOPICS

API: Final = Api(ApiKey.DELETE_RECORDS, 0, 2)


async def handle(request: DeleteRecordsRequest, context: RequestContext) -> DeleteRecordsResponse:
    topics = []
    for topic in request.topics:
        results = await asyncio.gather(
            *(
                _delete(topic.name, partition, request.timeout_ms, context)
                for partition in topic.partitions
            )
        )
        topics.append(DeleteRecordsTopicResult(name=topic.name, partitions=list(results)))
    return DeleteRecordsResponse(topics=topics)


def error_answer(
    request: DeleteRecordsRequest, code: ErrorCode, message: str | None, version: int
) -> DeleteRecordsResponse:
    return DeleteRecordsResponse(
        topics=[
            DeleteRecordsTopicResult(
                name=topic.name, partitions=[_error(each, code) for each in topic.partitions]
            )
            for topic in request.topics
        ]
    )


async def _delete(
    topic: str, partition: DeleteRecordsPartition, timeout_ms: int, context: RequestContext
) -> DeleteRecordsPartitionResult:
    if not context.authorize(Operation.DELETE, Resource.TOPIC, topic):
        return _error(partition, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
    replicas = context.services.replicas
    try:
        if topic in INTERNAL_TOPICS and topic in context.image.topics:
            raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION)
        led = replicas.leader(topic, partition.partition_index)
        low_watermark = await replicas.delete_records(led, partition.offset, timeout_ms)
    except KafkaError as error:
        return _error(partition, error.error_code)
    return DeleteRecordsPartitionResult(
        partition_index=partition.partition_index, low_watermark=low_watermark
    )


def _error(partition: DeleteRecordsPartition, code: int) -> DeleteRecordsPartitionResult:
    return DeleteRecordsPartitionResult(
        partition_index=partition.partition_index, low_watermark=-1, error_code=code
    )

"""OffsetForLeaderEpoch (key 23), versions 2-4 (KIP-101, KIP-320).

Behaviour: the largest epoch not above the one asked for, with the offset at which it ended; -1 and
-1 when the log knows none. Clients find out with it whether their position was cut off by a new
leader.

Version notes: 3 adds the replica id of followers, 4 is the first flexible version.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)

API: Final = Api(ApiKey.OFFSET_FOR_LEADER_EPOCH, 2, 4)


def handle(
    request: OffsetForLeaderEpochRequest, context: RequestContext
) -> OffsetForLeaderEpochResponse:
    topics = []
    for topic in request.topics:
        if context.authorize(Operation.DESCRIBE, Resource.TOPIC, topic.topic):
            results = [_find(topic.topic, partition, context) for partition in topic.partitions]
        else:
            code = ErrorCode.TOPIC_AUTHORIZATION_FAILED
            results = [_error(partition, code) for partition in topic.partitions]
        topics.append(OffsetForLeaderTopicResult(topic=topic.topic, partitions=results))
    return OffsetForLeaderEpochResponse(topics=topics)


def error_answer(
    request: OffsetForLeaderEpochRequest, code: ErrorCode, message: str | None, version: int
) -> OffsetForLeaderEpochResponse:
    return OffsetForLeaderEpochResponse(
        topics=[
            OffsetForLeaderTopicResult(
                topic=topic.topic, partitions=[_error(each, code) for each in topic.partitions]
            )
            for topic in request.topics
        ]
    )


def _find(
    topic: str, partition: OffsetForLeaderPartition, context: RequestContext
) -> EpochEndOffset:
    replicas = context.services.replicas
    try:
        led = replicas.leader(topic, partition.partition, partition.current_leader_epoch)
        epoch, end_offset = replicas.log_of(led).end_offset_for_epoch(partition.leader_epoch)
    except KafkaError as error:
        return _error(partition, error.error_code)
    return EpochEndOffset(partition=partition.partition, leader_epoch=epoch, end_offset=end_offset)


def _error(partition: OffsetForLeaderPartition, code: int) -> EpochEndOffset:
    return EpochEndOffset(partition=partition.partition, error_code=code)

"""ListOffsets (key 2), versions 1-11.

Behaviour:
* The named places: -1 latest (high watermark, or last stable offset with read_committed), -2
  earliest, -3 record with the largest timestamp, -4 earliest local (= earliest), -5 latest tiered
  and -6 earliest pending upload (-1: nothing is tiered). Other timestamps: the first record that is
  not older; offset -1 when there is none, or none that a consumer may read yet.
* A place that the request's version doesn't know yet, and any other negative one: error 35 for the
  partition.
* A partition named twice: one answer, error 42. Leader epochs are checked before anything else.

Version notes: 2 isolation level, 4 leader epochs, 7 -3 (KIP-734), 8 -4, 9 -5, 10 timeout (no use
without tiered storage), 11 -6.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.partitions import duplicates
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from tidelog.replication.listing_offsets import (
    FIRST_VERSION,
    is_place,
    offset_of_place,
    offset_of_time,
)

API: Final = Api(ApiKey.LIST_OFFSETS, 1, 11)

_Result = ListOffsetsPartitionResponse

_OFFSET_NOT_AVAILABLE_FROM: Final = 5


async def handle(request: ListOffsetsRequest, context: RequestContext) -> ListOffsetsResponse:
    twice = duplicates(
        (topic.name, partition.partition_index)
        for topic in request.topics
        for partition in topic.partitions
    )
    topics = []
    for topic in request.topics:
        allowed = context.authorize(Operation.DESCRIBE, Resource.TOPIC, topic.name)
        results = []
        for partition in _distinct(topic.partitions):
            if not allowed:
                results.append(_error(partition, ErrorCode.TOPIC_AUTHORIZATION_FAILED))
            elif (topic.name, partition.partition_index) in twice:
                results.append(_error(partition, ErrorCode.INVALID_REQUEST))
            else:
                results.append(await _list(topic.name, partition, request, context))
        topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=results))
    return ListOffsetsResponse(topics=topics)


def error_answer(
    request: ListOffsetsRequest, code: ErrorCode, message: str | None, version: int
) -> ListOffsetsResponse:
    return ListOffsetsResponse(
        topics=[
            ListOffsetsTopicResponse(
                name=topic.name, partitions=[_error(each, code) for each in topic.partitions]
            )
            for topic in request.topics
        ]
    )


def _distinct(partitions: list[ListOffsetsPartition]) -> list[ListOffsetsPartition]:
    return list({partition.partition_index: partition for partition in partitions}.values())


async def _list(
    topic: str,
    partition: ListOffsetsPartition,
    request: ListOffsetsRequest,
    context: RequestContext,
) -> _Result:
    timestamp, version = partition.timestamp, context.api_version
    if timestamp < 0 and FIRST_VERSION.get(timestamp, version + 1) > version:
        return _error(partition, ErrorCode.UNSUPPORTED_VERSION)
    replicas = context.services.replicas
    try:
        led = replicas.leader(topic, partition.partition_index, partition.current_leader_epoch)
        held = replicas.log_of(led)
        isolation_level, replica_id = request.isolation_level, request.replica_id
        if is_place(timestamp):
            found = offset_of_place(led, held, timestamp, isolation_level, replica_id)
        else:
            found = await offset_of_time(led, held, timestamp, isolation_level, replica_id)
    except KafkaError as error:
        code = error.error_code
        if code == ErrorCode.OFFSET_NOT_AVAILABLE and version < _OFFSET_NOT_AVAILABLE_FROM:
            code = ErrorCode.LEADER_NOT_AVAILABLE  # on which older clients ask again, too
        return _error(partition, code)
    return _Result(
        partition_index=partition.partition_index,
        timestamp=found.timestamp,
        offset=found.offset,
        leader_epoch=found.leader_epoch if version >= 4 else -1,
    )


def _error(partition: ListOffsetsPartition, code: int) -> _Result:
    return _Result(partition_index=partition.partition_index, error_code=code)

"""DescribeProducers (key 61), version 0 (KIP-664): the producer ids that a partition remembers.

Behaviour: asked of the leader. A bad topic name is 17, an unknown partition 3, one led elsewhere 6.
Before there are transactions, coordinator epoch and transaction start offset are -1.

Version notes: there is one version.
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.topic_names import name_problem
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)

API: Final = Api(ApiKey.DESCRIBE_PRODUCERS, 0, 0)


def handle(request: DescribeProducersRequest, context: RequestContext) -> DescribeProducersResponse:
    return DescribeProducersResponse(
        topics=[
            TopicResponse(
                name=topic.name,
                partitions=[_describe(topic.name, i, context) for i in topic.partition_indexes],
            )
            for topic in request.topics
        ]
    )


def error_answer(
    request: DescribeProducersRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeProducersResponse:
    return DescribeProducersResponse(
        topics=[
            TopicResponse(
                name=topic.name,
                partitions=[_error(index, code, message) for index in topic.partition_indexes],
            )
            for topic in request.topics
        ]
    )


def _describe(topic: str, index: int, context: RequestContext) -> PartitionResponse:
    problem = name_problem(topic)
    if problem is not None:
        return _error(index, ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
    if not context.authorize(Operation.READ, Resource.TOPIC, topic):
        return _error(index, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
    try:
        led = context.services.replicas.leader(topic, index)
    except KafkaError as error:
        return _error(index, error.error_code, error.message)
    assert led.log is not None
    return PartitionResponse(
        partition_index=index,
        active_producers=[
            ProducerState(
                producer_id=entry.producer_id,
                producer_epoch=entry.producer_epoch,
                last_sequence=entry.last_sequence,
                last_timestamp=entry.last_timestamp,
                coordinator_epoch=entry.coordinator_epoch,
                current_txn_start_offset=entry.current_txn_first_offset,
            )
            for entry in led.log.producers.active()
        ],
    )


def _error(index: int, code: int, message: str | None = None) -> PartitionResponse:
    return PartitionResponse(
        partition_index=index, error_code=code, error_message=message_of(code, message)
    )

"""DescribeTopicPartitions (key 75), version 0 (KIP-966): topics with their partitions, page by
page.

Behaviour:
* Topics come sorted by name; none named means all. Those refused (bad name, not there) take no room
  and come first, as Kafka sends them; when all topics were asked for, they are left out.
* A page holds at most `response_partition_limit` partitions, and never more than
  max.request.partition.size.limit. Where it ends, next_cursor says: the first partition that is not
  in it.
* With a cursor, topics before its topic are left out. A cursor behind a topic's last partition
  yields the topic, empty. A cursor at a topic that is not among those asked for is 42.
* Eligible leader replicas are always empty lists: that feature is not there.

Version notes: there is one version.
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.topic_names import name_problem
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.nodes import Address, live_addresses
from tidelog.handlers.partitions import is_offline
from tidelog.metadata.image import MetadataImage, PartitionImage, TopicImage
from tidelog.metadata.records import NO_LEADER
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)
from tidelog.types import INTERNAL_TOPICS

API: Final = Api(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, 0)


def handle(
    request: DescribeTopicPartitionsRequest, context: RequestContext
) -> DescribeTopicPartitionsResponse:
    image = context.image
    remaining = _page_size(request, context)
    first_topic, first_partition = _start(request)
    asked = {topic.name for topic in request.topics} if request.topics else image.topics.keys()
    names = sorted(name for name in asked if name >= first_topic)
    alive = live_addresses(image, context)
    missing: list[DescribeTopicPartitionsResponseTopic] = []
    answer = DescribeTopicPartitionsResponse()
    for name in names:
        topic = image.topics.get(name)
        if topic is None or not context.authorize(Operation.DESCRIBE, Resource.TOPIC, name):
            missing.append(_missing(name, topic is not None, context))
            continue
        if remaining == 0:
            answer.next_cursor = Cursor(topic_name=name, partition_index=0)
            break
        begin = first_partition if name == first_topic else 0
        end = min(len(topic.partitions), begin + remaining)
        answer.topics.append(_describe(topic, begin, end, alive, image, context))
        remaining -= max(end - begin, 0)
        if end < len(topic.partitions):
            answer.next_cursor = Cursor(topic_name=name, partition_index=end)
            break
    if request.topics:
        answer.topics[:0] = missing
    return answer


def error_answer(
    request: DescribeTopicPartitionsRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeTopicPartitionsResponse:
    return DescribeTopicPartitionsResponse(
        topics=[
            DescribeTopicPartitionsResponseTopic(error_code=code, name=topic.name)
            for topic in request.topics
        ]
    )


def _page_size(request: DescribeTopicPartitionsRequest, context: RequestContext) -> int:
    limit = context.config.max_request_partition_size_limit
    return max(1, min(limit, request.response_partition_limit))


def _start(request: DescribeTopicPartitionsRequest) -> tuple[str, int]:
    cursor = request.cursor
    if cursor is None:
        return "", 0
    if cursor.partition_index < 0:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "the cursor's partition is negative")
    if request.topics and all(topic.name != cursor.topic_name for topic in request.topics):
        raise KafkaError(ErrorCode.INVALID_REQUEST, "the cursor's topic is none of those asked for")
    return cursor.topic_name, cursor.partition_index


def _missing(
    name: str, exists: bool, context: RequestContext
) -> DescribeTopicPartitionsResponseTopic:
    if exists:
        error = ErrorCode.TOPIC_AUTHORIZATION_FAILED
    elif name_problem(name) is not None:
        error = ErrorCode.INVALID_TOPIC_EXCEPTION
    else:
        error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return DescribeTopicPartitionsResponseTopic(
        error_code=error,
        name=name,
        is_internal=name in INTERNAL_TOPICS,
        topic_authorized_operations=context.authorized_operations(Resource.TOPIC, name),
    )


def _describe(
    topic: TopicImage,
    begin: int,
    end: int,
    alive: dict[int, Address],
    image: MetadataImage,
    context: RequestContext,
) -> DescribeTopicPartitionsResponseTopic:
    return DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.name in INTERNAL_TOPICS,
        partitions=[
            _describe_partition(partition, alive, image)
            for partition in topic.partitions[begin:end]
        ],
        topic_authorized_operations=context.authorized_operations(Resource.TOPIC, topic.name),
    )


def _describe_partition(
    partition: PartitionImage, alive: dict[int, Address], image: MetadataImage
) -> DescribeTopicPartitionsResponsePartition:
    led = partition.leader in alive
    return DescribeTopicPartitionsResponsePartition(
        error_code=ErrorCode.NONE if led else ErrorCode.LEADER_NOT_AVAILABLE,
        partition_index=partition.index,
        leader_id=partition.leader if led else NO_LEADER,
        leader_epoch=partition.leader_epoch,
        replica_nodes=list(partition.replicas),
        isr_nodes=list(partition.isr),
        eligible_leader_replicas=list(partition.elr),
        last_known_elr=[],
        offline_replicas=[
            n for n in partition.replicas if n in partition.offline or is_offline(n, image)
        ],
    )

"""Metadata (key 3), versions 0-13.

Behaviour:
* A topic that doesn't exist is created when the request and auto.create.topics.enable allow it, and
  the answer waits for that: it names leaders that serve already. (Kafka answers error 3 and lets
  the client ask again; clients take both.) While this node doesn't know the new topic yet, the
  answer is LEADER_NOT_AVAILABLE, on which every client retries. What its `controller_mutation_rate`
  does not allow is not created, and does not exist for the client (as 4.3.1 has it).
* A bad name is INVALID_TOPIC_EXCEPTION (17), an unknown topic 3, an unknown topic id 100. When any
  topic comes with an id, ids count and names don't, as in Kafka.
* Addresses: see nodes.py. The controller is the lowest live node: any node takes controller
  requests.
* Answers without errors are kept encoded (metadata_cache.py).

Version notes: 0 asks for all topics with an empty list, 1+ with null. 4 allow_auto_topic_creation,
8 authorized operations (of the cluster until 10), 10 topic ids in answers, 12 in requests (before:
error 42 for the whole request), 13 top-level error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Hashable
from typing import Final

from tidelog.controller.topic_names import name_problem
from tidelog.errors import KafkaError
from tidelog.handlers.api import Answer, Api, Encoded
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.mutations import mutations
from tidelog.handlers.nodes import Address, live_addresses
from tidelog.handlers.partitions import is_offline
from tidelog.metadata.image import MetadataImage, PartitionImage, TopicImage
from tidelog.metadata.records import NO_LEADER
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import encode
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from tidelog.types import INTERNAL_TOPICS, ZERO_TOPIC_ID

API: Final = Api(ApiKey.METADATA, 0, 13)


def handle(request: MetadataRequest, context: RequestContext) -> Answer | Awaitable[Answer]:
    topics = request.topics
    if topics is None or (context.api_version == 0 and not topics):
        return _answer(request, None, context)
    _check_topics(topics, context.api_version)
    ids = [topic.topic_id for topic in topics if topic.topic_id != ZERO_TOPIC_ID]
    if ids:
        return _answer_by_id(request, ids, context)
    names = tuple(dict.fromkeys(topic.name or "" for topic in topics))
    missing = [name for name in names if name not in context.image.topics]
    if missing and _may_create(request, context):
        creatable = [
            name
            for name in missing
            if name_problem(name) is None
            and context.authorize(Operation.CREATE, Resource.TOPIC, name)
        ]
        if creatable:
            return _create_and_answer(request, names, creatable, context)
    return _answer(request, names, context)


def error_answer(
    request: MetadataRequest, code: ErrorCode, message: str | None, version: int
) -> MetadataResponse:
    return MetadataResponse(
        error_code=code,
        topics=[
            MetadataResponseTopic(
                error_code=code,
                name=(topic.name or "") if version < 12 else topic.name,
                topic_id=topic.topic_id,
            )
            for topic in request.topics or ()
        ],
    )


def _check_topics(topics: list[MetadataRequestTopic], version: int) -> None:
    for topic in topics:
        if topic.name is None and (version < 12 or topic.topic_id == ZERO_TOPIC_ID):
            raise KafkaError(ErrorCode.INVALID_REQUEST, "a topic without a name")
        if topic.topic_id != ZERO_TOPIC_ID and version < 12:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "topic ids need version 12")


def _may_create(request: MetadataRequest, context: RequestContext) -> bool:
    return request.allow_auto_topic_creation and context.config.auto_create_topics_enable


async def _create_and_answer(
    request: MetadataRequest, names: tuple[str, ...], creatable: list[str], context: RequestContext
) -> Answer:
    allowed = mutations(context, strict_from=0)
    if allowed is not None:
        # Charged to whoever uses the topic first, as in Kafka; beyond the quota there is no topic
        # yet, and the client asks again.
        count = context.config.num_partitions
        creatable = [name for name in creatable if allowed.take(count)]
    codes = await context.services.topic_creation.create(creatable)
    errors = {
        name: ErrorCode.LEADER_NOT_AVAILABLE if code == ErrorCode.NONE else ErrorCode(code)
        for name, code in codes.items()
    }
    return _answer(request, names, context, errors)


def _answer(
    request: MetadataRequest,
    names: tuple[str, ...] | None,
    context: RequestContext,
    creation_errors: dict[str, ErrorCode] | None = None,
) -> Answer:
    """The answer for topics by name; None: all of them."""
    image, cache = context.image, context.services.metadata_cache
    key = _cache_key(request, names, context)
    known = cache.get(image.version, key)
    if known is not None:
        return Encoded(known)
    alive = live_addresses(image, context)
    answer = _frame(request, image, alive, context)
    cacheable = True
    for name in image.topics if names is None else names:
        topic = image.topics.get(name)
        if not context.authorize(Operation.DESCRIBE, Resource.TOPIC, name):
            if names is not None:
                answer.topics.append(_missing(name, ErrorCode.TOPIC_AUTHORIZATION_FAILED))
        elif topic is not None:
            answer.topics.append(_describe(topic, alive, request, context))
        else:
            cacheable = False
            answer.topics.append(_missing(name, (creation_errors or {}).get(name)))
    if not cacheable:
        return answer
    body = encode(answer, context.api_version)
    cache.put(image.version, key, body)
    return Encoded(body)


def _answer_by_id(request: MetadataRequest, ids: list[bytes], context: RequestContext) -> Answer:
    image = context.image
    alive = live_addresses(image, context)
    answer = _frame(request, image, alive, context)
    for topic_id in dict.fromkeys(ids):
        topic = image.topic_by_id(topic_id)
        if topic is None or not context.authorize(Operation.DESCRIBE, Resource.TOPIC, topic.name):
            unknown = MetadataResponseTopic(
                error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=topic_id
            )
            answer.topics.append(unknown)
        else:
            answer.topics.append(_describe(topic, alive, request, context))
    return answer


def _cache_key(
    request: MetadataRequest, names: tuple[str, ...] | None, context: RequestContext
) -> Hashable:
    connection = context.connection
    return (
        context.api_version,
        names,
        connection.listener,
        connection.local_host,
        connection.principal,
        request.include_topic_authorized_operations,
        request.include_cluster_authorized_operations,
    )


def _frame(
    request: MetadataRequest,
    image: MetadataImage,
    alive: dict[int, Address],
    context: RequestContext,
) -> MetadataResponse:
    """The answer without its topics."""
    asked = request.include_cluster_authorized_operations
    return MetadataResponse(
        brokers=[
            MetadataResponseBroker(
                node_id=node.node_id, host=node.host, port=node.port, rack=node.rack
            )
            for node in alive.values()
        ],
        cluster_id=image.cluster_id,
        controller_id=image.controller_id,
        cluster_authorized_operations=context.authorized_operations(
            Resource.CLUSTER, CLUSTER_NAME, asked=asked
        ),
    )


def _missing(name: str, error: ErrorCode | None) -> MetadataResponseTopic:
    if error is None:
        bad = name_problem(name) is not None
        error = ErrorCode.INVALID_TOPIC_EXCEPTION if bad else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return MetadataResponseTopic(error_code=error, name=name, is_internal=name in INTERNAL_TOPICS)


def _describe(
    topic: TopicImage,
    alive: dict[int, Address],
    request: MetadataRequest,
    context: RequestContext,
) -> MetadataResponseTopic:
    return MetadataResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.name in INTERNAL_TOPICS,
        partitions=[
            _describe_partition(partition, alive, context) for partition in topic.partitions
        ],
        topic_authorized_operations=context.authorized_operations(
            Resource.TOPIC, topic.name, asked=request.include_topic_authorized_operations
        ),
    )


def _describe_partition(
    partition: PartitionImage, alive: dict[int, Address], context: RequestContext
) -> MetadataResponsePartition:
    error, leader = ErrorCode.NONE, partition.leader
    if leader not in alive:
        without_listener = not is_offline(leader, context.image)
        error = (
            ErrorCode.LISTENER_NOT_FOUND
            if without_listener and context.api_version >= 6
            else ErrorCode.LEADER_NOT_AVAILABLE
        )
        leader = NO_LEADER
    return MetadataResponsePartition(
        error_code=error,
        partition_index=partition.index,
        leader_id=leader,
        leader_epoch=partition.leader_epoch,
        replica_nodes=list(partition.replicas),
        isr_nodes=list(partition.isr),
        offline_replicas=[
            node_id
            for node_id in partition.replicas
            if node_id in partition.offline or is_offline(node_id, context.image)
        ],
    )

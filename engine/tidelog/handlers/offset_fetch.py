"""OffsetFetch (key 9), versions 1-10.

Behaviour: every version is turned into the form of version 8 (groups, topics by name) for the group
coordinator and back. An unknown topic id is error 100 on its partitions; an unknown name has no
offset (-1) and no error, as in Kafka. With topics null all committed offsets are answered; in
version 10 only those of topics that still exist, since the others have no id any more.

Version notes: 2 null topics and a top-level error (before: one on every partition), 5 leader
epochs, 7 require_stable, 8 several groups, 9 member id and epoch (KIP-848), 10 topic ids instead of
names.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)

API: Final = Api(ApiKey.OFFSET_FETCH, 1, 10)


async def handle(request: OffsetFetchRequest, context: RequestContext) -> OffsetFetchResponse:
    version = context.api_version
    groups = [await _fetch(group, request, context) for group in _groups(request, version)]
    return _answer(request, groups, version)


def error_answer(
    request: OffsetFetchRequest, code: ErrorCode, message: str | None, version: int
) -> OffsetFetchResponse:
    groups = [
        OffsetFetchResponseGroup(group_id=group.group_id, error_code=code)
        for group in _groups(request, version)
    ]
    return _answer(request, groups, version)


def _groups(request: OffsetFetchRequest, version: int) -> list[OffsetFetchRequestGroup]:
    if version >= 8:
        return request.groups
    topics = None
    if request.topics is not None:
        topics = [
            OffsetFetchRequestTopics(name=topic.name, partition_indexes=topic.partition_indexes)
            for topic in request.topics
        ]
    return [OffsetFetchRequestGroup(group_id=request.group_id, topics=topics)]


async def _fetch(
    group: OffsetFetchRequestGroup, request: OffsetFetchRequest, context: RequestContext
) -> OffsetFetchResponseGroup:
    if not context.authorize(Operation.DESCRIBE, Resource.GROUP, group.group_id):
        return OffsetFetchResponseGroup(
            group_id=group.group_id, error_code=ErrorCode.GROUP_AUTHORIZATION_FAILED
        )
    refused: list[OffsetFetchResponseTopics] = []
    if group.topics is not None:
        accepted = []
        for topic in group.topics:
            code = _resolve(topic, context)
            if code == ErrorCode.NONE:
                accepted.append(topic)
            else:
                refused.append(_refuse(topic, code))
        group.topics = accepted
    try:
        answer = await context.services.groups.fetch_offsets(group, request.require_stable, context)
    except KafkaError as error:
        return OffsetFetchResponseGroup(group_id=group.group_id, error_code=error.error_code)
    if answer.error_code:
        return answer
    if context.api_version >= 10:
        answer.topics = [topic for topic in answer.topics if _fill_id(topic, context)]
    answer.topics = [
        topic
        for topic in answer.topics
        if group.topics is not None
        or context.authorize(Operation.DESCRIBE, Resource.TOPIC, topic.name)
    ]
    answer.topics += refused
    return answer


def _resolve(topic: OffsetFetchRequestTopics, context: RequestContext) -> ErrorCode:
    """Fill in the topic's name, and say whether its offsets may be told."""
    if context.api_version >= 10:
        name = context.image.topic_names.get(topic.topic_id)
        if name is None:
            return ErrorCode.UNKNOWN_TOPIC_ID
        topic.name = name
    if not context.authorize(Operation.DESCRIBE, Resource.TOPIC, topic.name):
        return ErrorCode.TOPIC_AUTHORIZATION_FAILED
    return ErrorCode.NONE


def _fill_id(topic: OffsetFetchResponseTopics, context: RequestContext) -> bool:
    known = context.image.topics.get(topic.name)
    if known is None:
        return False
    topic.topic_id = known.topic_id
    return True


def _refuse(topic: OffsetFetchRequestTopics, code: ErrorCode) -> OffsetFetchResponseTopics:
    return OffsetFetchResponseTopics(
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=[
            OffsetFetchResponsePartitions(
                partition_index=index, committed_offset=-1, metadata="", error_code=code
            )
            for index in topic.partition_indexes
        ],
    )


def _answer(
    request: OffsetFetchRequest, groups: list[OffsetFetchResponseGroup], version: int
) -> OffsetFetchResponse:
    if version >= 8:
        return OffsetFetchResponse(groups=groups)
    (group,) = groups
    if group.error_code and version < 2:
        group.topics = [
            _refuse(topic, ErrorCode(group.error_code))
            for topic in _groups(request, version)[0].topics or ()
        ]
    return OffsetFetchResponse(
        error_code=group.error_code if version >= 2 else 0,
        topics=[
            OffsetFetchResponseTopic(
                name=topic.name,
                partitions=[_old_partition(partition) for partition in topic.partitions],
            )
            for topic in group.topics
        ],
    )


def _old_partition(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition:
    return OffsetFetchResponsePartition(
        partition_index=partition.partition_index,
        committed_offset=partition.committed_offset,
        committed_leader_epoch=partition.committed_leader_epoch,
        metadata=partition.metadata,
        error_code=partition.error_code,
    )

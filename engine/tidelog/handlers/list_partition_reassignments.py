"""ListPartitionReassignments (key 46), version 0 (KIP-455).

Behaviour: the partitions among those asked for whose replicas are being moved
(AlterPartitionReassignments), as the metadata has them. Topics that do not exist are left out.

Version notes: there is one version.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.metadata.image import MetadataImage, PartitionImage
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment,
    OngoingTopicReassignment,
)

API: Final = Api(ApiKey.LIST_PARTITION_REASSIGNMENTS, 0, 0)


def handle(
    request: ListPartitionReassignmentsRequest, context: RequestContext
) -> ListPartitionReassignmentsResponse:
    if not context.authorize(Operation.DESCRIBE, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    topics = []
    for name, partitions in _wanted(request, context.image).items():
        ongoing = [_ongoing(each) for each in partitions if each.is_being_reassigned]
        if ongoing:
            topics.append(OngoingTopicReassignment(name=name, partitions=ongoing))
    return ListPartitionReassignmentsResponse(error_message=None, topics=topics)


def error_answer(
    request: ListPartitionReassignmentsRequest, code: ErrorCode, message: str | None, version: int
) -> ListPartitionReassignmentsResponse:
    return ListPartitionReassignmentsResponse(
        error_code=code, error_message=message_of(code, message)
    )


def _wanted(
    request: ListPartitionReassignmentsRequest, image: MetadataImage
) -> dict[str, list[PartitionImage]]:
    if request.topics is None:
        return {name: list(topic.partitions) for name, topic in image.topics.items()}
    wanted: dict[str, list[PartitionImage]] = {}
    for topic in request.topics:
        known = (image.partition(topic.name, index) for index in topic.partition_indexes)
        wanted[topic.name] = [each for each in known if each is not None]
    return wanted


def _ongoing(partition: PartitionImage) -> OngoingPartitionReassignment:
    return OngoingPartitionReassignment(
        partition_index=partition.index,
        replicas=list(partition.replicas),
        adding_replicas=list(partition.adding_replicas),
        removing_replicas=list(partition.removing_replicas),
    )

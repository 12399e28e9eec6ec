"""AlterPartitionReassignments (key 45), versions 0-1 (KIP-455).

Behaviour: the controller decides about each partition for itself, and the answer comes when the
moves have begun, not when they are done; ListPartitionReassignments tells about those under way.
Replicas of null cancel a move.

Version notes: 1 may refuse to change how many replicas there are (KIP-860).
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.requests import (
    AlterReassignments,
    AlterReassignmentsAnswer,
    PartitionReassignment,
)
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)

API: Final = Api(ApiKey.ALTER_PARTITION_REASSIGNMENTS, 0, 1)


async def handle(
    request: AlterPartitionReassignmentsRequest, context: RequestContext
) -> AlterPartitionReassignmentsResponse:
    if not context.authorize(Operation.ALTER, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    wanted = AlterReassignments(
        tuple(_wanted(topic.name, each) for topic in request.topics for each in topic.partitions),
        request.allow_replication_factor_change,
    )
    answer = await ask_controller(
        context.services.controller, wanted, AlterReassignmentsAnswer, request.timeout_ms
    )
    results = iter(answer.partitions)
    return AlterPartitionReassignmentsResponse(
        allow_replication_factor_change=request.allow_replication_factor_change,
        # (As in Kafka, which does not ask its controller about nothing.)
        error_message=None if request.topics else "",
        responses=[
            ReassignableTopicResponse(
                name=topic.name,
                partitions=[
                    ReassignablePartitionResponse(
                        partition_index=result.partition,
                        error_code=result.error_code,
                        # (One code has no message, as in Kafka.)
                        error_message=result.error_message,
                    )
                    for _, result in zip(topic.partitions, results, strict=False)
                ],
            )
            for topic in request.topics
        ],
    )


def error_answer(
    request: AlterPartitionReassignmentsRequest, code: ErrorCode, message: str | None, version: int
) -> AlterPartitionReassignmentsResponse:
    return AlterPartitionReassignmentsResponse(
        allow_replication_factor_change=request.allow_replication_factor_change,
        error_code=code,
        error_message=message_of(code, message),
    )


def _wanted(topic: str, partition: ReassignablePartition) -> PartitionReassignment:
    replicas = partition.replicas
    return PartitionReassignment(
        topic, partition.partition_index, None if replicas is None else tuple(replicas)
    )

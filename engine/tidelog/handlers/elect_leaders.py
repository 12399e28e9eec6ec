"""ElectLeaders (key 43), versions 0-2 (KIP-183, KIP-460).

Behaviour:
* Every partition has one replica, so there is never another leader to elect: a partition that has
  its leader answers 84 (ELECTION_NOT_NEEDED), one whose node is away 80
  (PREFERRED_LEADER_NOT_AVAILABLE) or, unclean, 83 (ELIGIBLE_LEADERS_NOT_AVAILABLE).
* Without a list all partitions are meant; those that need no election are left out, but not their
  topics, as in Kafka. An election type that Kafka does not know is taken for a preferred one.

Version notes: 1 election types and the error of the whole request, 2 is the first flexible version.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import NO_LEADER
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)

API: Final = Api(ApiKey.ELECT_LEADERS, 0, 2)

_UNCLEAN: Final = 1


def handle(request: ElectLeadersRequest, context: RequestContext) -> ElectLeadersResponse:
    if not context.authorize(Operation.ALTER, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    image = context.image
    unclean = request.election_type == _UNCLEAN
    if request.topic_partitions is None:
        return ElectLeadersResponse(replica_election_results=_all(image, unclean))
    return ElectLeadersResponse(
        replica_election_results=[
            ReplicaElectionResult(
                topic=wanted.topic,
                partition_result=[
                    _result(index, _outcome(image, wanted.topic, index, unclean))
                    for index in wanted.partitions
                ],
            )
            for wanted in request.topic_partitions
        ]
    )


def error_answer(
    request: ElectLeadersRequest, code: ErrorCode, message: str | None, version: int
) -> ElectLeadersResponse:
    # Version 0 has no field for the error of the whole: its partitions have it.
    return ElectLeadersResponse(
        error_code=code if version >= 1 else ErrorCode.NONE,
        replica_election_results=[
            ReplicaElectionResult(
                topic=wanted.topic,
                partition_result=[_result(index, code, message) for index in wanted.partitions],
            )
            for wanted in request.topic_partitions or ()
        ],
    )


def _all(image: MetadataImage, unclean: bool) -> list[ReplicaElectionResult]:
    results = []
    for name, topic in image.topics.items():
        outcomes = (
            (each.index, _outcome(image, name, each.index, unclean)) for each in topic.partitions
        )
        results.append(
            ReplicaElectionResult(
                topic=name,
                partition_result=[
                    _result(index, code)
                    for index, code in outcomes
                    if code is not ErrorCode.ELECTION_NOT_NEEDED
                ],
            )
        )
    return results


def _outcome(image: MetadataImage, topic: str, index: int, unclean: bool) -> ErrorCode:
    partition = image.partition(topic, index)
    if partition is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if partition.leader != NO_LEADER:
        return ErrorCode.ELECTION_NOT_NEEDED
    if unclean:
        return ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE
    return ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE


def _result(index: int, code: ErrorCode, message: str | None = None) -> PartitionResult:
    return PartitionResult(
        partition_id=index, error_code=code, error_message=message_of(code, message)
    )

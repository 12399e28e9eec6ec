"""ElectLeaders (key 43), versions 0-2 (KIP-183, KIP-460).

Behaviour:
* The controller elects: the first replica (preferred), or where there is no leader any live replica
  (unclean). A partition that has the leader it should have answers 84 (ELECTION_NOT_NEEDED), one
  that cannot get it 80 (PREFERRED_LEADER_NOT_AVAILABLE) or 83 (ELIGIBLE_LEADERS_NOT_AVAILABLE).
* Without a list all partitions are meant; those that need no election are left out, but not their
  topics, as in Kafka. An election type that Kafka does not know is taken for a preferred one.

Version notes: 1 election types and the error of the whole request, 2 is the first flexible version.
"""

from __future__ import annotations

from typing import Final

from tidelog.controller import requests as controller
from tidelog.controller.requests import ElectLeaders, ElectLeadersAnswer
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)

API: Final = Api(ApiKey.ELECT_LEADERS, 0, 2)


async def handle(request: ElectLeadersRequest, context: RequestContext) -> ElectLeadersResponse:
    if not context.authorize(Operation.ALTER, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    wanted = request.topic_partitions
    asked = ElectLeaders(
        request.election_type,
        None
        if wanted is None
        else tuple((each.topic, index) for each in wanted for index in each.partitions),
    )
    answer = await ask_controller(
        context.services.controller, asked, ElectLeadersAnswer, request.timeout_ms
    )
    if wanted is None:
        return ElectLeadersResponse(replica_election_results=_all(answer, context.image))
    results = iter(answer.partitions)
    return ElectLeadersResponse(
        replica_election_results=[
            ReplicaElectionResult(
                topic=each.topic,
                partition_result=[_result(next(results)) for _ in each.partitions],
            )
            for each in wanted
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
                partition_result=[_partition(index, code, message) for index in wanted.partitions],
            )
            for wanted in request.topic_partitions or ()
        ],
    )


def _all(answer: ElectLeadersAnswer, image: MetadataImage) -> list[ReplicaElectionResult]:
    topics: dict[str, list[PartitionResult]] = {name: [] for name in image.topics}
    for result in answer.partitions:
        topics.setdefault(result.topic, []).append(_result(result))
    return [
        ReplicaElectionResult(topic=name, partition_result=results)
        for name, results in topics.items()
    ]


def _result(result: controller.PartitionResult) -> PartitionResult:
    return _partition(result.partition, result.error_code, result.error_message)


def _partition(index: int, code: int, message: str | None) -> PartitionResult:
    return PartitionResult(
        partition_id=index, error_code=code, error_message=message_of(code, message)
    )

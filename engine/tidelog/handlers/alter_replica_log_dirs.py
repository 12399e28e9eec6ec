"""AlterReplicaLogDirs (key 34), versions 1-2 (KIP-113): moves replicas between log directories.

Behaviour:
- The checks come in Kafka's order. A path that is no log directory of this node answers
  LOG_DIR_NOT_FOUND (57), an offline one KAFKA_STORAGE_ERROR (56).
- A partition that is not on this node answers REPLICA_NOT_AVAILABLE (9), or 3 when the cluster does
  not have it, and the directory is remembered: a replica that comes here later is made there.
- A replica that is in another directory is copied there while it is used; the answer does not wait
  for that. One that was on its way elsewhere, or is to stay, is no longer.

Version notes: 2 is the first flexible version.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.alter_replica_log_dirs import (
    AlterReplicaLogDirPartitionResult,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
    AlterReplicaLogDirTopicResult,
)
from tidelog.replication.replica_manager import ReplicaManager

API: Final = Api(ApiKey.ALTER_REPLICA_LOG_DIRS, 1, 2)


def handle(
    request: AlterReplicaLogDirsRequest, context: RequestContext
) -> AlterReplicaLogDirsResponse:
    if not context.authorize(Operation.ALTER, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    replicas = context.services.replicas
    # A partition that is sent to several directories is sent to the last of them.
    targets = _targets(request)
    return _answer(
        {place: _outcome(replicas, path, *place) for place, path in targets.items()},
    )


def error_answer(
    request: AlterReplicaLogDirsRequest, code: ErrorCode, message: str | None, version: int
) -> AlterReplicaLogDirsResponse:
    return _answer(dict.fromkeys(_targets(request), code))


def _targets(request: AlterReplicaLogDirsRequest) -> dict[tuple[str, int], str]:
    return {
        (topic.name, index): directory.path
        for directory in request.dirs
        for topic in directory.topics
        for index in topic.partitions
    }


def _outcome(replicas: ReplicaManager, path: str, topic: str, index: int) -> ErrorCode:
    view = next((view for view in replicas.logs.views() if view.path == path), None)
    if view is None:
        return ErrorCode.LOG_DIR_NOT_FOUND
    if view.failure is not None:
        return ErrorCode.KAFKA_STORAGE_ERROR
    held = replicas.logs.get(topic, index)
    if held is None:
        replicas.logs.wish(topic, index, path)
        if replicas.partition(topic, index) is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return ErrorCode.REPLICA_NOT_AVAILABLE
    if held.offline:
        return ErrorCode.KAFKA_STORAGE_ERROR
    replicas.logs.move(held, path)
    return ErrorCode.NONE


def _answer(outcomes: dict[tuple[str, int], ErrorCode]) -> AlterReplicaLogDirsResponse:
    topics: dict[str, AlterReplicaLogDirTopicResult] = {}
    for (topic, index), code in outcomes.items():
        result = topics.setdefault(topic, AlterReplicaLogDirTopicResult(topic_name=topic))
        result.partitions.append(
            AlterReplicaLogDirPartitionResult(partition_index=index, error_code=code)
        )
    return AlterReplicaLogDirsResponse(results=list(topics.values()))

"""DescribeLogDirs (key 35), versions 1-5.

Behaviour: the log directory of the node that is asked, with the sizes of the replicas in it; null
asks for all, and partitions that are not here are left out. A directory without any of the
partitions asked for is listed too. offset_lag is 0 for a leader.

Version notes: 3 top-level error, 4 size and free bytes of the volume (KIP-827), 5 cordoned
directories (never here).
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)
from tidelog.replication.replica_manager import ReplicaManager

API: Final = Api(ApiKey.DESCRIBE_LOG_DIRS, 1, 5)


async def handle(
    request: DescribeLogDirsRequest, context: RequestContext
) -> DescribeLogDirsResponse:
    if not context.authorize(Operation.DESCRIBE, Resource.CLUSTER, CLUSTER_NAME):
        code = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
        return error_answer(request, code, None, context.api_version)
    replicas = context.services.replicas
    directory = str(replicas.logs.directory)
    result = DescribeLogDirsResult(log_dir=directory, topics=_topics(request, replicas))
    # statvfs may wait for a disk, and the loop never does.
    try:
        volume = await asyncio.to_thread(os.statvfs, directory)
        result.total_bytes = volume.f_frsize * volume.f_blocks
        result.usable_bytes = volume.f_frsize * volume.f_bavail
    except OSError:
        result.error_code = ErrorCode.KAFKA_STORAGE_ERROR
    return DescribeLogDirsResponse(results=[result])


def error_answer(
    request: DescribeLogDirsRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeLogDirsResponse:
    return DescribeLogDirsResponse(error_code=code)


def _topics(
    request: DescribeLogDirsRequest, replicas: ReplicaManager
) -> list[DescribeLogDirsTopic]:
    if request.topics is None:
        held = sorted(replicas.logs.logs(), key=lambda each: (each.topic, each.index))
    else:
        wanted = dict.fromkeys(
            (topic.topic, index) for topic in request.topics for index in topic.partitions
        )
        found = (replicas.logs.get(topic, index) for topic, index in wanted)
        held = [each for each in found if each is not None]
    topics: dict[str, DescribeLogDirsTopic] = {}
    for each in held:
        entry = topics.setdefault(each.topic, DescribeLogDirsTopic(name=each.topic))
        entry.partitions.append(
            DescribeLogDirsPartition(
                partition_index=each.index, partition_size=each.core.size_bytes, offset_lag=0
            )
        )
    return list(topics.values())

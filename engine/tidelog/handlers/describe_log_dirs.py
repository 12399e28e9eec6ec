"""DescribeLogDirs (key 35), versions 1-5.

Behaviour: the log directories of the node that is asked, with the sizes of the replicas in them;
null asks for all, and partitions that are not here are left out. A directory without any of the
partitions asked for is listed too; one that is offline answers KAFKA_STORAGE_ERROR and nothing
else. offset_lag is how far a log's end is behind the high watermark: 0 for a leader. A log on its
way to a directory is listed there too (is_future_key), with how far its copy is behind.

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
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_directories import DirectoryView

API: Final = Api(ApiKey.DESCRIBE_LOG_DIRS, 1, 5)


async def handle(
    request: DescribeLogDirsRequest, context: RequestContext
) -> DescribeLogDirsResponse:
    if not context.authorize(Operation.DESCRIBE, Resource.CLUSTER, CLUSTER_NAME):
        code = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
        return error_answer(request, code, None, context.api_version)
    replicas = context.services.replicas
    wanted = None
    if request.topics is not None:
        wanted = {(topic.topic, index) for topic in request.topics for index in topic.partitions}
    results = [await _result(view, wanted, replicas) for view in replicas.logs.views()]
    return DescribeLogDirsResponse(results=results)


def error_answer(
    request: DescribeLogDirsRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeLogDirsResponse:
    return DescribeLogDirsResponse(error_code=code)


async def _result(
    view: DirectoryView, wanted: set[tuple[str, int]] | None, replicas: ReplicaManager
) -> DescribeLogDirsResult:
    result = DescribeLogDirsResult(log_dir=view.path)
    if view.failure is not None:
        result.error_code = ErrorCode.KAFKA_STORAGE_ERROR
        return result
    result.topics = _topics(view, wanted, replicas)
    # statvfs may wait for a disk, and the loop never does.
    try:
        volume = await asyncio.to_thread(os.statvfs, view.path)
        result.total_bytes = volume.f_frsize * volume.f_blocks
        result.usable_bytes = volume.f_frsize * volume.f_bavail
    except OSError:
        result.error_code = ErrorCode.KAFKA_STORAGE_ERROR
    return result


def _topics(
    view: DirectoryView, wanted: set[tuple[str, int]] | None, replicas: ReplicaManager
) -> list[DescribeLogDirsTopic]:
    topics: dict[str, DescribeLogDirsTopic] = {}
    for each in sorted(view.logs, key=lambda each: (each.topic, each.index)):
        if wanted is not None and (each.topic, each.index) not in wanted:
            continue
        entry = topics.setdefault(each.topic, DescribeLogDirsTopic(name=each.topic))
        entry.partitions.append(
            DescribeLogDirsPartition(
                partition_index=each.index,
                partition_size=each.core.size_bytes,
                offset_lag=_lag(each, replicas),
            )
        )
    for move in view.moves:
        moved = move.log
        if wanted is not None and (moved.topic, moved.index) not in wanted:
            continue
        entry = topics.setdefault(moved.topic, DescribeLogDirsTopic(name=moved.topic))
        entry.partitions.append(
            DescribeLogDirsPartition(
                partition_index=moved.index,
                partition_size=move.size_bytes,
                offset_lag=move.lag,
                is_future_key=True,
            )
        )
    return list(topics.values())


def _lag(held: PartitionLog, replicas: ReplicaManager) -> int:
    partition = replicas.partition(held.topic, held.index)
    if partition is None or partition.log is not held.core:
        return 0
    return max(partition.high_watermark - held.core.log_end_offset, 0)

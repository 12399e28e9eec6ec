"""WriteTxnMarkers (key 27), versions 1-2: from transaction coordinators to the leaders of the
partitions of a transaction.

Behaviour:
* For brokers only: CLUSTER_ACTION on the cluster.
* Each marker of each partition is written for itself, and answered when it is committed. One that
  was written already is not written again; the answer is the same.
* Of a partition of `__consumer_offsets` the group coordinator takes the marker: it decides what
  becomes of the offsets that wait for it.
* An older coordinator (TRANSACTION_COORDINATOR_FENCED) and an older epoch of the producer
  (INVALID_PRODUCER_EPOCH) are refused.

Version notes: 2 the transaction's version (KIP-1228): from 2 on each transaction has an epoch of
its own, and a marker must come with a newer one than the transaction's.
"""

from __future__ import annotations

import asyncio
from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from tidelog.replication.markers import Marker, write_marker
from tidelog.types import GROUP_METADATA_TOPIC

API: Final = Api(ApiKey.WRITE_TXN_MARKERS, 1, 2)


async def handle(
    request: WriteTxnMarkersRequest, context: RequestContext
) -> WriteTxnMarkersResponse:
    if not context.authorize(Operation.CLUSTER_ACTION, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    answers = []
    for marker in request.markers:
        topics = []
        for topic in marker.topics:
            codes = await asyncio.gather(
                *(_write(topic.name, index, marker, context) for index in topic.partition_indexes)
            )
            topics.append(_topic_result(topic.name, topic.partition_indexes, codes))
        answers.append(WritableTxnMarkerResult(producer_id=marker.producer_id, topics=topics))
    return WriteTxnMarkersResponse(markers=answers)


def error_answer(
    request: WriteTxnMarkersRequest, code: ErrorCode, message: str | None, version: int
) -> WriteTxnMarkersResponse:
    return WriteTxnMarkersResponse(
        markers=[
            WritableTxnMarkerResult(
                producer_id=marker.producer_id,
                topics=[
                    _topic_result(
                        topic.name, topic.partition_indexes, [code] * len(topic.partition_indexes)
                    )
                    for topic in marker.topics
                ],
            )
            for marker in request.markers
        ]
    )


def _topic_result(name: str, indexes: list[int], codes: list[int]) -> WritableTxnMarkerTopicResult:
    return WritableTxnMarkerTopicResult(
        name=name,
        partitions=[
            WritableTxnMarkerPartitionResult(partition_index=index, error_code=code)
            for index, code in zip(indexes, codes, strict=True)
        ],
    )


async def _write(topic: str, index: int, marker: WritableTxnMarker, context: RequestContext) -> int:
    services = context.services
    wanted = Marker(
        marker.producer_id,
        marker.producer_epoch,
        marker.transaction_result,
        marker.coordinator_epoch,
        marker.transaction_version if context.api_version >= 2 else 0,
    )
    try:
        partition = services.replicas.leader(topic, index)
        if topic == GROUP_METADATA_TOPIC:
            await services.groups.complete_transaction(index, wanted)
        else:
            await write_marker(services.replicas, partition, wanted, services.clock)
    except KafkaError as error:
        return error.error_code
    return ErrorCode.NONE

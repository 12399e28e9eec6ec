"""AddPartitionsToTxn (key 24), versions 0-5.

Behaviour:
* All or nothing: with one topic that is unknown or forbidden the others are
  OPERATION_NOT_ATTEMPTED.
* A partition that is in the transaction already is a success without a write.
* Versions 4 and 5 are for brokers (CLUSTER_ACTION): a partition's leader adds itself for a
  producer of the second generation, or asks whether it is in the transaction (verify_only), for
  several transactions at once. Each of these has its answer.

Version notes: 2 PRODUCER_FENCED (before: INVALID_PRODUCER_EPOCH), 3 flexible, 4 several
transactions (KIP-890), 5 TRANSACTION_ABORTABLE.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tidelog.coordinator.txn.decisions import Identity
from tidelog.coordinator.txn.transaction import TopicPartition
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.fencing import fencing_code
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction,
)

API: Final = Api(ApiKey.ADD_PARTITIONS_TO_TXN, 0, 5)

#: From this version on requests come from brokers, several transactions in one.
_BATCHED_FROM: Final = 4
_FENCED_FROM: Final = 2

Codes = dict[TopicPartition, int]


async def handle(
    request: AddPartitionsToTxnRequest, context: RequestContext
) -> AddPartitionsToTxnResponse:
    if context.api_version < _BATCHED_FROM:
        codes = await _answer(_only_transaction(request), context)
        return AddPartitionsToTxnResponse(results_by_topic_v3_and_below=_results(codes))
    if not context.authorize(Operation.CLUSTER_ACTION, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    return AddPartitionsToTxnResponse(
        results_by_transaction=[
            AddPartitionsToTxnResult(
                transactional_id=transaction.transactional_id,
                topic_results=_results(await _answer(transaction, context)),
            )
            for transaction in request.transactions
        ]
    )


def error_answer(
    request: AddPartitionsToTxnRequest, code: ErrorCode, message: str | None, version: int
) -> AddPartitionsToTxnResponse:
    if version >= _BATCHED_FROM:
        return AddPartitionsToTxnResponse(error_code=code)
    places = _places(_only_transaction(request).topics)
    return AddPartitionsToTxnResponse(
        results_by_topic_v3_and_below=_results(dict.fromkeys(places, code))
    )


def _only_transaction(request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnTransaction:
    return AddPartitionsToTxnTransaction(
        transactional_id=request.v3_and_below_transactional_id,
        producer_id=request.v3_and_below_producer_id,
        producer_epoch=request.v3_and_below_producer_epoch,
        topics=request.v3_and_below_topics,
    )


async def _answer(transaction: AddPartitionsToTxnTransaction, context: RequestContext) -> Codes:
    """A code for every partition of the request."""
    places = _places(transaction.topics)
    transactional_id = transaction.transactional_id
    if not context.authorize(Operation.WRITE, Resource.TRANSACTIONAL_ID, transactional_id):
        return dict.fromkeys(places, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    refused = {place: code for place in places if (code := _refusal(place, context))}
    if refused:
        return {place: refused.get(place, ErrorCode.OPERATION_NOT_ATTEMPTED) for place in places}
    try:
        if not transactional_id:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        return await _ask(transaction, places, context)
    except KafkaError as error:
        code = fencing_code(error.error_code, context.api_version, _FENCED_FROM)
        return dict.fromkeys(places, code)


async def _ask(
    transaction: AddPartitionsToTxnTransaction,
    places: list[TopicPartition],
    context: RequestContext,
) -> Codes:
    coordinator = context.services.transactions
    producer = Identity(transaction.producer_id, transaction.producer_epoch)
    if transaction.verify_only:
        return coordinator.verify_partitions(transaction.transactional_id, producer, places)
    client_version = 2 if context.api_version >= _BATCHED_FROM else 0
    await coordinator.add_partitions(transaction.transactional_id, producer, places, client_version)
    return dict.fromkeys(places, ErrorCode.NONE)


def _refusal(place: TopicPartition, context: RequestContext) -> int:
    """Why a partition cannot become part of a transaction. Brokers were asked by producers that
    may write.
    """
    by_client = context.api_version < _BATCHED_FROM
    if by_client and not context.authorize(Operation.WRITE, Resource.TOPIC, place.topic):
        return ErrorCode.TOPIC_AUTHORIZATION_FAILED
    if context.image.partition(*place) is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return ErrorCode.NONE


def _places(topics: Iterable[AddPartitionsToTxnTopic]) -> list[TopicPartition]:
    """The partitions, each once."""
    found = (TopicPartition(topic.name, index) for topic in topics for index in topic.partitions)
    return list(dict.fromkeys(found))


def _results(codes: Codes) -> list[AddPartitionsToTxnTopicResult]:
    topics: dict[str, AddPartitionsToTxnTopicResult] = {}
    for (topic, index), code in codes.items():
        result = topics.setdefault(topic, AddPartitionsToTxnTopicResult(name=topic))
        result.results_by_partition.append(
            AddPartitionsToTxnPartitionResult(partition_index=index, partition_error_code=code)
        )
    return list(topics.values())

"""DescribeTransactions (key 65), version 0 (KIP-664).

Behaviour: every transactional id has a code of its own; those of other coordinators are
NOT_COORDINATOR. Topics that may not be described are left out.

Version notes: 0 is flexible.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    TopicData,
    TransactionState,
)

API: Final = Api(ApiKey.DESCRIBE_TRANSACTIONS, 0, 0)


def handle(
    request: DescribeTransactionsRequest, context: RequestContext
) -> DescribeTransactionsResponse:
    return DescribeTransactionsResponse(
        transaction_states=[
            _describe(transactional_id, context) for transactional_id in request.transactional_ids
        ]
    )


def error_answer(
    request: DescribeTransactionsRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeTransactionsResponse:
    return DescribeTransactionsResponse(
        transaction_states=[
            TransactionState(transactional_id=transactional_id, error_code=code)
            for transactional_id in request.transactional_ids
        ]
    )


def _describe(transactional_id: str, context: RequestContext) -> TransactionState:
    try:
        if not context.authorize(Operation.DESCRIBE, Resource.TRANSACTIONAL_ID, transactional_id):
            raise KafkaError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        if not transactional_id:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        found = context.services.transactions.describe_transaction(transactional_id)
    except KafkaError as error:
        return TransactionState(transactional_id=transactional_id, error_code=error.error_code)
    topics: dict[str, TopicData] = {}
    for topic, partition in sorted(found.partitions):
        if context.authorize(Operation.DESCRIBE, Resource.TOPIC, topic):
            topics.setdefault(topic, TopicData(topic=topic)).partitions.append(partition)
    return TransactionState(
        transactional_id=transactional_id,
        transaction_state=found.state.label,
        transaction_timeout_ms=found.timeout_ms,
        transaction_start_time_ms=found.start_timestamp_ms,
        producer_id=found.producer_id,
        producer_epoch=found.producer_epoch,
        topics=list(topics.values()),
    )

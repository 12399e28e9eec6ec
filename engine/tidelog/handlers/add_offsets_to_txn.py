"""AddOffsetsToTxn (key 25), versions 0-4.

Behaviour: the partition of `__consumer_offsets` that keeps the group's offsets becomes part of the
transaction; the offsets themselves come with TxnOffsetCommit. Producers of the second generation
need no such request (KIP-890).

Version notes: 2 PRODUCER_FENCED (before: INVALID_PRODUCER_EPOCH), 3 flexible, 4
TRANSACTION_ABORTABLE.
"""

from __future__ import annotations

from typing import Final

from tidelog.coordinator.txn.decisions import Identity
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.fencing import fencing_code
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.add_offsets_to_txn import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
)

API: Final = Api(ApiKey.ADD_OFFSETS_TO_TXN, 0, 4)


async def handle(
    request: AddOffsetsToTxnRequest, context: RequestContext
) -> AddOffsetsToTxnResponse:
    transactional_id = request.transactional_id
    if not context.authorize(Operation.WRITE, Resource.TRANSACTIONAL_ID, transactional_id):
        raise KafkaError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    if not transactional_id:
        raise KafkaError(ErrorCode.INVALID_REQUEST)
    await context.services.transactions.add_offsets(
        transactional_id, Identity(request.producer_id, request.producer_epoch), request.group_id
    )
    return AddOffsetsToTxnResponse()


def error_answer(
    request: AddOffsetsToTxnRequest, code: ErrorCode, message: str | None, version: int
) -> AddOffsetsToTxnResponse:
    return AddOffsetsToTxnResponse(error_code=fencing_code(code, version, 2))

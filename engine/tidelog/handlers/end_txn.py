"""EndTxn (key 26), versions 0-5.

Behaviour: answered when the decision is committed to the coordinator's log; markers follow, and
until they are written the next request is CONCURRENT_TRANSACTIONS.

Version notes: 2 PRODUCER_FENCED (before: INVALID_PRODUCER_EPOCH), 3 flexible, 4
TRANSACTION_ABORTABLE, 5 the second generation (KIP-890): the answer has the producer's next epoch,
and its next id when epochs are used up; a producer that is not sure whether it has a transaction
may abort it.
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
from tidelog.protocol.messages.end_txn import EndTxnRequest, EndTxnResponse

API: Final = Api(ApiKey.END_TXN, 0, 5)


async def handle(request: EndTxnRequest, context: RequestContext) -> EndTxnResponse:
    transactional_id = request.transactional_id
    if not context.authorize(Operation.WRITE, Resource.TRANSACTIONAL_ID, transactional_id):
        raise KafkaError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    if not transactional_id:
        raise KafkaError(ErrorCode.INVALID_REQUEST)
    following = await context.services.transactions.end(
        transactional_id,
        Identity(request.producer_id, request.producer_epoch),
        request.committed,
        2 if context.api_version >= 5 else 0,
    )
    return EndTxnResponse(
        producer_id=following.producer_id, producer_epoch=following.producer_epoch
    )


def error_answer(
    request: EndTxnRequest, code: ErrorCode, message: str | None, version: int
) -> EndTxnResponse:
    return EndTxnResponse(error_code=fencing_code(code, version, 2))

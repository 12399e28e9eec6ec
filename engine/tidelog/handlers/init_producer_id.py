"""InitProducerId (key 22), versions 0-5.

Behaviour:
* Ids come out of blocks of the controller (producer_ids.py), so that none is given twice, also
  after a crash.
* A producer id without an epoch, or the reverse, is 42; so is an empty transactional id. A client's
  own id and epoch are otherwise not looked at without a transactional id: it gets a new one with
  epoch 0.
* With a transactional id: the coordinator's business. It fences whoever had the id before, aborts
  what is under way (CONCURRENT_TRANSACTIONS meanwhile), and goes on from the id and epoch that the
  producer still knows, if they are the present ones.

Version notes: 3 the producer's present id and epoch (KIP-360), 4 PRODUCER_FENCED (before:
INVALID_PRODUCER_EPOCH), 5 for transactions version 2. Version 6 (two-phase commit, KIP-939) is not
stable in Kafka 4.3, and not advertised.
"""

from __future__ import annotations

from typing import Final

from tidelog.coordinator.txn.decisions import Identity
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.fencing import fencing_code
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.init_producer_id import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)
from tidelog.types import NO_EPOCH, NO_PRODUCER_ID

API: Final = Api(ApiKey.INIT_PRODUCER_ID, 0, 5)


async def handle(request: InitProducerIdRequest, context: RequestContext) -> InitProducerIdResponse:
    transactional_id = request.transactional_id
    if transactional_id is None:
        if not context.authorize(Operation.IDEMPOTENT_WRITE, Resource.CLUSTER, CLUSTER_NAME):
            raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    elif not context.authorize(Operation.WRITE, Resource.TRANSACTIONAL_ID, transactional_id):
        raise KafkaError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    if (request.producer_id == NO_PRODUCER_ID) != (request.producer_epoch == NO_EPOCH):
        raise KafkaError(ErrorCode.INVALID_REQUEST)
    if transactional_id == "":
        raise KafkaError(ErrorCode.INVALID_REQUEST)
    if transactional_id is not None:
        return await _initialize(transactional_id, request, context)
    producer_id = await context.services.producer_ids.next()
    return InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)


async def _initialize(
    transactional_id: str, request: InitProducerIdRequest, context: RequestContext
) -> InitProducerIdResponse:
    expected = None
    if request.producer_id != NO_PRODUCER_ID:
        expected = Identity(request.producer_id, request.producer_epoch)
    found = await context.services.transactions.init_producer_id(
        transactional_id, request.transaction_timeout_ms, expected
    )
    return InitProducerIdResponse(
        producer_id=found.producer_id, producer_epoch=found.producer_epoch
    )


def error_answer(
    request: InitProducerIdRequest, code: ErrorCode, message: str | None, version: int
) -> InitProducerIdResponse:
    return InitProducerIdResponse(
        error_code=fencing_code(code, version, 4),
        producer_id=NO_PRODUCER_ID,
        producer_epoch=NO_EPOCH,
    )

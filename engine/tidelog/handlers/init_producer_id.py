"""InitProducerId (key 22), versions 0-5, without a transactional id.

Behaviour:
* Ids come out of blocks of the controller (producer_ids.py), so that none is given twice, also
  after a crash.
* A producer id without an epoch, or the reverse, is 42; so is an empty transactional id. A client's
  own id and epoch are otherwise not looked at without a transactional id: it gets a new one with
  epoch 0.
* With a transactional id: COORDINATOR_NOT_AVAILABLE, as from a Kafka whose transaction coordinators
  are not up. Transactions are a later issue's.

Version notes: 3 the producer's present id and epoch (KIP-360), 4 fencing error, 5 for transactions
version 2. Version 6 (two-phase commit, KIP-939) is not stable in Kafka 4.3, and not advertised.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
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
        raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
    producer_id = await context.services.producer_ids.next()
    return InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)


def error_answer(
    request: InitProducerIdRequest, code: ErrorCode, message: str | None, version: int
) -> InitProducerIdResponse:
    return InitProducerIdResponse(
        error_code=code, producer_id=NO_PRODUCER_ID, producer_epoch=NO_EPOCH
    )

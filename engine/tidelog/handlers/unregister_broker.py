"""UnregisterBroker (key 64), version 0 (KIP-631): takes a node out of the cluster for good.

Behaviour: a node that is fenced is forgotten; where its replicas are, they stay until they are
moved. An unknown one answers 102. One that runs answers 42: Kafka takes it out all the same, and
the broker runs on without being able to take part.

Version notes: there is one version.
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.requests import Done, UnregisterNode
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.unregister_broker import (
    UnregisterBrokerRequest,
    UnregisterBrokerResponse,
)

API: Final = Api(ApiKey.UNREGISTER_BROKER, 0, 0)


async def handle(
    request: UnregisterBrokerRequest, context: RequestContext
) -> UnregisterBrokerResponse:
    if not context.authorize(Operation.ALTER, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    done = await ask_controller(
        context.services.controller, UnregisterNode(request.broker_id), Done
    )
    if done.error_code:
        raise KafkaError(done.error_code, done.error_message)
    # (Not null, as in Kafka.)
    return UnregisterBrokerResponse(error_message="")


def error_answer(
    request: UnregisterBrokerRequest, code: ErrorCode, message: str | None, version: int
) -> UnregisterBrokerResponse:
    return UnregisterBrokerResponse(error_code=code, error_message=message_of(code, message))

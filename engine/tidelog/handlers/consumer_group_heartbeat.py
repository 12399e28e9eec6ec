"""ConsumerGroupHeartbeat (key 68), versions 0-1 (KIP-848).

Behaviour: thin: the group coordinator decides (coordinator/group/consumer_protocol.py). A refusal
has a message.

Version notes: 1 subscription by a pattern; the client makes its member id (KIP-1082).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)

API: Final = Api(ApiKey.CONSUMER_GROUP_HEARTBEAT, 0, 1)


def handle(
    request: ConsumerGroupHeartbeatRequest, context: RequestContext
) -> Awaitable[ConsumerGroupHeartbeatResponse]:
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    for topic in request.subscribed_topic_names or ():
        if not context.authorize(Operation.DESCRIBE, Resource.TOPIC, topic):
            raise KafkaError(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
    return context.services.groups.consumer_heartbeat(request, context)


def error_answer(
    request: ConsumerGroupHeartbeatRequest, code: ErrorCode, message: str | None, version: int
) -> ConsumerGroupHeartbeatResponse:
    return ConsumerGroupHeartbeatResponse(error_code=code, error_message=message)

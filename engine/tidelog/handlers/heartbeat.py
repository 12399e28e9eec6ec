"""Heartbeat (key 12), versions 0-4.

Behaviour: thin: the group coordinator decides (coordinator/group).

Version notes: 3 static members.
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
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse

API: Final = Api(ApiKey.HEARTBEAT, 0, 4)


def handle(request: HeartbeatRequest, context: RequestContext) -> Awaitable[HeartbeatResponse]:
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    return context.services.groups.heartbeat(request, context)


def error_answer(
    request: HeartbeatRequest, code: ErrorCode, message: str | None, version: int
) -> HeartbeatResponse:
    return HeartbeatResponse(error_code=code)

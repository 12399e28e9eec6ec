"""SyncGroup (key 14), versions 0-5.

Behaviour: thin: the group coordinator decides (coordinator/group). The answer may wait for the
leader's assignment.

Version notes: 3 static members, 5 protocol type and name (a request without them is refused).
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
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse

API: Final = Api(ApiKey.SYNC_GROUP, 0, 5)
_NAMES_PROTOCOL_FROM: Final = 5


def handle(request: SyncGroupRequest, context: RequestContext) -> Awaitable[SyncGroupResponse]:
    named = request.protocol_type is not None and request.protocol_name is not None
    if context.api_version >= _NAMES_PROTOCOL_FROM and not named:
        raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    return context.services.groups.sync_group(request, context)


def error_answer(
    request: SyncGroupRequest, code: ErrorCode, message: str | None, version: int
) -> SyncGroupResponse:
    return SyncGroupResponse(error_code=code)

"""SyncGroup (key 14), versions 0-5.

Behaviour: thin: the group coordinator decides (coordinator/group). The answer may wait for the
leader's assignment.

Version notes: 3 static members, 5 protocol type and name.
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


def handle(request: SyncGroupRequest, context: RequestContext) -> Awaitable[SyncGroupResponse]:
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    return context.services.groups.sync_group(request, context)


def error_answer(
    request: SyncGroupRequest, code: ErrorCode, message: str | None, version: int
) -> SyncGroupResponse:
    return SyncGroupResponse(error_code=code)

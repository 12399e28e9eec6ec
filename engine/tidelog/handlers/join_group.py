"""JoinGroup (key 11), versions 0-9.

Behaviour: thin: the group coordinator decides (coordinator/group). The answer may wait for the
other members.

Version notes: 1 rebalance timeout, 4 MEMBER_ID_REQUIRED for new members, 5 static members, 7
protocol type, 8 reason, 9 skip_assignment.
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
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse

API: Final = Api(ApiKey.JOIN_GROUP, 0, 9)


def handle(request: JoinGroupRequest, context: RequestContext) -> Awaitable[JoinGroupResponse]:
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    return context.services.groups.join_group(request, context)


def error_answer(
    request: JoinGroupRequest, code: ErrorCode, message: str | None, version: int
) -> JoinGroupResponse:
    return JoinGroupResponse(error_code=code, protocol_name=None if version >= 7 else "")

"""LeaveGroup (key 13), versions 0-5.

Behaviour: thin: the group coordinator decides (coordinator/group). It is always given a list of
members; what it says about the only member of an old request becomes the answer's own error.

Version notes: 3 several members, by member id or group.instance.id; 5 reasons.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
)

API: Final = Api(ApiKey.LEAVE_GROUP, 0, 5)


async def handle(request: LeaveGroupRequest, context: RequestContext) -> LeaveGroupResponse:
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    if context.api_version >= 3:
        return await context.services.groups.leave_group(request, context)
    members = [MemberIdentity(member_id=request.member_id)]
    answer = await context.services.groups.leave_group(
        LeaveGroupRequest(group_id=request.group_id, members=members), context
    )
    code = answer.error_code or (answer.members[0].error_code if answer.members else 0)
    return LeaveGroupResponse(error_code=code)


def error_answer(
    request: LeaveGroupRequest, code: ErrorCode, message: str | None, version: int
) -> LeaveGroupResponse:
    return LeaveGroupResponse(error_code=code)

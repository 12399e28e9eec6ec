"""DeleteGroups (key 42), versions 0-2.

Behaviour: every group has a code of its own; groups of other coordinators are NOT_COORDINATOR. Only
empty groups are deleted, with their offsets; the answer comes when that is written. A group that is
named twice is answered once.

Version notes: 2 flexible.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)

API: Final = Api(ApiKey.DELETE_GROUPS, 0, 2)


async def handle(request: DeleteGroupsRequest, context: RequestContext) -> DeleteGroupsResponse:
    results = []
    for group_id in dict.fromkeys(request.groups_names):
        code = await _delete(group_id, context)
        results.append(DeletableGroupResult(group_id=group_id, error_code=code))
    return DeleteGroupsResponse(results=results)


async def _delete(group_id: str, context: RequestContext) -> int:
    if not context.authorize(Operation.DELETE, Resource.GROUP, group_id):
        return ErrorCode.GROUP_AUTHORIZATION_FAILED
    try:
        await context.services.groups.delete_group(group_id, context)
    except KafkaError as error:
        return error.error_code
    return ErrorCode.NONE


def error_answer(
    request: DeleteGroupsRequest, code: ErrorCode, message: str | None, version: int
) -> DeleteGroupsResponse:
    return DeleteGroupsResponse(
        results=[
            DeletableGroupResult(group_id=group_id, error_code=code)
            for group_id in request.groups_names
        ]
    )

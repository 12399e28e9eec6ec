"""DescribeGroups (key 15), versions 0-6.

Behaviour: classic groups; every group has a code of its own. A group that does not exist is "Dead"
without an error before version 6.

Version notes: 3 authorized operations, 4 static members, 6 GROUP_ID_NOT_FOUND with a message
(KIP-1043).
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_groups import (
    DescribedGroup,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)

API: Final = Api(ApiKey.DESCRIBE_GROUPS, 0, 6)


def handle(request: DescribeGroupsRequest, context: RequestContext) -> DescribeGroupsResponse:
    return DescribeGroupsResponse(
        groups=[_describe(group_id, request, context) for group_id in request.groups]
    )


def _describe(
    group_id: str, request: DescribeGroupsRequest, context: RequestContext
) -> DescribedGroup:
    if not context.authorize(Operation.DESCRIBE, Resource.GROUP, group_id):
        return DescribedGroup(group_id=group_id, error_code=ErrorCode.GROUP_AUTHORIZATION_FAILED)
    try:
        described = context.services.groups.describe_classic(group_id, context)
    except KafkaError as error:
        return DescribedGroup(group_id=group_id, error_code=error.error_code)
    if not described.error_code:
        described.authorized_operations = context.authorized_operations(
            Resource.GROUP, group_id, asked=request.include_authorized_operations
        )
    return described


def error_answer(
    request: DescribeGroupsRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeGroupsResponse:
    return DescribeGroupsResponse(
        groups=[DescribedGroup(group_id=name, error_code=code) for name in request.groups]
    )

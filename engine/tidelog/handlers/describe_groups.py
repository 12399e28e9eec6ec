"""DescribeGroups (key 15), versions 0-6.

Behaviour: classic groups; every group has a code of its own. A group that does not exist is "Dead"
without an error before version 6.

Version notes: 3 authorized operations, 4 static members, 6 GROUP_ID_NOT_FOUND with a message
(KIP-1043).
"""

from __future__ import annotations

from typing import Final

from tidelog.handlers.api import Api
from tidelog.handlers.context import RequestContext
from tidelog.handlers.described_groups import describe_group
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
        groups=[
            describe_group(
                group_id,
                DescribedGroup,
                context.services.groups.describe_classic,
                context,
                with_operations=request.include_authorized_operations,
            )
            for group_id in request.groups
        ]
    )


def error_answer(
    request: DescribeGroupsRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeGroupsResponse:
    return DescribeGroupsResponse(
        groups=[DescribedGroup(group_id=name, error_code=code) for name in request.groups]
    )

"""ListGroups (key 16), versions 0-5.

Behaviour: the groups that this node coordinates, so tools ask every node.

Version notes: 4 state and its filter (KIP-518), 5 type and its filter (KIP-848).
"""

from __future__ import annotations

from typing import Final

from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse

API: Final = Api(ApiKey.LIST_GROUPS, 0, 5)


def handle(request: ListGroupsRequest, context: RequestContext) -> ListGroupsResponse:
    answer = context.services.groups.list_groups(request, context)
    if not context.authorize(Operation.DESCRIBE, Resource.CLUSTER, CLUSTER_NAME):
        answer.groups = [
            group
            for group in answer.groups
            if context.authorize(Operation.DESCRIBE, Resource.GROUP, group.group_id)
        ]
    return answer


def error_answer(
    request: ListGroupsRequest, code: ErrorCode, message: str | None, version: int
) -> ListGroupsResponse:
    return ListGroupsResponse(error_code=code)

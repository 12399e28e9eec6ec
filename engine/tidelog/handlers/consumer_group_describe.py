"""ConsumerGroupDescribe (key 69), versions 0-1 (KIP-848).

Behaviour: consumer groups; every group has a code of its own. A classic group is
GROUP_ID_NOT_FOUND, upon which admin clients ask with DescribeGroups.

Version notes: 1 member types (KIP-1099).
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.context import RequestContext
from tidelog.handlers.described_groups import describe_group
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.consumer_group_describe import (
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
    DescribedGroup,
)

API: Final = Api(ApiKey.CONSUMER_GROUP_DESCRIBE, 0, 1)


def handle(
    request: ConsumerGroupDescribeRequest, context: RequestContext
) -> ConsumerGroupDescribeResponse:
    return ConsumerGroupDescribeResponse(
        groups=[
            describe_group(
                group_id,
                DescribedGroup,
                _read,
                context,
                with_operations=request.include_authorized_operations,
            )
            for group_id in request.group_ids
        ]
    )


def _read(group_id: str, context: RequestContext) -> DescribedGroup:
    if not group_id:
        raise KafkaError(ErrorCode.INVALID_GROUP_ID)
    return context.services.groups.describe_consumer(group_id, context)


def error_answer(
    request: ConsumerGroupDescribeRequest, code: ErrorCode, message: str | None, version: int
) -> ConsumerGroupDescribeResponse:
    return ConsumerGroupDescribeResponse(
        groups=[
            DescribedGroup(group_id=name, error_code=code, error_message=message)
            for name in request.group_ids
        ]
    )

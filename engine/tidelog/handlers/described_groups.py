"""What DescribeGroups and ConsumerGroupDescribe share: who may ask, and a code per group."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tidelog.errors import KafkaError
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.consumer_group_describe import DescribedGroup as ConsumerDescribed
from tidelog.protocol.messages.describe_groups import DescribedGroup as ClassicDescribed

Described = TypeVar("Described", ClassicDescribed, ConsumerDescribed)


def describe_group(
    group_id: str,
    kind: type[Described],
    read: Callable[[str, RequestContext], Described],
    context: RequestContext,
    *,
    with_operations: bool,
) -> Described:
    """One group. with_operations: the request asks what the client may do with it."""
    if not context.authorize(Operation.DESCRIBE, Resource.GROUP, group_id):
        return kind(group_id=group_id, error_code=ErrorCode.GROUP_AUTHORIZATION_FAILED)
    try:
        described = read(group_id, context)
    except KafkaError as error:
        return kind(group_id=group_id, error_code=error.error_code)
    if not described.error_code:
        described.authorized_operations = context.authorized_operations(
            Resource.GROUP, group_id, asked=with_operations
        )
    return described

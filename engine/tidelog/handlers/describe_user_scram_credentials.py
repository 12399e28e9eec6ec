"""DescribeUserScramCredentials (key 50), version 0 (KIP-554): which users have SCRAM credentials.

Behaviour: nobody has any as long as there is no authentication, so the list of all is empty and a
user that is asked for is not found (91); named twice it is 92. `kafka-configs` asks this together
with the quotas of users.

Version notes: there is one version.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
)

API: Final = Api(ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS, 0, 0)


def handle(
    request: DescribeUserScramCredentialsRequest, context: RequestContext
) -> DescribeUserScramCredentialsResponse:
    if not context.authorize(Operation.DESCRIBE, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    counts = Counter(user.name for user in request.users or ())
    return DescribeUserScramCredentialsResponse(
        results=[_result(name, count) for name, count in counts.items()],
    )


def error_answer(
    request: DescribeUserScramCredentialsRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeUserScramCredentialsResponse:
    return DescribeUserScramCredentialsResponse(
        error_code=code, error_message=message_of(code, message)
    )


def _result(name: str, count: int) -> DescribeUserScramCredentialsResult:
    code = ErrorCode.RESOURCE_NOT_FOUND if count == 1 else ErrorCode.DUPLICATE_RESOURCE
    return DescribeUserScramCredentialsResult(
        user=name, error_code=code, error_message=message_of(code)
    )

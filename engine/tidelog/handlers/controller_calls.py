"""One way for handlers to ask the controller, so that all of them treat its silence and its
refusals alike.

Belongs to the task of the request. No Kafka message goes in or comes out: handlers translate.
"""

from __future__ import annotations

from typing import TypeVar

from tidelog.controller.client import ControllerClient, ControllerTimeout
from tidelog.controller.requests import ControllerAnswer, ControllerRequest, RequestFailed
from tidelog.errors import InvariantError, KafkaError
from tidelog.protocol.error_codes import ErrorCode

A = TypeVar("A", bound=ControllerAnswer)

#: For requests whose message has no timeout of its own.
DEFAULT_TIMEOUT_MS = 30_000


async def ask_controller(
    controller: ControllerClient,
    request: ControllerRequest,
    expected: type[A],
    timeout_ms: int = DEFAULT_TIMEOUT_MS,
) -> A:
    """The controller's answer, of the expected type.

    Raises KafkaError: REQUEST_TIMED_OUT when none came in time, or what the controller refused the
    whole request with.
    """
    try:
        answer = await controller.request(request, max(timeout_ms, 0))
    except ControllerTimeout:
        raise KafkaError(
            ErrorCode.REQUEST_TIMED_OUT, "the controller did not answer in time"
        ) from None
    if isinstance(answer, RequestFailed):
        raise KafkaError(answer.error_code, answer.error_message)
    if not isinstance(answer, expected):
        raise InvariantError(f"{type(request).__name__} was answered with {type(answer).__name__}")
    return answer

"""Client quotas of everything that has no native lane: the time that a request takes of the loop,
and `throttle_time_ms` in its answer.

Belongs to the task of the request. What is too much is decided by `quotas.node`. Nothing is
measured while nobody has a quota.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from time import perf_counter_ns
from typing import Any, Final

from tidelog.handlers.api import Answer, Encoded
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Response

_THROTTLE_TIME: Final = "throttle_time_ms"
#: From this version of Metadata on, whose answers come out of a cache, they begin with that field.
_METADATA_THROTTLE_FROM: Final = 3


#: What nodes ask each other, by the first version that is theirs: held by nobody's quota.
_EXEMPT: Final = {ApiKey.WRITE_TXN_MARKERS: 0, ApiKey.ADD_PARTITIONS_TO_TXN: 4}


def began_ns(context: RequestContext) -> int:
    """When the handling of a request begins, for `measured`; 0: it need not be measured."""
    if not context.services.quotas.in_use or _is_exempt(context):
        return 0
    return perf_counter_ns()


def measured(
    answer: Answer | Awaitable[Answer], context: RequestContext, began: int
) -> Answer | Awaitable[Answer]:
    """The answer of a handler that was called at `began`; the time goes to `context.busy_ns`, and
    so does what an awaitable takes of the loop, without what it waits.
    """
    context.busy_ns += perf_counter_ns() - began
    return _Measured(answer, context) if isinstance(answer, Awaitable) else answer


class _Measured:
    """Awaits what it is given, and times each of its steps."""

    def __init__(self, pending: Awaitable[Answer], context: RequestContext) -> None:
        self._pending = pending
        self._context = context

    def __await__(self) -> Generator[Any, Any, Answer]:
        steps = self._pending.__await__()
        resume: Callable[[], Any] = partial(next, steps)
        while True:
            began = perf_counter_ns()
            try:
                waits_for = resume()
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            finally:
                self._context.busy_ns += perf_counter_ns() - began
            try:
                yield waits_for
                resume = partial(next, steps)
            except BaseException as error:
                # Thrown into what waits: its cancellation.
                resume = partial(steps.throw, error)


def charged(answer: Answer, context: RequestContext) -> Answer:
    """The answer with the time that its client has to wait before it is heard again."""
    quotas = context.services.quotas
    if not (quotas.in_use or context.owed_ms) or _is_exempt(context):
        return answer
    throttle_ms = quotas.requested(
        context.connection, context.client_id, context.busy_ns, context.owed_ms
    )
    if throttle_ms:
        return _told(answer, context, throttle_ms)
    return answer


def _is_exempt(context: RequestContext) -> bool:
    since = _EXEMPT.get(context.api_key)
    return since is not None and context.api_version >= since


def _told(answer: Answer, context: RequestContext, throttle_ms: int) -> Answer:
    if isinstance(answer, Response):
        for field in answer.FIELDS:
            if field.name == _THROTTLE_TIME and field.versions.has(context.api_version):
                setattr(answer, _THROTTLE_TIME, throttle_ms)
        return answer
    if context.api_key is ApiKey.METADATA and context.api_version >= _METADATA_THROTTLE_FROM:
        return Encoded(throttle_ms.to_bytes(4, "big") + answer.body[4:])
    return answer

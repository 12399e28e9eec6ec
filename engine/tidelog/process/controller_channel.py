"""The worker's side of the controller: requests out over the control channel, answers back by
their id.

Runs on the worker's loop. It is the `ControllerClient` of everything in the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tidelog.controller.client import ControllerTimeout
from tidelog.controller.requests import ControllerAnswer, ControllerRequest, WorkerRequest
from tidelog.limits import CONTROL_REQUESTS_MAX
from tidelog.process.messages import Answer, Ask


class ControllerChannel:
    """See the module. `send` puts a message on the control channel."""

    def __init__(self, send: Callable[[Ask], None]) -> None:
        self._send = send
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[ControllerAnswer]] = {}
        self._unanswered: set[int] = set()

    async def request(self, request: ControllerRequest, timeout_ms: int) -> ControllerAnswer:
        """See `ControllerClient`. Raises ControllerTimeout."""
        if not isinstance(request, WorkerRequest):
            raise TypeError(f"a worker does not ask for {type(request).__name__}")
        # Requests that nobody waits for any more still occupy the controller until they are
        # answered.
        if len(self._unanswered) >= CONTROL_REQUESTS_MAX:
            raise ControllerTimeout("too many requests wait for the controller")
        request_id = self._next_id
        self._next_id += 1
        answered: asyncio.Future[ControllerAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answered
        self._unanswered.add(request_id)
        self._send(Ask(request_id, request))
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await answered
        except TimeoutError:
            raise ControllerTimeout(f"no answer in {timeout_ms} ms") from None
        finally:
            self._waiting.pop(request_id, None)

    def answered(self, answer: Answer) -> None:
        """An answer has come."""
        self._unanswered.discard(answer.request_id)
        waiting = self._waiting.get(answer.request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.answer)

    def close(self) -> None:
        """The controller is gone; whoever waits is told."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ControllerTimeout("the controller is gone"))

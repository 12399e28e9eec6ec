"""What this host has asked the cluster's controller, whoever that is at the moment.

A request whose controller is gone before it answered may have been decided. Requests that mean the
same when they are decided twice (they name the life of a node, or the epoch of a partition) are
asked again of the next controller; the others are answered with REQUEST_TIMED_OUT, as Kafka does.
Nothing waits for ever for a controller that does not come.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from tidelog.controller.requests import (
    AllocateProducerIds,
    AlterIsr,
    ControllerAnswer,
    ControllerRequest,
    FenceNode,
    NodeDown,
    RegisterNode,
    RemoveNode,
    ReportOffline,
    RequestFailed,
    ShutDownNode,
    StartCluster,
    UnfenceNode,
)
from tidelog.limits import CONTROLLER_QUEUE_MAX, HOST_REQUEST_WAIT_MS
from tidelog.process.hosts.leading import is_seat_lost
from tidelog.protocol.error_codes import ErrorCode

REPEATABLE: Final = (
    AllocateProducerIds,
    AlterIsr,
    FenceNode,
    NodeDown,
    RegisterNode,
    RemoveNode,
    ReportOffline,
    ShutDownNode,
    StartCluster,
    UnfenceNode,
)

_NO_CONTROLLER: Final = RequestFailed(
    ErrorCode.REQUEST_TIMED_OUT, "the cluster has no controller at the moment"
)
_UNKNOWN: Final = RequestFailed(
    ErrorCode.REQUEST_TIMED_OUT, "the controller has changed, and may have done it or not"
)
_TOO_MANY: Final = RequestFailed(
    ErrorCode.REQUEST_TIMED_OUT, "too many requests wait for the controller"
)


class Route(Protocol):
    """A way to a controller."""

    def ask(self, request_id: int, request: ControllerRequest, when_committed: bool) -> None: ...


class _Pending:
    """waiting_ms: since when it has no controller; None while one has it."""

    __slots__ = ("answered", "request", "waiting_ms", "when_committed")

    def __init__(self, request: ControllerRequest, when_committed: bool, now_ms: int) -> None:
        self.request = request
        self.when_committed = when_committed
        self.answered: asyncio.Future[ControllerAnswer] = asyncio.get_running_loop().create_future()
        self.waiting_ms: int | None = now_ms


class Requests:
    """See the module. Times are monotonic."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}
        self._next_id = 0
        self._route: Route | None = None

    def submit(
        self, request: ControllerRequest, when_committed: bool, now_ms: int
    ) -> asyncio.Future[ControllerAnswer]:
        """Asks, now or as soon as there is a controller."""
        pending = _Pending(request, when_committed, now_ms)
        if len(self._pending) >= CONTROLLER_QUEUE_MAX:
            pending.answered.set_result(_TOO_MANY)
            return pending.answered
        request_id = self._next_id
        self._next_id += 1
        self._pending[request_id] = pending
        self._ask(request_id, pending)
        return pending.answered

    def route(self, route: Route) -> None:
        """There is a controller: whatever waits is asked."""
        self._route = route
        for request_id, pending in list(self._pending.items()):
            self._ask(request_id, pending)

    def route_lost(self, now_ms: int) -> None:
        """The controller, or the way to it, is gone."""
        self._route = None
        for request_id, pending in list(self._pending.items()):
            if pending.waiting_ms is None:
                self._unanswered(request_id, pending, now_ms)

    def answer(self, request_id: int, answer: ControllerAnswer, now_ms: int) -> None:
        """The controller has answered."""
        pending = self._pending.get(request_id)
        if pending is None:
            return
        if is_seat_lost(answer):
            self._unanswered(request_id, pending, now_ms)
        else:
            self._settle(request_id, answer)

    def give_up_old(self, now_ms: int) -> None:
        """Answers what has waited too long for a controller; called at an interval."""
        for request_id, pending in list(self._pending.items()):
            since_ms = pending.waiting_ms
            if since_ms is not None and now_ms - since_ms > HOST_REQUEST_WAIT_MS:
                self._settle(request_id, _NO_CONTROLLER)

    def close(self) -> None:
        """Answers whatever is open."""
        self._route = None
        for request_id in list(self._pending):
            self._settle(request_id, _NO_CONTROLLER)

    def _ask(self, request_id: int, pending: _Pending) -> None:
        if self._route is not None:
            pending.waiting_ms = None
            self._route.ask(request_id, pending.request, pending.when_committed)

    def _unanswered(self, request_id: int, pending: _Pending, now_ms: int) -> None:
        if isinstance(pending.request, REPEATABLE):
            pending.waiting_ms = now_ms
        else:
            self._settle(request_id, _UNKNOWN)

    def _settle(self, request_id: int, answer: ControllerAnswer) -> None:
        pending = self._pending.pop(request_id, None)
        if pending is not None and not pending.answered.done():
            pending.answered.set_result(answer)

"""Requests whose controller goes: what is asked again, and what is not."""

from __future__ import annotations

import pytest

from tidelog.controller.requests import (
    ControllerRequest,
    CreateTopics,
    Done,
    RequestFailed,
    UnfenceNode,
)
from tidelog.limits import CONTROLLER_QUEUE_MAX, HOST_REQUEST_WAIT_MS
from tidelog.process.hosts.requests import Requests
from tidelog.protocol.error_codes import ErrorCode

REPEATABLE = UnfenceNode(1, 0)
OTHER = CreateTopics(())


class Controller:
    def __init__(self) -> None:
        self.asked: list[tuple[int, ControllerRequest, bool]] = []

    def ask(self, request_id: int, request: ControllerRequest, when_committed: bool) -> None:
        self.asked.append((request_id, request, when_committed))


def error_of(answer: object) -> int:
    assert isinstance(answer, RequestFailed)
    return answer.error_code


async def test_what_waits_is_asked_when_there_is_a_controller() -> None:
    requests, controller = Requests(), Controller()
    first = requests.submit(OTHER, False, 0)
    requests.route(controller)
    second = requests.submit(REPEATABLE, True, 0)
    assert controller.asked == [(0, OTHER, False), (1, REPEATABLE, True)]
    requests.answer(1, Done(), 0)
    requests.answer(0, Done(3), 0)
    requests.answer(0, Done(4), 0)
    assert (first.result(), second.result()) == (Done(3), Done())


@pytest.mark.parametrize("told", [True, False])
async def test_only_what_can_be_repeated_is_asked_again(told: bool) -> None:
    requests, first, second = Requests(), Controller(), Controller()
    requests.route(first)
    other, repeatable = requests.submit(OTHER, False, 0), requests.submit(REPEATABLE, False, 0)
    if told:
        for request_id in (0, 1):
            requests.answer(request_id, RequestFailed(ErrorCode.NOT_CONTROLLER, ""), 0)
    requests.route_lost(0)
    assert error_of(other.result()) == ErrorCode.REQUEST_TIMED_OUT
    assert not repeatable.done()
    requests.route(second)
    assert second.asked == [(1, REPEATABLE, False)]
    requests.answer(1, Done(), 0)
    assert repeatable.result() == Done()


async def test_nothing_waits_for_ever() -> None:
    requests = Requests()
    waiting = requests.submit(REPEATABLE, False, 0)
    requests.give_up_old(HOST_REQUEST_WAIT_MS)
    assert not waiting.done()
    requests.give_up_old(HOST_REQUEST_WAIT_MS + 1)
    assert error_of(waiting.result()) == ErrorCode.REQUEST_TIMED_OUT
    controller = Controller()
    requests.route(controller)
    assert controller.asked == []
    # One that a controller has is waited for; when that goes, its time begins.
    carried = requests.submit(REPEATABLE, False, 0)
    requests.give_up_old(10 * HOST_REQUEST_WAIT_MS)
    requests.route_lost(10 * HOST_REQUEST_WAIT_MS)
    requests.give_up_old(11 * HOST_REQUEST_WAIT_MS)
    assert not carried.done()
    requests.close()
    assert error_of(carried.result()) == ErrorCode.REQUEST_TIMED_OUT


async def test_there_is_a_limit() -> None:
    requests = Requests()
    waiting = [requests.submit(REPEATABLE, False, 0) for _ in range(CONTROLLER_QUEUE_MAX + 1)]
    assert [future.done() for future in waiting].count(True) == 1
    assert error_of(waiting[-1].result()) == ErrorCode.REQUEST_TIMED_OUT

"""Asking the controller: silence, refusals, wrong answers."""

from __future__ import annotations

from typing import Any

import pytest

from tidelog.controller.client import ControllerTimeout
from tidelog.controller.requests import (
    CreateTopics,
    CreateTopicsAnswer,
    Done,
    RequestFailed,
)
from tidelog.errors import InvariantError, KafkaError
from tidelog.handlers.controller_calls import ask_controller


class Controller:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def request(self, request: Any, timeout_ms: int) -> Any:
        self.asked.append((request, timeout_ms))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_an_answer() -> None:
    answer = CreateTopicsAnswer(())
    controller = Controller(answer)
    assert await ask_controller(controller, CreateTopics(()), CreateTopicsAnswer, -5) is answer
    assert controller.asked == [(CreateTopics(()), 0)]


@pytest.mark.parametrize(
    ("answer", "code"), [(ControllerTimeout("late"), 7), (RequestFailed(56, "store"), 56)]
)
async def test_no_answer(answer: Any, code: int) -> None:
    with pytest.raises(KafkaError) as caught:
        await ask_controller(Controller(answer), CreateTopics(()), CreateTopicsAnswer)
    assert caught.value.error_code == code
    assert caught.value.message


async def test_an_answer_to_something_else_is_our_mistake() -> None:
    with pytest.raises(InvariantError):
        await ask_controller(Controller(Done()), CreateTopics(()), CreateTopicsAnswer)

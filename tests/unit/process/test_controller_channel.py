"""Requests of a worker to the controller: answers by id, time limits, a bound on what waits."""

from __future__ import annotations

import asyncio

import pytest

from tidelog.controller.client import ControllerClient, ControllerTimeout
from tidelog.controller.requests import (
    AllocateProducerIds,
    AllocateProducerIdsAnswer,
    FenceNode,
)
from tidelog.process.controller_channel import ControllerChannel
from tidelog.process.messages import Answer, Ask


class Scene:
    def __init__(self) -> None:
        self.sent: list[Ask] = []
        self.channel = ControllerChannel(self.sent.append)
        self.client: ControllerClient = self.channel

    def ask(self, number: int, timeout_ms: int = 60_000) -> asyncio.Future[object]:
        return asyncio.ensure_future(
            self.client.request(AllocateProducerIds(number, 0), timeout_ms)
        )


def answer(number: int) -> AllocateProducerIdsAnswer:
    return AllocateProducerIdsAnswer(0, number, 1)


async def test_answers_find_their_request() -> None:
    scene = Scene()
    asked = [scene.ask(number) for number in range(3)]
    await asyncio.sleep(0)
    ids = [ask.request_id for ask in scene.sent]
    assert len(set(ids)) == 3
    for position in (2, 0, 1):
        scene.channel.answered(Answer(ids[position], answer(position)))
    assert await asyncio.gather(*asked) == [answer(0), answer(1), answer(2)]


async def test_no_answer_in_time() -> None:
    scene = Scene()
    with pytest.raises(ControllerTimeout):
        await scene.ask(1, timeout_ms=1)
    # It comes late: nobody minds.
    scene.channel.answered(Answer(scene.sent[0].request_id, answer(1)))
    scene.channel.answered(Answer(12345, answer(1)))


async def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.process.controller_channel.CONTROL_REQUESTS_MAX", 2)
    scene = Scene()
    for number in range(2):
        with pytest.raises(ControllerTimeout):
            await scene.ask(number, timeout_ms=1)
    # Given up here, but still in work there: a third one would pile up.
    with pytest.raises(ControllerTimeout, match="too many"):
        await scene.ask(3)
    assert len(scene.sent) == 2
    scene.channel.answered(Answer(scene.sent[0].request_id, answer(0)))
    asked = scene.ask(4)
    await asyncio.sleep(0)
    scene.channel.answered(Answer(scene.sent[2].request_id, answer(4)))
    assert await asked == answer(4)


async def test_the_end_of_the_channel_ends_the_wait() -> None:
    scene = Scene()
    asked = scene.ask(1)
    await asyncio.sleep(0)
    scene.channel.close()
    with pytest.raises(ControllerTimeout):
        await asked


async def test_events_of_the_supervisor_are_none_of_a_workers() -> None:
    with pytest.raises(TypeError):
        await Scene().client.request(FenceNode(1, 1), 1)

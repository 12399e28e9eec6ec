"""Creation by use: one request for each topic at a time, and clients that go away."""

from __future__ import annotations

import asyncio

import pytest

from tidelog.controller.requests import (
    CreatedTopic,
    CreateTopics,
    CreateTopicsAnswer,
    RequestFailed,
)
from tidelog.handlers.topic_creation import TopicCreation


class SlowController:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.requests: list[CreateTopics] = []
        self.go = asyncio.Event()
        self.fails = False

    async def request(self, request: CreateTopics, timeout_ms: int) -> object:
        self.requests.append(request)
        await self.go.wait()
        if self.fails:
            return RequestFailed(56, "no disk")
        codes = {"exists": 36, "bad": 17}
        return CreateTopicsAnswer(
            tuple(CreatedTopic(t.name, codes.get(t.name, 0)) for t in request.topics)
        )


def world() -> tuple[TopicCreation, SlowController]:
    controller = SlowController()
    return TopicCreation(controller), controller  # type: ignore[arg-type]


def names(controller: SlowController) -> list[list[str]]:
    return [[topic.name for topic in request.topics] for request in controller.requests]


async def test_codes() -> None:
    creation, controller = world()
    controller.go.set()
    assert await creation.create(["a", "exists", "bad", "a"]) == {"a": 0, "exists": 0, "bad": 17}
    assert names(controller) == [["a", "exists", "bad"]]
    assert controller.requests[0].automatic
    assert await creation.create([]) == {}


async def test_waiting_requests_share_a_creation() -> None:
    creation, controller = world()
    first = asyncio.create_task(creation.create(["a", "b"]))
    await asyncio.sleep(0)
    second = asyncio.create_task(creation.create(["b", "c"]))
    await asyncio.sleep(0)
    controller.go.set()
    assert await first == {"a": 0, "b": 0}
    assert await second == {"b": 0, "c": 0}
    assert names(controller) == [["a", "b"], ["c"]]
    await creation.create(["a"])
    assert len(controller.requests) == 3


async def test_a_client_that_goes_away_takes_nothing_with_it() -> None:
    creation, controller = world()
    first = asyncio.create_task(creation.create(["a"]))
    await asyncio.sleep(0)
    second = asyncio.create_task(creation.create(["a"]))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    controller.go.set()
    assert await second == {"a": 0}
    assert len(controller.requests) == 1


async def test_a_request_that_fails() -> None:
    creation, controller = world()
    controller.fails = True
    controller.go.set()
    assert await creation.create(["a", "b"]) == {"a": 56, "b": 56}

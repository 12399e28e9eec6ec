"""The runtime: commit, then delta, then the answer, when every live node has applied it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.unit.controller.worlds import node
from tidelog.clock import ManualClock
from tidelog.controller.machine import Controller
from tidelog.controller.requests import (
    ControllerAnswer,
    CreateTopics,
    CreateTopicsAnswer,
    FenceNode,
    NewTopic,
    NodeDown,
    RequestFailed,
)
from tidelog.controller.runtime import ControllerRuntime
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord, ConfigRecord, PartitionRecord, TopicRecord
from tidelog.metastore.contract import Metastore, MetastoreError, VersionConflictError


class MemoryStore(Metastore):
    """Keeps transactions in a list; can be held up, and made to fail."""

    def __init__(self) -> None:
        self.transactions: list[list[ChangeRecord]] = []
        self.failure: Exception | None = None
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()
        self.threads: set[int] = set()
        self.closed = False

    def load(self) -> tuple[int, list[ChangeRecord]]:
        return len(self.transactions), [r for t in self.transactions for r in t]

    def commit(self, records: Sequence[ChangeRecord], expected_version: int) -> int:
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.go.wait(10)
        if self.failure:
            raise self.failure
        assert expected_version == len(self.transactions)
        self.transactions.append(list(records))
        return expected_version + 1

    def close(self) -> None:
        self.closed = True


class Scene:
    def __init__(self) -> None:
        self.store = MemoryStore()
        first: list[ChangeRecord] = [node(1), node(2)]
        self.store.commit(first, 0)
        self.store.entered.clear()
        self.published: list[tuple[int, list[ChangeRecord]]] = []
        self.runtime = ControllerRuntime(
            Controller({}),
            self.store,
            MetadataImage().apply(first, 1),
            lambda version, records: self.published.append((version, records)),
            ManualClock(),
            random.Random(1),
        )
        self.task = asyncio.ensure_future(self.runtime.run())

    def create(self, *names: str) -> asyncio.Future[ControllerAnswer]:
        return self.runtime.submit(CreateTopics(tuple(NewTopic(name) for name in names)))

    async def settle(self) -> None:
        """Lets everything that can happen without a new event happen."""
        idle = 0
        while idle < 3:
            before = (len(self.published), len(self.store.transactions))
            await asyncio.get_running_loop().run_in_executor(self.runtime._thread, lambda: None)
            for _ in range(10):
                await asyncio.sleep(0)
            idle = idle + 1 if before == (len(self.published), len(self.store.transactions)) else 0


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    made.store.go.set()
    made.task.cancel()
    with contextlib.suppress(asyncio.CancelledError, VersionConflictError):
        await made.task
    await made.runtime.close()
    assert made.store.closed


def codes(answer: ControllerAnswer) -> list[int]:
    assert isinstance(answer, CreateTopicsAnswer)
    return [topic.error_code for topic in answer.topics]


async def test_commit_then_image_and_delta_then_answer(scene: Scene) -> None:
    scene.store.go.clear()
    answered = scene.create("t")
    await asyncio.get_running_loop().run_in_executor(None, scene.store.entered.wait)
    assert "t" not in scene.runtime.image.topics
    assert scene.published == []
    scene.store.go.set()
    assert codes(await answered) == [0]
    assert "t" in scene.runtime.image.topics
    assert scene.published == [(2, scene.store.transactions[1])]
    assert threading.get_ident() not in scene.store.threads - {threading.main_thread().ident}


async def test_answers_wait_for_every_live_node(scene: Scene) -> None:
    scene.runtime.node_live(1, 1)
    scene.runtime.node_live(2, 1)
    answered = scene.create("t")
    await scene.settle()
    assert scene.published and not answered.done()
    scene.runtime.node_applied(1, 2)
    assert not answered.done()
    scene.runtime.node_applied(2, 1)
    scene.runtime.node_applied(9, 2)
    assert not answered.done()
    scene.runtime.node_applied(2, 2)
    assert codes(await answered) == [0]


async def test_a_dead_node_is_not_waited_for(scene: Scene) -> None:
    scene.runtime.node_live(1, 1)
    scene.runtime.node_live(2, 1)
    answered = scene.create("t")
    await scene.settle()
    scene.runtime.node_applied(1, 2)
    assert not answered.done()
    scene.runtime.node_gone(2)
    assert codes(await answered) == [0]
    assert codes(await asyncio.wait_for(_apply(scene, scene.create("u")), 10)) == [0]


async def _apply(scene: Scene, answered: asyncio.Future[ControllerAnswer]) -> ControllerAnswer:
    await scene.settle()
    scene.runtime.node_applied(1, scene.runtime.image.version)
    return await answered


async def test_an_answer_may_be_wanted_as_soon_as_it_is_committed(scene: Scene) -> None:
    scene.runtime.node_live(1, 1)
    request = CreateTopics((NewTopic("t"),))
    assert codes(await scene.runtime.submit(request, when_committed=True)) == [0]
    assert len(scene.store.transactions) == 2


async def test_exists_already_is_said_only_where_it_is_true(scene: Scene) -> None:
    scene.runtime.node_live(1, 1)
    first, second = scene.create("t"), scene.create("t")
    await scene.settle()
    assert not first.done() and not second.done()
    scene.runtime.node_applied(1, 2)
    assert codes(await first) == [0]
    assert codes(await second) == [36]


async def test_events_that_wait_together_share_a_transaction(scene: Scene) -> None:
    scene.store.go.clear()
    first = scene.create("a")
    await asyncio.get_running_loop().run_in_executor(None, scene.store.entered.wait)
    others = [scene.create(f"t{index}") for index in range(20)]
    scene.store.go.set()
    assert codes(await first) == [0]
    for answered in others:
        assert codes(await answered) == [0]
    assert len(scene.store.transactions) == 3
    assert [version for version, _ in scene.published] == [2, 3]
    assert scene.published[1][1] == scene.store.transactions[2]


async def test_a_failed_store_changes_nothing_and_recovers(scene: Scene) -> None:
    scene.store.failure = MetastoreError("no space")
    before = scene.runtime.image
    answer = await scene.create("t")
    assert isinstance(answer, RequestFailed) and answer.error_code == 56
    assert scene.runtime.image is before
    assert scene.published == []
    scene.store.failure = None
    assert codes(await scene.create("t")) == [0]


async def test_another_writer_ends_the_controller(scene: Scene) -> None:
    scene.store.failure = VersionConflictError("version 7")
    answer = await scene.create("t")
    assert isinstance(answer, RequestFailed)
    with pytest.raises(VersionConflictError):
        await scene.task


async def test_too_many_events_are_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.controller.runtime.CONTROLLER_QUEUE_MAX", 3)
    answers = [scene.create(f"t{index}") for index in range(5)]
    failed = [answer.done() for answer in answers]
    assert failed == [False, False, False, True, True]
    assert isinstance(await answers[4], RequestFailed)
    assert codes(await answers[2]) == [0]


async def test_stopping_answers_those_who_wait(scene: Scene) -> None:
    scene.runtime.node_live(1, 1)
    waiting = scene.create("t")
    await scene.settle()
    scene.task.cancel()
    answer = await waiting
    assert isinstance(answer, RequestFailed)


async def test_a_caller_that_has_gone_does_no_harm(scene: Scene) -> None:
    gone = scene.create("t")
    gone.cancel()
    assert codes(await scene.create("u")) == [0]
    assert set(scene.runtime.image.topics) == {"t", "u"}


async def test_a_decision_that_fails_costs_its_own_request(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    decide = Controller.handle

    def handle(self: Controller, image: MetadataImage, request: object, *rest: object) -> object:
        if isinstance(request, CreateTopics) and request.topics[0].name == "bad":
            raise ZeroDivisionError("on purpose")
        return decide(self, image, request, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Controller, "handle", handle)
    answers = [scene.create(name) for name in ("before", "bad", "after")]
    await scene.settle()
    found = [answer.result() for answer in answers if answer.done()]
    failed = [answer for answer in found if isinstance(answer, RequestFailed)]
    assert [answer.error_code for answer in failed] == [-1]
    assert {"before", "after"} == set(scene.runtime.image.topics)
    assert "decision failed request=CreateTopics" in caplog.text
    assert "on purpose" in caplog.text


async def test_an_unclean_election_is_loud(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    topic_id = bytes(range(16))
    scene.runtime._image = scene.runtime.image.apply(
        [
            TopicRecord(topic_id, "t"),
            PartitionRecord(topic_id, 0, (1, 2), (1,), 1, 0, 0),
            ConfigRecord(2, "t", "unclean.leader.election.enable", "true"),
        ],
        scene.runtime.image.version,
    )
    await scene.runtime.submit(NodeDown(((1, 0),)))
    assert "unclean" not in caplog.text
    await scene.runtime.submit(FenceNode(1, 0))
    (told,) = [record for record in caplog.records if "unclean" in record.message]
    assert told.levelname == "ERROR"
    assert "topic=t partition=0 leader=2" in told.message

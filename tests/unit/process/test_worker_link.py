"""The supervisor's side of a worker: what is sent when, and when a worker may serve."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tidelog.controller.requests import CreateTopics, Done, WorkerRequest
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord, FeatureRecord
from tidelog.process.channel import ControlChannel, encode_frame
from tidelog.process.messages import (
    Answer,
    Applied,
    Ask,
    Configure,
    Delta,
    Failed,
    Heartbeat,
    Hello,
    Poll,
    Polled,
    Ready,
    Serve,
    Serving,
    Snapshot,
    SnapshotWanted,
    ToWorker,
)
from tidelog.process.metrics.samples import NodeState, Samples
from tidelog.process.worker_link import WorkerLink

CONFIGURE = Configure(1, 5, "c" * 22, ("/d",), {}, ("PLAINTEXT",), 2000, "warning")


def image_of(version: int, features: int = 1) -> MetadataImage:
    records: list[ChangeRecord] = [FeatureRecord(f"f{i}", 1) for i in range(features)]
    return MetadataImage().apply(records, version)


class Owner:
    """Writes down what the link tells."""

    def __init__(self) -> None:
        self.image = image_of(3)
        self.time_ms = 1000
        self.told: list[tuple[object, ...]] = []
        self.closed = asyncio.Event()

    def now_ms(self) -> int:
        return self.time_ms

    def link_ready(self, link: WorkerLink, version: int) -> None:
        self.told.append(("ready", version))

    def link_applied(self, link: WorkerLink, version: int) -> None:
        self.told.append(("applied", version))

    def link_serving(self, link: WorkerLink) -> None:
        self.told.append(("serving",))

    def link_asks(self, link: WorkerLink, request_id: int, request: WorkerRequest) -> None:
        self.told.append(("asks", request_id, request))

    def link_failed(self, link: WorkerLink, reason: str) -> None:
        self.told.append(("failed", reason))

    def link_closed(self, link: WorkerLink, error: Exception | None) -> None:
        self.told.append(("closed", error))
        self.closed.set()


class Scene:
    """A link and, at the other end of its socket, what a worker would have there."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.link = WorkerLink(1, self.owner)
        self.got: asyncio.Queue[object] = asyncio.Queue()
        self.worker: ControlChannel[object]

    async def open(self) -> Scene:
        ours, self.its = socket.socketpair()
        await self.link.open(ours)
        return self

    async def listen(self) -> None:
        """The worker begins to read."""
        self.worker = await ControlChannel.open(
            self.its, ToWorker, self.got.put_nowait, lambda error: None
        )

    async def say(self, *messages: object) -> None:
        """The worker sends; returns when the link has taken it."""
        before = len(self.owner.told)
        for message in messages:
            self.worker.send(message)  # type: ignore[arg-type]
        self.worker.send(Failed("end"))
        while ("failed", "end") not in self.owner.told[before:]:
            await asyncio.sleep(0)
        self.owner.told.remove(("failed", "end"))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = await Scene().open()
    await made.listen()
    yield made
    made.link.close()
    made.worker.abort()


async def test_configuration_then_the_metadata_then_deltas(scene: Scene) -> None:
    scene.link.send_delta(2, encode_frame(Delta(2, ())))
    scene.link.configure(CONFIGURE)
    delta = Delta(4, (FeatureRecord("g", 1),))
    scene.link.send_delta(4, encode_frame(delta))
    assert await scene.got.get() == CONFIGURE
    assert await scene.got.get() == Snapshot(3, (FeatureRecord("f0", 1),), True)
    # The delta from before the snapshot was not sent: it is in it.
    assert await scene.got.get() == delta
    assert scene.link.node_epoch == 5


async def test_a_large_snapshot_comes_in_parts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.process.snapshots.SNAPSHOT_FRAME_RECORDS", 4)
    for features, parts in ((0, [0]), (3, [3]), (4, [4]), (5, [4, 1]), (12, [4, 4, 4])):
        scene.owner.image = image_of(9, features)
        scene.link.send_snapshot()
        got = [await scene.got.get() for _ in parts]
        assert [len(part.records) for part in got] == parts  # type: ignore[attr-defined]
        assert [part.last for part in got] == [False] * (len(parts) - 1) + [True]  # type: ignore[attr-defined]


async def test_it_serves_when_it_has_applied_what_was_decided_before(scene: Scene) -> None:
    scene.link.configure(CONFIGURE)
    for _ in range(2):
        await scene.got.get()
    scene.owner.image = image_of(6)
    await scene.say(Hello(9), Ready(3))
    assert scene.link.said_hello and scene.got.empty()
    # What is decided from now on waits for it, so that it doesn't have to catch up with that.
    scene.owner.image = image_of(7)
    await scene.say(Applied(5))
    assert scene.got.empty()
    await scene.say(Applied(6), Serving())
    assert await scene.got.get() == Serve()
    assert scene.owner.told == [("ready", 3), ("applied", 5), ("applied", 6), ("serving",)]
    await scene.say(Applied(7))
    assert scene.got.empty()


async def test_it_serves_at_once_when_nothing_is_missing(scene: Scene) -> None:
    scene.link.configure(CONFIGURE)
    for _ in range(2):
        await scene.got.get()
    await scene.say(Ready(3))
    assert await scene.got.get() == Serve()


async def test_everything_that_is_heard_is_a_sign_of_life(scene: Scene) -> None:
    assert scene.link.heard_ms == 1000
    scene.owner.time_ms = 2000
    await scene.say(Heartbeat())
    assert scene.link.heard_ms == 2000


async def test_a_missed_version_brings_a_snapshot(scene: Scene) -> None:
    scene.link.configure(CONFIGURE)
    for _ in range(2):
        await scene.got.get()
    await scene.say(SnapshotWanted())
    assert await scene.got.get() == Snapshot(3, (FeatureRecord("f0", 1),), True)


async def test_requests_and_answers(scene: Scene) -> None:
    await scene.say(Ask(7, CreateTopics(())))
    assert scene.owner.told == [("asks", 7, CreateTopics(()))]
    scene.link.answer(7, Done())
    assert await scene.got.get() == Answer(7, Done())


async def test_too_many_requests_end_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.process.worker_link.CONTROL_REQUESTS_MAX", 2)
    for number in range(3):
        scene.worker.send(Ask(number, CreateTopics(())))
    await scene.owner.closed.wait()
    assert [told[0] for told in scene.owner.told[:3]] == ["asks", "asks", "closed"]


async def test_the_workers_end_is_told(scene: Scene) -> None:
    scene.worker.close()
    await scene.owner.closed.wait()
    assert scene.owner.told == [("closed", None)]


async def test_a_worker_that_takes_nothing_gets_a_snapshot_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidelog.process.worker_link.CONTROL_QUEUE_BYTES_MAX", 100_000)
    scene = await Scene().open()
    scene.link.configure(CONFIGURE)
    frame = encode_frame(Delta(4, (FeatureRecord("x" * 50_000, 1),)))
    for version in range(4, 400):
        scene.link.send_delta(version, frame)
    scene.owner.image = image_of(400)
    assert scene.link._channel is not None and scene.link._channel.queued_bytes < 300_000
    scene.link.catch_up()
    await scene.listen()
    while scene.link._channel.queued_bytes:
        await asyncio.sleep(0)
    # The next heartbeat is the occasion; after it, deltas flow again.
    await scene.say(Heartbeat())
    scene.link.send_delta(401, encode_frame(Delta(401, ())))
    got: list[object] = []
    while not got or got[-1] != Delta(401, ()):
        got.append(await scene.got.get())
    snapshots = [m.version for m in got if isinstance(m, Snapshot)]
    assert snapshots == [3, 400]
    assert 5 < sum(isinstance(m, Delta) for m in got) < 200
    scene.link.close()
    scene.worker.abort()


async def test_a_worker_is_asked_once_for_its_values_and_its_answer_goes_to_all(
    scene: Scene,
) -> None:
    asked, again = scene.link.poll(True), scene.link.poll(True)
    state = scene.link.poll(False)
    assert [await scene.got.get(), await scene.got.get()] == [Poll(True), Poll(False)]
    await scene.say(Polled(True, NodeState(True, 3), Samples()))
    assert (await asked).state == (await again).state == NodeState(True, 3)
    assert not state.done()
    assert not scene.link.poll(True).done()
    assert await scene.got.get() == Poll(True)


async def test_nobody_waits_for_the_values_of_a_worker_that_is_gone(scene: Scene) -> None:
    asked = scene.link.poll(True)
    scene.link.close()
    assert asked.cancelled()


async def test_an_answer_that_nobody_asked_for_is_ignored(scene: Scene) -> None:
    await scene.say(Polled(True, NodeState(), None))

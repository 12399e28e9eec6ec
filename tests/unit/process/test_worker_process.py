"""A worker's life, seen from the other end of its control channel, with an idle node."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tidelog.controller.requests import (
    AllocateProducerIds,
    AllocateProducerIdsAnswer,
)
from tidelog.errors import StorageError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import FeatureRecord
from tidelog.process import messages as m
from tidelog.process.channel import ControlChannel
from tidelog.process.metrics.samples import NodeState, Samples
from tidelog.process.worker_process import EXIT_CLEAN, EXIT_FAILED, NodeSetup, WorkerProcess

CONFIGURE = m.Configure(4, 5, "c" * 22, ("/d",), {"k": "v"}, ("PLAINTEXT",), 3_600_000, "warning")


class Node:
    """Writes down what it is told; `hold` keeps an apply from ending."""

    def __init__(self, setup: NodeSetup) -> None:
        self.setup = setup
        self.calls: list[tuple[object, ...]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.failure: Exception | None = None

    async def start(self, image: MetadataImage) -> None:
        self.calls.append(("start", image.version))
        if self.failure:
            raise self.failure

    async def apply(self, old: MetadataImage, new: MetadataImage) -> None:
        self.calls.append(("apply", old.version, new.version))
        if self.failure:
            raise self.failure
        await self.hold.wait()

    def serve(self) -> None:
        self.calls.append(("serve",))

    async def hand_over(self) -> None:
        return

    async def stop(self, grace_ms: int) -> None:
        self.calls.append(("stop", grace_ms))

    def logs_not_served(self) -> tuple[int, int]:
        return 2, 1

    async def samples(self) -> Samples:
        if self.failure:
            raise self.failure
        return Samples({"tidelog_connections": [((), 3)]})


class Scene:
    """A worker in this process, and the supervisor's end of its channel."""

    def __init__(self) -> None:
        self.node: Node
        self.failure: Exception | None = None
        self.got: asyncio.Queue[object] = asyncio.Queue()
        self.supervisor: ControlChannel[object]

    async def begin(self) -> Scene:
        ours, its = socket.socketpair()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.supervisor = await ControlChannel.open(
            ours, m.FromWorker, self._received, lambda error: None
        )
        worker = WorkerProcess(its, [self.listening], self._build)
        self.worker = worker
        self.ended = asyncio.ensure_future(worker.run())
        assert isinstance(await self.got.get(), m.Hello)
        return self

    def _received(self, message: object) -> None:
        if not isinstance(message, m.Heartbeat):
            self.got.put_nowait(message)

    def _build(self, setup: NodeSetup) -> Node:
        self.node = Node(setup)
        self.node.failure = self.failure
        return self.node

    def say(self, *messages: object) -> None:
        for message in messages:
            self.supervisor.send(message)  # type: ignore[arg-type]

    def delta(self, version: int) -> m.Delta:
        return m.Delta(version, (FeatureRecord("f", version),))

    async def ready(self) -> None:
        self.say(CONFIGURE, m.Snapshot(3, (FeatureRecord("f", 3),), True))
        assert await self.got.get() == m.Ready(3)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = await Scene().begin()
    yield made
    made.supervisor.abort()
    await asyncio.wait({made.ended})
    made.ended.exception()
    made.listening.close()


async def test_start_serve_and_stop(scene: Scene) -> None:
    await scene.ready()
    setup = scene.node.setup
    assert (setup.node_id, setup.node_epoch, setup.static) == (4, 5, {"k": "v"})
    assert setup.listeners == (("PLAINTEXT", scene.listening),)
    assert scene.node.calls == [("start", 3)]
    scene.say(m.Serve())
    assert await scene.got.get() == m.Serving()
    scene.say(m.Stop(77))
    assert await scene.ended == EXIT_CLEAN
    assert scene.node.calls == [("start", 3), ("serve",), ("stop", 77)]


async def test_deltas_are_applied_in_order_before_anybody_sees_them(scene: Scene) -> None:
    await scene.ready()
    scene.node.hold.clear()
    scene.say(scene.delta(4))
    while ("apply", 3, 4) not in scene.node.calls:
        await asyncio.sleep(0)
    assert scene.node.setup.metadata.image.version == 3
    scene.say(scene.delta(5), scene.delta(6))
    scene.node.hold.set()
    assert await scene.got.get() == m.Applied(4)
    # What waited meanwhile came in one step, or in two when it had not all arrived.
    last = 4
    while last < 6:
        applied = await scene.got.get()
        assert isinstance(applied, m.Applied) and applied.version > last
        last = applied.version
    assert scene.node.setup.metadata.image.features == {"f": 6}


async def test_a_gap_asks_for_a_snapshot_which_heals_it(scene: Scene) -> None:
    await scene.ready()
    scene.say(scene.delta(5))
    assert await scene.got.get() == m.SnapshotWanted()
    scene.say(m.Snapshot(6, (), False), m.Snapshot(6, (FeatureRecord("g", 1),), True))
    assert await scene.got.get() == m.Applied(6)
    assert scene.node.setup.metadata.image.features == {"g": 1}
    # Late deltas that the snapshot holds already are nothing new.
    scene.say(scene.delta(5), scene.delta(6), scene.delta(7))
    assert await scene.got.get() == m.Applied(7)


async def test_requests_to_the_controller(scene: Scene) -> None:
    await scene.ready()
    asked = asyncio.ensure_future(
        scene.node.setup.controller.request(AllocateProducerIds(4, 5), 60_000)
    )
    ask = await scene.got.get()
    assert isinstance(ask, m.Ask) and ask.request == AllocateProducerIds(4, 5)
    scene.say(m.Answer(ask.request_id, AllocateProducerIdsAnswer(0, 1, 2)))
    assert await asked == AllocateProducerIdsAnswer(0, 1, 2)


async def test_the_end_of_the_supervisor_is_a_clean_stop(scene: Scene) -> None:
    await scene.ready()
    scene.supervisor.abort()
    assert await scene.ended == EXIT_CLEAN
    assert scene.node.calls[-1][0] == "stop"


@pytest.mark.parametrize("configured", [False, True])
async def test_a_stop_before_the_start(scene: Scene, configured: bool) -> None:
    if configured:
        scene.say(CONFIGURE)
    scene.say(m.Stop(1))
    assert await scene.ended == EXIT_CLEAN


async def test_a_start_that_the_disk_does_not_allow(scene: Scene) -> None:
    scene.failure = StorageError("no\nspace")
    scene.say(CONFIGURE, m.Snapshot(3, (), True))
    assert await scene.got.get() == m.Failed("no space")
    assert await scene.ended == EXIT_FAILED


async def test_a_bug_ends_the_worker_at_once(scene: Scene) -> None:
    await scene.ready()
    scene.node.failure = ZeroDivisionError("a bug")
    scene.say(scene.delta(4))
    with pytest.raises(ZeroDivisionError):
        await scene.ended
    # Nothing of a node that is wrong is written down as if it were right.
    assert scene.node.calls[-1] == ("apply", 3, 4)


async def test_it_tells_its_state_and_values_when_asked(scene: Scene) -> None:
    scene.say(m.Poll(True))
    assert await scene.got.get() == m.Polled(True, NodeState(), None)  # no node yet
    await scene.ready()
    scene.say(m.Serve())
    assert await scene.got.get() == m.Serving()
    scene.say(m.Poll(False))
    assert await scene.got.get() == m.Polled(False, NodeState(True, 3, 2, 1), None)
    scene.say(m.Poll(True))
    told = await scene.got.get()
    assert isinstance(told, m.Polled)
    assert told.samples == Samples({"tidelog_connections": [((), 3)]})


async def test_values_that_cannot_be_told_leave_nobody_waiting(scene: Scene) -> None:
    await scene.ready()
    scene.node.failure = KeyError("ours")
    scene.say(m.Poll(True))
    assert await scene.got.get() == m.Polled(True, NodeState(False, -1, 2, 1), None)

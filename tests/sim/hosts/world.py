"""Several hosts on a seeded clock: production's `HostCluster`, links and controller; a coordination
service in memory; workers that are pretended.

What is checked: every host shows each version of the metadata as every other host and the store do,
and never an older one after a newer one; what was answered is stored.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

from tests.house.memory_ensemble import MemoryEnsemble, MemoryService
from tests.sim.cluster.virtual_loop import LoopClock, VirtualLoop
from tests.sim.hosts.links import Links
from tidelog.controller.requests import (
    ControllerAnswer,
    ControllerRequest,
    CreateTopics,
    CreateTopicsAnswer,
    NewTopic,
    NodeDown,
    RegisterNode,
    RegisterNodeAnswer,
    StartCluster,
    UnfenceNode,
)
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord, Endpoint
from tidelog.metastore.ensemble import HostEntry, Seat
from tidelog.process.hosts.cluster import HostCluster, Place
from tidelog.process.node_report import NodePhase, NodeReport

CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAA"
SILENCE_MS = 2_000
#: How long the service keeps the session of a host that is gone.
SESSION_S = 2.0


Content = dict[tuple[str, str], ChangeRecord]


class Broken(AssertionError):
    """An invariant does not hold."""


#: Which host's code runs: who connects.
WHO: ContextVar[str] = ContextVar("host")


class SimCluster(HostCluster):
    """Production's, but for the listening socket."""

    host_id: str
    links: Links

    def _follow(self, seat: Seat) -> None:
        WHO.set(self.host_id)
        super()._follow(seat)

    async def _accept(self) -> None:
        arriving = self.links.listening.setdefault(self.host_id, asyncio.Queue())
        while True:
            end = await arriving.get()
            if self._leading is None:
                end.close()
            else:
                await self._leading.accept(end)  # type: ignore[arg-type]  # in the place of a socket


class World:
    """See the module. Made and run within its loop."""

    def __init__(self, rng: random.Random, loop: VirtualLoop, hosts: int) -> None:
        self.rng = rng
        self.loop = loop
        self.clock = LoopClock(loop)
        self.service = MemoryService()
        self.links = Links(rng)
        self.hosts = [SimHost(self, number + 1) for number in range(hosts)]
        self.created: set[str] = set()
        self.seen: dict[int, Content] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._topics = 0

    def background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def shows(self, host: SimHost, image: MetadataImage) -> None:
        """A host works with that image."""
        content = content_of(image)
        if self.seen.setdefault(image.version, content) != content:
            raise Broken(f"host {host.host_id} has another version {image.version}")
        if image.version > self.service.version:
            raise Broken(f"host {host.host_id} has version {image.version}, which is not stored")

    def stored(self) -> MetadataImage:
        return MetadataImage.from_records(list(self.service.state), self.service.version)

    def new_topic(self) -> str:
        self._topics += 1
        return f"t{self._topics}"

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for host in self.hosts:
            host.kill()
        await asyncio.sleep(0)


class SimHost:
    """A host and its one node; `life` grows with each process."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.host_id = f"host{number}"
        self.node_id = number
        self.life = 0
        self.node_epoch = -1
        self.phase = NodePhase.GONE
        self.control: SimCluster | None = None
        self.ensemble: MemoryEnsemble | None = None
        self.applied = -1
        self._version = -1

    @property
    def runs(self) -> bool:
        return self.control is not None

    async def start(self) -> None:
        """The host's process begins; its node as soon as there is a controller."""
        self.life += 1
        life = self.life
        self.ensemble = MemoryEnsemble(self.world.service)
        self.ensemble.connect(1_000)
        agreed = self.ensemble.agree(CLUSTER_ID, None)
        entry = HostEntry(self.host_id, f"{self.host_id}:1", (self.node_id,))
        self.ensemble.register(entry)
        place = Place(self.ensemble, agreed, entry, None)  # type: ignore[arg-type]  # no socket
        control = SimCluster(place, {}, SILENCE_MS, _Owner(self, life), self.world.clock)
        control.host_id, control.links = self.host_id, self.world.links
        self.control = control
        self._version = -1
        await control.start()
        if self.life == life:
            await control.submit(StartCluster(CLUSTER_ID))
            await self.begin_node(life)

    async def begin_node(self, life: int) -> None:
        """A new life of the node, tried until the controller has registered it."""
        endpoint = Endpoint("PLAINTEXT", "h", 9000 + self.node_id)
        while self.life == life and self.control is not None:
            asked = RegisterNode(
                *(self.node_id, None, (endpoint,), "h", endpoint.port), host_id=self.host_id
            )
            answer = await self.control.submit(asked, when_committed=True)
            if self.life != life or self.control is None:
                return
            if isinstance(answer, RegisterNodeAnswer):
                self.node_epoch = answer.node_epoch
                self.phase = NodePhase.STARTING
                await asyncio.sleep(self.world.rng.random() * 0.05)
                if self.life == life and self.control is not None:
                    self.phase = NodePhase.SERVING
                    self.applied = self.control.image.version
                    self.control.node_version(self.node_id, self.applied)
                    self.control.submit(UnfenceNode(self.node_id, self.node_epoch))
                return
            await asyncio.sleep(self.world.rng.random() * 0.4)

    def end_node(self) -> None:
        """The worker dies; it is started again in a moment."""
        if self.control is None or self.phase != NodePhase.SERVING:
            return
        self.phase = NodePhase.GONE
        self.control.node_version(self.node_id, -1)
        self.control.submit(NodeDown(((self.node_id, self.node_epoch),)), when_committed=True)
        self.world.background(self.begin_node(self.life))

    def kill(self) -> None:
        """All processes of the host die; the service finds out later."""
        control, self.control = self.control, None
        if control is None:
            return
        self.life += 1
        self.phase = NodePhase.GONE
        leading = control._leading
        tasks = list(control._tasks)
        if leading is not None:
            tasks += [*leading._tasks, leading._running]
        for task in tasks:
            task.cancel()
        self.world.links.die(self.host_id)
        ensemble = self.ensemble
        assert ensemble is not None
        ensemble.reachable = False
        ensemble._opened = False
        ensemble._changed.clear()
        self.world.loop.call_later(SESSION_S, ensemble.lose_session)

    async def ask(self, request: ControllerRequest) -> ControllerAnswer | None:
        """The answer; None when the host died before there was one."""
        if self.control is None:
            return None
        life = self.life
        answered = self.control.submit(request)
        while self.life == life:
            await asyncio.wait({answered}, timeout=0.1)
            if answered.done():
                return answered.result()
        return None

    async def create(self) -> bool:
        """A new topic; whether it is said to be there."""
        name = self.world.new_topic()
        answer = await self.ask(CreateTopics((NewTopic(name, 1, 1),)))
        if isinstance(answer, CreateTopicsAnswer) and answer.topics[0].error_code == 0:
            if name not in self.world.stored().topics:
                raise Broken(f"topic {name} was created and is not stored")
            self.world.created.add(name)
            return True
        return False


class _Owner:
    """One life of a supervisor (`ControlOwner`)."""

    def __init__(self, host: SimHost, life: int) -> None:
        self._host = host
        self._life = life

    @property
    def _alive(self) -> bool:
        return self._host.life == self._life

    def delta(self, version: int, records: list[ChangeRecord]) -> None:
        self._took()

    def replaced(self) -> None:
        self._took()

    def reports(self) -> tuple[NodeReport, ...]:
        host = self._host
        serves = host.phase == NodePhase.SERVING and host.control is not None
        applied = host.applied if serves else -1
        return (NodeReport(host.node_id, host.node_epoch, host.phase, applied),)

    def control_failed(self, reason: str) -> None:
        raise Broken(f"host {self._host.host_id}: {reason}")

    def _took(self) -> None:
        host = self._host
        if not self._alive or host.control is None:
            return
        image = host.control.image
        if image.version <= host._version:
            raise Broken(f"host {host.host_id} goes from {host._version} to {image.version}")
        host._version = image.version
        host.world.shows(host, image)
        if host.phase == NodePhase.SERVING:
            host.world.loop.call_later(host.world.links.delay_s(), self._applied, image.version)

    def _applied(self, version: int) -> None:
        host = self._host
        if self._alive and host.control is not None and host.phase == NodePhase.SERVING:
            # (A worker applies one version after the other.)
            host.applied = max(host.applied, version)
            host.control.node_version(host.node_id, host.applied)


def content_of(image: MetadataImage) -> Content:
    """What an image says, however it came to be."""
    return {record.store_key: record for record in image.to_records()}

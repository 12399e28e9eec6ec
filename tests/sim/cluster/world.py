"""A whole cluster in one process on a seeded clock: production's controller, replica managers and
followers, simulated disks, network and supervisors, and what goes wrong with them.

The fault budget: at most one replica at a time loses what it had not synced, and it counts as
healed when all partitions have it in their ISR again (min.insync.replicas is 2).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from tests.sim.cluster import coordinators
from tests.sim.cluster.checks import Checks
from tests.sim.cluster.group_checks import GroupChecks, OffsetChecks
from tests.sim.cluster.logs import Disk
from tests.sim.cluster.network import Lost, Network
from tests.sim.cluster.nodes import SimNode
from tests.sim.cluster.virtual_loop import LoopClock, VirtualLoop
from tests.sim.transaction_history import Attempt, Fences
from tidelog.controller.machine import Controller
from tidelog.controller.requests import (
    ControllerAnswer,
    ControllerRequest,
    CreateTopics,
    FenceNode,
    NewTopic,
    NodeDown,
    RegisterNode,
    RegisterNodeAnswer,
    RequestFailed,
    StartCluster,
    UnfenceNode,
)
from tidelog.controller.runtime import ControllerRuntime
from tidelog.metadata.features import TRANSACTION_VERSION
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord, Endpoint
from tidelog.metastore.contract import Metastore, MetastoreError

NODES = (1, 2, 3)
PARTITIONS = 2
REQUEST_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Mutation:
    """Known mistakes, to show that the simulator finds them."""

    truncates_at_high_watermark: bool = False
    shrinks_unconfirmed: bool = False
    elects_anybody: bool = False
    epochs_unchecked: bool = False
    few_may_ack: bool = False


@dataclass(frozen=True)
class CoordinatorMutation:
    """The same of coordinators."""

    answers_uncommitted: bool = False
    tells_uncommitted: bool = False
    assigns_uncommitted: bool = False  # (Tidelog's own, until this simulator found it)
    never_unloads: bool = False
    loads_committed_only: bool = False
    acts_on_uncommitted_load: bool = False  # (the same)
    forgets_markers: bool = False
    verifies_nothing: bool = False


class SimStore(Metastore):
    """In memory; now and then a commit fails, with or without effect unknown to nobody: as the
    contract says, one that raises had none.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.version = 0
        self.records: dict[tuple[str, str], ChangeRecord] = {}
        self.fails = False

    def load(self) -> tuple[int, list[ChangeRecord]]:
        return self.version, list(self.records.values())

    def commit(self, records: Sequence[ChangeRecord], expected_version: int) -> int:
        assert expected_version == self.version
        if self.fails and self._rng.random() < 0.1:
            raise MetastoreError("the store fails")
        for record in records:
            self.records[record.store_key] = record
        self.version += 1
        return self.version

    def close(self) -> None:
        return


class World:
    """See the module. Made and run within its loop."""

    def __init__(
        self,
        rng: random.Random,
        loop: VirtualLoop,
        mutation: Mutation,
        coordinator_mutation: CoordinatorMutation | None = None,
    ) -> None:
        """coordinator_mutation: with coordinators, and those mistakes; None: replication alone."""
        self.rng = rng
        self.loop = loop
        self.clock = LoopClock(loop)
        self.mutation = mutation
        self.coordinator_mutation = coordinator_mutation
        self.static = {"min.insync.replicas": "2"}
        self.topics: tuple[NewTopic, ...] = (NewTopic("t", PARTITIONS, len(NODES)),)
        self.transaction_version = 0
        if coordinator_mutation is not None:
            self.static |= coordinators.CONFIGS
            self.topics += coordinators.TOPICS
            self.transaction_version = rng.choice((0, 2, 2))
        self.coordinator_partitions = coordinators.COORDINATOR_PARTITIONS
        self.groups = GroupChecks()
        self.offsets = OffsetChecks()
        self.fences = Fences()
        self.attempts: dict[int, Attempt] = {}  # by number
        self.with_offset: dict[int, Attempt] = {}  # those that committed their number as an offset
        self.network = Network(rng)
        self.checks = Checks()
        self.disks = {node: Disk(rng) for node in NODES}
        self.nodes: dict[int, SimNode] = {}
        self.store = SimStore(rng)
        self.may_lack: set[int] = set()  # nodes that lost what was not synced, not yet healed
        self.fenced: set[int] = set()
        self.values = 0
        self._background: set[asyncio.Task[None]] = set()
        self._runtime = self._controller(MetadataImage())
        self._runs = asyncio.ensure_future(self._runtime.run())

    # -- controller and supervisor ----------------------------------------------------------------

    def _controller(self, image: MetadataImage) -> ControllerRuntime:
        return ControllerRuntime(
            _mutated(Controller(self.static), self.mutation, self.rng),
            self.store,
            image,
            self._publish,
            self.clock,
            self.rng,
        )

    @property
    def image(self) -> MetadataImage:
        return self._runtime.image

    def _publish(self, version: int, records: list[ChangeRecord]) -> None:
        for node in self.nodes.values():
            node.receive(self._runtime.image)

    def applied(self, node: SimNode, version: int) -> None:
        if self.nodes.get(node.node_id) is node:
            self._runtime.node_applied(node.node_id, version)

    async def decide(self, request: ControllerRequest, committed: bool = True) -> ControllerAnswer:
        """An event of the supervisor's, until it is carried out."""
        while True:
            answer = await self._runtime.submit(request, when_committed=committed)
            if not isinstance(answer, RequestFailed):
                return answer
            await asyncio.sleep(0.05)

    async def ask_controller(self, node: SimNode, request: ControllerRequest) -> ControllerAnswer:
        """A node's request. Raises Lost."""

        async def serve() -> ControllerAnswer:
            return await self._runtime.submit(request, when_committed=True)

        answer: ControllerAnswer = await self.network.ask(
            node.node_id, "controller", serve, REQUEST_TIMEOUT_S
        )
        return answer

    async def fail_over(self) -> None:
        """Another process is the controller: it knows what the store has."""
        self._runs.cancel()
        await asyncio.wait({self._runs})
        version, records = self.store.load()
        self._runtime = self._controller(MetadataImage.from_records(records, version))
        self._runs = asyncio.ensure_future(self._runtime.run())
        for node in self.nodes.values():
            self._runtime.node_live(node.node_id, node.image.version)
            node.receive(self._runtime.image)

    async def start(self) -> None:
        """The cluster with its topics."""
        features = ((TRANSACTION_VERSION, self.transaction_version),)
        await self.decide(StartCluster("c" * 22, features if self.transaction_version else ()))
        for node_id in NODES:
            await self.bear(node_id)
        await self.decide(CreateTopics(self.topics))

    async def bear(self, node_id: int, *, unclean: bool = False) -> None:
        """The node's next life begins."""
        endpoint = Endpoint("PLAINTEXT", "", 9091 + node_id)
        answer = await self.decide(
            RegisterNode(
                node_id, None, (endpoint,), "127.0.0.1", endpoint.port, f"node-{node_id}",
                unclean=unclean,
            )
        )  # fmt: skip
        assert isinstance(answer, RegisterNodeAnswer)
        node = SimNode(self, node_id, answer.node_epoch, self.disks[node_id])
        self.nodes[node_id] = node
        node.receive(self.image)
        self._runtime.node_live(node_id, 0)
        await self.decide(UnfenceNode(node_id, node.epoch))

    async def die(self, node_id: int, *, power: bool = False) -> None:
        """Its process ends; with `power`, its machine."""
        node = self.nodes.pop(node_id)
        node.kill()
        if power:
            self.disks[node_id].lose_power()
            self.may_lack.add(node_id)
        self._runtime.node_gone(node_id)
        await self.decide(NodeDown(((node_id, node.epoch),)))

    async def fence(self, node_id: int) -> None:
        """The controller has not heard of its host for too long."""
        node = self.nodes.get(node_id)
        if node is not None:
            self.fenced.add(node_id)
            await self.decide(FenceNode(node_id, node.epoch))

    async def unfence(self, node_id: int) -> None:
        """Its host is back."""
        self.fenced.discard(node_id)
        node = self.nodes.get(node_id)
        if node is not None:
            node.receive(self.image)
            await self.decide(UnfenceNode(node_id, node.epoch))

    # -- requests between places ------------------------------------------------------------------

    async def ask_node(
        self,
        source: int | str,
        target: int,
        serve: Callable[[SimNode], Awaitable[Any]],
        timeout_s: float,
    ) -> Any:
        """Raises Lost; whatever `serve` raises."""

        async def there() -> Any:
            node = self.nodes.get(target)
            if node is None:
                raise Lost
            answer = await serve(node)
            if not node.alive:
                raise Lost
            return answer

        return await self.network.ask(source, target, there, timeout_s)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Goes on beside the next faults."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def finish_background(self) -> None:
        while self._background:
            await asyncio.wait(self._background)

    def is_healed(self) -> bool:
        """Every replica is in its ISR, in the eyes of the controller."""
        return len(self.image.topics) == len(self.topics) and all(
            set(partition.isr) == set(NODES) and partition.leader >= 0
            for topic in self.image.topics.values()
            for partition in topic.partitions
        )

    # -- who leads --------------------------------------------------------------------------------

    def leader(self, topic: str, index: int) -> int:
        """As the controller has it."""
        return self.image.topics[topic].partitions[index].leader

    def leader_node(self, topic: str, index: int) -> SimNode | None:
        return self.nodes.get(self.leader(topic, index))

    def leader_known(self, topic: str, index: int) -> int:
        """What some node says, which may be old; or just anybody."""
        known = [node for node in self.nodes.values() if topic in node.image.topics]
        if known and self.rng.random() < 0.95:
            leader = self.rng.choice(known).image.topics[topic].partitions[index].leader
            if leader >= 0:
                return leader
        return self.rng.choice(NODES)

    # -- what clients attempt ---------------------------------------------------------------------

    def begin_attempt(self, tid: str) -> tuple[int, Attempt]:
        """A transaction, and the number that its records carry."""
        number = len(self.attempts) + 1
        attempt = self.attempts[number] = Attempt(tid)
        return number, attempt

    def note_healing(self) -> None:
        if self.may_lack and self.is_healed() and not self.fenced:
            self.may_lack.clear()

    def next_value(self) -> int:
        self.values += 1
        return self.values


def _mutated(machine: Controller, mutation: Mutation, rng: random.Random) -> Controller:
    if not mutation.elects_anybody:
        return machine
    from tests.sim.cluster.mutations import AnybodyMayLead

    return AnybodyMayLead(machine, rng)  # type: ignore[return-value]

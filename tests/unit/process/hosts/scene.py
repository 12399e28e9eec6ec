"""Several hosts in one process: their control over loopback, agreeing in an ensemble in memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from tests.house.memory_ensemble import MemoryEnsemble, MemoryService
from tidelog.clock import SystemClock
from tidelog.controller.requests import (
    ControllerAnswer,
    ControllerRequest,
    CreateTopics,
    CreateTopicsAnswer,
    NewTopic,
    RegisterNode,
    RegisterNodeAnswer,
    StartCluster,
    UnfenceNode,
)
from tidelog.metadata.records import ChangeRecord, Endpoint
from tidelog.metastore.ensemble import HostEntry
from tidelog.process.hosts.cluster import HostCluster, Place
from tidelog.process.node_report import NodePhase, NodeReport

CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAA"
# Longer than a busy machine makes a host wait that is well.
SILENCE_MS = 2_000


class Host:
    """A host with one node, whose worker is pretended: it applies what it is told at once."""

    def __init__(self, service: MemoryService, number: int) -> None:
        self.host_id = f"host{number}"
        self.node_id = number
        self.node_epoch = -1
        self.phase = NodePhase.GONE
        self.applies = True
        self.versions: list[int] = []
        self.images = 0
        self.closed = False
        self.failures: list[str] = []
        self.ensemble = MemoryEnsemble(service)
        self.control: HostCluster

    async def start(self, imported: tuple[int, list[ChangeRecord]] | None = None) -> None:
        """Joins; the node is registered by `serve`."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        self.ensemble.connect(1_000)
        agreed = self.ensemble.agree(CLUSTER_ID, self.host_id if imported else None)
        host = HostEntry(self.host_id, f"127.0.0.1:{sock.getsockname()[1]}", (self.node_id,))
        self.ensemble.register(host)
        place = Place(self.ensemble, agreed, host, sock, imported)
        self.control = HostCluster(place, {}, SILENCE_MS, self, SystemClock())
        async with asyncio.timeout(10):
            await self.control.start()
            await self.ask(StartCluster(agreed.cluster_id))

    async def serve(self) -> None:
        """A new life of the node."""
        endpoint = Endpoint("PLAINTEXT", "127.0.0.1", 9000 + self.node_id)
        registered = await self.ask(
            RegisterNode(
                *(self.node_id, None, (endpoint,), "127.0.0.1", endpoint.port),
                host_id=self.host_id,
            )
        )
        assert isinstance(registered, RegisterNodeAnswer), registered
        self.node_epoch = registered.node_epoch
        self.phase = NodePhase.SERVING
        self.control.node_version(self.node_id, self.control.image.version)
        await self.ask(UnfenceNode(self.node_id, self.node_epoch))

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            await self.control.close()

    async def create(self, name: str, replicas: int = 1) -> CreateTopicsAnswer:
        answer = await self.ask(CreateTopics((NewTopic(name, 1, replicas),)))
        assert isinstance(answer, CreateTopicsAnswer), answer
        return answer

    async def ask(self, request: ControllerRequest) -> ControllerAnswer:
        async with asyncio.timeout(20):
            return await self.control.submit(request)

    # --- ControlOwner ---

    def delta(self, version: int, records: list[ChangeRecord]) -> None:
        assert version == self.control.image.version
        self.versions.append(version)
        self._apply()

    def replaced(self) -> None:
        self.images += 1
        self.versions.append(self.control.image.version)
        self._apply()

    def reports(self) -> tuple[NodeReport, ...]:
        applied = self.control.image.version if self.phase == NodePhase.SERVING else -1
        return (NodeReport(self.node_id, self.node_epoch, self.phase, applied),)

    def control_failed(self, reason: str) -> None:
        self.failures.append(reason)

    def _apply(self) -> None:
        if self.applies and self.phase == NodePhase.SERVING:
            self.control.node_version(self.node_id, self.control.image.version)


async def until(holds: Callable[[], bool], what: str) -> None:
    """Waits until it holds."""
    try:
        async with asyncio.timeout(15):
            while not holds():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None

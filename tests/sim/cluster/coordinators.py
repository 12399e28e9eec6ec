"""The coordinators of a simulated node: production's services for groups and transactions, the
transaction gate and the handlers, on partitions that the simulated cluster replicates.

Requests are production's messages without their wire form. What the Produce lane does with a
transactional batch is written down once more here (`produce`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.sim.cluster.batch_logs import BatchLog
from tests.sim.cluster.network import Lost
from tidelog._native.log import STATUS_APPENDED, STATUS_DUPLICATE, STATUS_NEEDS_ROLL
from tidelog._native.partition import NOT_LEADER
from tidelog.controller.requests import AllocateProducerIds, AllocateProducerIdsAnswer, NewTopic
from tidelog.coordinator.group_service import GroupService
from tidelog.coordinator.partitioning import coordinator_partition
from tidelog.coordinator.producer_ids import ProducerIdManager
from tidelog.coordinator.runtime import CoordinatorRuntime
from tidelog.coordinator.txn_service import TransactionService
from tidelog.errors import KafkaError
from tidelog.handlers.context import Services
from tidelog.handlers.dispatch import Dispatcher
from tidelog.handlers.registry import HANDLERS
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.schema import Request, Response
from tidelog.replication.peer_client import PeerUnavailableError
from tidelog.replication.transaction_gate import TransactionGate
from tidelog.types import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC

if TYPE_CHECKING:
    from tests.sim.cluster.nodes import SimNode

#: What transactional producers write to.
TRANSACTIONS_TOPIC = "x"
TRANSACTIONS_PARTITIONS = 2
COORDINATOR_PARTITIONS = 2
TOPICS = (
    NewTopic(GROUP_METADATA_TOPIC, COORDINATOR_PARTITIONS, 3),
    NewTopic(TRANSACTION_STATE_TOPIC, COORDINATOR_PARTITIONS, 3),
    NewTopic(TRANSACTIONS_TOPIC, TRANSACTIONS_PARTITIONS, 3),
)
TRANSACTION_TIMEOUT_MS = 1_000
ABORT_INTERVAL_MS = 200
CONFIGS = {
    "group.min.session.timeout.ms": "100",
    "group.initial.rebalance.delay.ms": "50",
    "offsets.commit.timeout.ms": "700",
    "offsets.load.buffer.size": "2000",
    "transaction.state.log.load.buffer.size": "2000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": str(ABORT_INTERVAL_MS),
}
PEER_TIMEOUT_S = 0.5


class SimPeers:
    """As PeerClient: what does not answer in time is not asked any more. In the first generation
    of transactions a request that was given up never arrives, as its connection has ended; in the
    second one it may, long after.
    """

    def __init__(self, node: SimNode, coordinators: Coordinators) -> None:
        self._node = node
        self._coordinators = coordinators

    async def request(self, node_id: int, request: Request, api_version: int) -> Response:
        node = self._node
        if not node.alive:
            raise PeerUnavailableError("this node has stopped")
        if node_id == node.node_id:
            return await self._coordinators.answer(request, api_version)
        peer = node.image.nodes.get(node_id)
        if peer is None or peer.fenced:
            raise PeerUnavailableError(f"node {node_id} does not live")
        is_given_up = False

        async def serve(other: SimNode) -> Response:
            if is_given_up and node.world.transaction_version < 2:
                raise Lost
            return await other.coordinators.answer(request, api_version)

        try:
            answer: Response = await node.world.ask_node(
                node.node_id, node_id, serve, PEER_TIMEOUT_S
            )
        except Lost:
            is_given_up = True
            raise PeerUnavailableError(f"node {node_id} did not answer") from None
        return answer


class Coordinators:
    """Of one life of one node."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._peers = SimPeers(node, self)
        self.gate = TransactionGate(self._peers, lambda: node.image, coordinator_partition)
        self.groups = GroupService(
            node.replicas,
            node.clock,
            node.rng,
            image=lambda: node.image,
            config=lambda: node.config.broker(node.image),
        )
        self.groups.transactions = self.gate
        self._producer_ids = ProducerIdManager(self._allocate_producer_ids)
        self.transactions = TransactionService(
            node.replicas,
            node.clock,
            image=lambda: node.image,
            config=lambda: node.config.broker(node.image),
            next_producer_id=self._producer_ids.next,
            peers=self._peers,
        )
        self._dispatcher = Dispatcher(self._services(), HANDLERS)

    def _services(self) -> Services:
        nothing: Any = None
        return Services(
            node_id=self._node.node_id,
            clock=self._node.clock,
            node_config=self._node.config,
            metadata=self._node,
            controller=nothing,
            replicas=self._node.replicas,
            groups=self.groups,
            transactions=self.transactions,
            producer_ids=self._producer_ids,
            topic_creation=nothing,
            metadata_cache=nothing,
            quotas=nothing,
            apis=(),
        )

    async def _allocate_producer_ids(self) -> range:
        request = AllocateProducerIds(self._node.node_id, self._node.epoch)
        try:
            answer = await self._node.world.ask_controller(self._node, request)
        except Lost:
            answer = None
        if not isinstance(answer, AllocateProducerIdsAnswer) or answer.error_code:
            raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return range(answer.first_producer_id, answer.first_producer_id + answer.length)

    # -- life -------------------------------------------------------------------------------------

    def metadata_changed(self) -> None:
        self.transactions.metadata_changed()

    def kill(self) -> None:
        """Their process ends: shards, timers and waits go with it, and no log takes anything."""
        node = self._node
        for partition in list(node.replicas.led()):
            node.replicas._close(partition, NOT_LEADER)
        markers = self.transactions.markers
        for work in list(markers._works.values()):
            markers._forget(work)
        for log in node.logs.logs():
            if isinstance(log, BatchLog):
                log.close()

    # -- requests ---------------------------------------------------------------------------------

    async def answer(self, request: Request, version: int) -> Response:
        """What the handler of the request answers."""
        return await self._dispatcher.answer(request, version)

    def runtime(self, topic: str) -> CoordinatorRuntime[Any]:
        return self.groups.runtime if topic == GROUP_METADATA_TOPIC else self.transactions.runtime

    def reign(self, topic: str, index: int) -> int:
        """The leader epoch in which this node coordinates; -1 when it does not."""
        try:
            return self.runtime(topic).leader_epoch(index)
        except KafkaError:
            return -1

    async def produce(
        self, index: int, batch: bytes, producer: tuple[int, int, int], tid: str, version: int
    ) -> int:
        """A transactional Produce with acks=all, as the lane decides: an error code.

        producer: id, epoch, base sequence of the batch.
        """
        node = self._node
        partition = node.replicas.partition(TRANSACTIONS_TOPIC, index)
        if partition is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if partition.error_code:
            return partition.error_code
        if partition.under_min_isr:
            return ErrorCode.NOT_ENOUGH_REPLICAS
        writer = (partition, *producer)
        if self.gate.must_ask(writer):
            (code,) = await self.gate.verify([writer], tid.encode(), version)
            if code:
                return code
        while True:
            if partition.error_code or partition.log is None:
                return partition.error_code
            status, code, _, last_offset, *_ = partition.log.produce(
                bytearray(batch), partition.leader_epoch, version, node.clock.wall_ms()
            )
            if status in (STATUS_APPENDED, STATUS_DUPLICATE):
                break
            if status != STATUS_NEEDS_ROLL:
                return code
            await node.replicas.roll(partition)
        partition.update_progress()
        try:
            await node.replicas.wait_committed(partition, last_offset)
        except KafkaError as error:
            return error.error_code
        if partition.under_min_isr:
            return ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
        return 0


async def let_logs_roll(node: SimNode) -> None:
    """Now and then an append needs a new segment first."""
    while True:
        await asyncio.sleep(node.rng.random())
        for log in node.logs.logs():
            if isinstance(log, BatchLog) and node.rng.random() < 0.2:
                log.wish_roll()

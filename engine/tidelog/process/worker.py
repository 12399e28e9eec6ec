"""The worker's composition root: everything that a Kafka node is made of, put together once.

Loaded by the zygote before it forks, so all imports of a worker stand here or below. Nothing but
wiring: what a worker does as a process is in `worker_process`, what it does as a node in the
layers below.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tidelog._native import log_file
from tidelog._native.partition import PartitionTable, Progress
from tidelog.config import BrokerConfig, ConfigValueError
from tidelog.controller.client import ControllerTimeout
from tidelog.controller.requests import (
    AllocateProducerIds,
    AllocateProducerIdsAnswer,
    AlterIsr,
    AlterIsrAnswer,
    Done,
    ReportOffline,
    ShutDownNode,
    ShutDownNodeAnswer,
)
from tidelog.coordinator.group_service import GroupService
from tidelog.coordinator.partitioning import coordinator_partition
from tidelog.coordinator.producer_ids import ProducerIdManager
from tidelog.coordinator.txn_service import TransactionService
from tidelog.errors import KafkaError, StorageError
from tidelog.handlers.context import Services
from tidelog.handlers.controller_calls import ask_controller
from tidelog.handlers.dispatch import Dispatcher
from tidelog.handlers.metadata_cache import MetadataCache
from tidelog.handlers.registry import APIS, HANDLERS
from tidelog.handlers.topic_creation import TopicCreation
from tidelog.limits import (
    GIL_SWITCH_US,
    HAND_OVER_RETRY_MS,
    HAND_OVER_TIMEOUT_MS,
    ISR_CHANGE_TIMEOUT_MS,
    LOGS_OPEN_WAIT_MS,
    NODE_LOCK_TIMEOUT_MS,
    OFFLINE_REPORT_TIMEOUT_MS,
    OFFLINE_REPORT_WAIT_MS,
)
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.isr import AlteredIsr, IsrChange
from tidelog.net.server import BoundListener, Server
from tidelog.process.allocator import give_freed_memory_back
from tidelog.process.metrics.loop_lag import LoopLag
from tidelog.process.metrics.node import NodeMetrics
from tidelog.process.metrics.samples import Samples
from tidelog.process.sampling.counters import NodeCounters
from tidelog.process.sampling.port import SamplingPort
from tidelog.process.sampling.run import SamplingRun
from tidelog.process.worker_process import NodeSetup, run_worker
from tidelog.protocol.error_codes import ErrorCode
from tidelog.quotas.node import NodeQuotas
from tidelog.quotas.replication import ReplicationQuotas
from tidelog.replication.fetcher import FetcherManager
from tidelog.replication.isr_changes import IsrChanges
from tidelog.replication.leader_offsets import AskedOffsets
from tidelog.replication.nearest import near_racks
from tidelog.replication.node_config import NodeConfig
from tidelog.replication.offline_report import OfflineReport
from tidelog.replication.peer_client import PeerClient
from tidelog.replication.replica_manager import ReplicaManager
from tidelog.replication.transaction_gate import TransactionGate
from tidelog.storage.log_directories import LogDirectories
from tidelog.storage.manager import KnownLog, LogManager

log: Final = logging.getLogger(__name__)


class KafkaNode:
    """A node of the cluster; see `worker_process.Node`. Belongs to the worker's loop task."""

    def __init__(self, setup: NodeSetup) -> None:
        loop = asyncio.get_running_loop()
        self._setup = setup
        static = setup.static | {"node.id": str(setup.node_id)}
        self._config = NodeConfig(setup.node_id, static)
        config = self._config.broker(setup.metadata.image)
        log_file.set_limit(config.tidelog_open_segments_max)
        self._executor = ThreadPoolExecutor(
            config.tidelog_helper_threads, thread_name_prefix="helper"
        )
        loop.set_default_executor(self._executor)
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="open")
        # Seeded by the system: blocks of one zygote must not draw the same numbers.
        self._rng = random.Random(random.SystemRandom().getrandbits(128))
        self._throttles = ReplicationQuotas(config, setup.clock)
        managers = [self._log_manager(str(directory), config) for directory in setup.directories]
        self._logs = LogDirectories(managers, setup.clock, self._throttles.log_dirs)
        self._offline = OfflineReport(self._logs.offline_replicas, self._report_offline)
        self._logs.on_directory_offline = self._offline.changed
        table = PartitionTable(Progress(loop.call_soon))
        self._peers = PeerClient(
            setup.node_id, lambda: setup.metadata.image, config.request_timeout_ms
        )
        self._replicas = self._replica_manager(table, config)
        self._groups = GroupService(
            self._replicas,
            setup.clock,
            self._rng,
            image=lambda: setup.metadata.image,
            config=lambda: self._config.broker(setup.metadata.image),
        )
        self._producer_ids = ProducerIdManager(self._allocate_producer_ids)
        self._transactions = TransactionService(
            self._replicas,
            setup.clock,
            image=lambda: setup.metadata.image,
            config=lambda: self._config.broker(setup.metadata.image),
            next_producer_id=self._producer_ids.next,
            peers=self._peers,
        )
        self._quotas = NodeQuotas(config, setup.clock)
        dispatcher = Dispatcher(self._services(), HANDLERS)
        self._peers.local = dispatcher.answer
        self._server = Server(
            loop,
            dispatcher,
            table,
            config,
            setup.clock,
            [BoundListener(sock, name) for name, sock in setup.listeners],
            self._executor,
            self._opener,
            rng=self._rng,
            quotas=self._quotas,
        )
        gate = TransactionGate(self._peers, lambda: setup.metadata.image, coordinator_partition)
        self._server.gates.transactions = self._groups.transactions = gate
        self._lag = LoopLag(loop)
        self._metrics = self._node_metrics(dispatcher, table)
        sampling = SamplingRun(setup.node_id, NodeCounters(self._server.reactor, table))
        self._sampling = SamplingPort(setup.cluster_id, setup.node_id, sampling.sample)
        self._was_offline = False  # some replica, by what the controller knows
        self._started = False
        self._serving = False

    def _node_metrics(self, dispatcher: Dispatcher, table: PartitionTable) -> NodeMetrics:
        return NodeMetrics(
            self._server,
            dispatcher,
            table,
            self._groups,
            self._lag,
            self._logs,
            self._throttles,
        )

    def _log_manager(self, directory: str, config: BrokerConfig) -> LogManager:
        setup = self._setup
        return LogManager(
            directory,
            setup.node_id,
            config,
            setup.clock,
            self._executor,
            cluster_id=setup.cluster_id,
            rng=self._rng,
            open_executor=self._opener,
        )

    def _replica_manager(self, table: PartitionTable, config: BrokerConfig) -> ReplicaManager:
        setup = self._setup
        self._fetchers = FetcherManager(
            setup.node_id,
            lambda: setup.node_epoch,
            config,
            AskedOffsets(setup.node_id, self._peers),
            setup.clock,
            self._rng,
        )
        return ReplicaManager(
            setup.node_id,
            table,
            self._logs,
            self._config,
            setup.clock,
            isr=IsrChanges(
                setup.node_id,
                setup.node_epoch,
                self._change_isrs,
                setup.clock,
                config.replica_lag_time_max_ms,
            ),
            fetchers=self._fetchers,
            throttles=self._throttles,
        )

    def _services(self) -> Services:
        setup = self._setup
        return Services(
            node_id=setup.node_id,
            clock=setup.clock,
            node_config=self._config,
            metadata=setup.metadata,
            controller=setup.controller,
            replicas=self._replicas,
            groups=self._groups,
            transactions=self._transactions,
            producer_ids=self._producer_ids,
            topic_creation=TopicCreation(setup.controller),
            metadata_cache=MetadataCache(),
            quotas=self._quotas,
            apis=APIS,
        )

    async def start(self, image: MetadataImage) -> None:
        """Opens the logs and applies the image. Those that take long to recover are served when
        they are ready. Raises StorageError, OSError.
        """
        await self._logs.begin(
            self._known_logs(image), lock_timeout_ms=NODE_LOCK_TIMEOUT_MS, set_strays_aside=True
        )
        self._started = True
        opened = asyncio.ensure_future(self._logs.opened())
        await asyncio.wait({opened}, timeout=LOGS_OPEN_WAIT_MS / 1000)
        if opened.done():
            opened.result()
        else:
            opened.cancel()
            log.warning("logs still recovering count=%d", self._logs.opening_count)
        if self._was_offline or self._logs.offline_replicas():
            # Before others believe that it can lead again what it led.
            self._offline.changed()
            await self._offline.wait(OFFLINE_REPORT_WAIT_MS)
        await self._replicas.apply(MetadataImage(), image)
        self._follow(image)
        self._logs.run()
        self._replicas.run()
        # Only now: an earlier life of this node, which had the name, has given up its directory.
        await self._sampling.open()

    async def apply(self, old: MetadataImage, new: MetadataImage) -> None:
        """Follows the metadata; returns when what this node leads serves."""
        await self._replicas.apply(old, new)
        # When the caller has made it the node's image.
        asyncio.get_running_loop().call_soon(self._transactions.metadata_changed)
        self._follow(new)

    def _follow(self, image: MetadataImage) -> None:
        """What changes beside topics while the node runs."""
        config = self._config.broker(image)
        self._logs.configure(config)
        self._fetchers.set_config(config)
        self._throttles.follow(config)
        self._server.follow_config(config)
        self._server.follow_quotas(image.quotas)
        if config.is_rack_aware:
            self._server.gates.near_racks = near_racks(image, self._setup.node_id)

    def serve(self) -> None:
        """Accepts connections."""
        self._serving = True
        if self._setup.metrics:
            self._server.reactor.stats.timing = True
            self._lag.start()
        self._server.start()

    async def stop(self, grace_ms: int) -> None:
        """Answers what is in work, then closes in the reverse order of the layers."""
        clock = self._setup.clock
        self._lag.stop()
        await self._sampling.close()
        began_ms = clock.monotonic_ms()
        if self._serving:
            # Side by side: members that wait for a rebalance are answered by the coordinator's end.
            await asyncio.gather(self._server.stop(grace_ms), self._groups.close())
        else:
            await self._groups.close()
        await self._transactions.close()
        await self._peers.close()
        await self._offline.close()
        answered_ms = clock.monotonic_ms()
        await self._replicas.shutdown()
        if self._started:
            await self._logs.close(clean=True, broker_epoch=self._setup.node_epoch)
        self._opener.shutdown(wait=True)
        self._executor.shutdown(wait=True)
        log.info(
            "node stopped connections_ms=%d logs_ms=%d flushes=%d",
            answered_ms - began_ms,
            clock.monotonic_ms() - answered_ms,
            self._logs.flushes,
        )

    async def hand_over(self) -> None:
        """Has others lead what this node leads, before it stops; without them it just stops."""
        setup = self._setup
        if not any(partition.followers for partition in self._replicas.led()):
            return
        request = ShutDownNode(setup.node_id, setup.node_epoch)
        try:
            async with asyncio.timeout(HAND_OVER_TIMEOUT_MS / 1000):
                while await self._remaining(request):
                    await asyncio.sleep(HAND_OVER_RETRY_MS / 1000)
        except TimeoutError:
            log.warning("leaders not handed over error=%s", "nobody else is in sync")
        except ControllerTimeout as error:
            log.warning("leaders not handed over error=%s", error)

    async def _change_isrs(self, changes: tuple[IsrChange, ...]) -> tuple[AlteredIsr, ...] | None:
        """As `isr_changes.ChangeIsrs`."""
        setup = self._setup
        request = AlterIsr(setup.node_id, setup.node_epoch, changes)
        try:
            answer = await setup.controller.request(request, ISR_CHANGE_TIMEOUT_MS)
        except ControllerTimeout as error:
            log.warning("isr changes not answered count=%d error=%s", len(changes), error)
            return None
        if not isinstance(answer, AlterIsrAnswer) or answer.error_code:
            log.warning("isr changes not carried out count=%d answer=%s", len(changes), answer)
            return None
        return answer.partitions

    async def _report_offline(self, partitions: tuple[tuple[bytes, int], ...]) -> bool:
        """As `OfflineReport`."""
        setup = self._setup
        request = ReportOffline(setup.node_id, setup.node_epoch, partitions)
        try:
            answer = await setup.controller.request(request, OFFLINE_REPORT_TIMEOUT_MS)
        except ControllerTimeout as error:
            log.warning("offline replicas not told count=%d error=%s", len(partitions), error)
            return False
        if isinstance(answer, Done) and answer.error_code == ErrorCode.NONE:
            return True
        log.warning("offline replicas not told count=%d error=%s", len(partitions), answer)
        return False

    async def _remaining(self, request: ShutDownNode) -> int:
        """How many partitions wait for a follower to be in sync."""
        answer = await self._setup.controller.request(request, HAND_OVER_TIMEOUT_MS)
        return answer.remaining if isinstance(answer, ShutDownNodeAnswer) else 0

    def logs_not_served(self) -> tuple[int, int]:
        """Logs that are being opened, and those that failed or went offline."""
        offline = sum(log.offline for log in self._logs.logs())
        return self._logs.opening_count, offline + len(self._logs.failed_logs())

    async def samples(self) -> Samples:
        """Its values for the metrics."""
        return await self._metrics.collect()

    def _known_logs(self, image: MetadataImage) -> Iterator[KnownLog]:
        for topic, partition in image.partitions_held_by(self._setup.node_id):
            self._was_offline |= self._setup.node_id in partition.offline
            config = self._config.topic(image, topic.name)
            yield KnownLog(topic.name, topic.topic_id, partition.index, config)

    async def _allocate_producer_ids(self) -> range:
        """The next block. Raises KafkaError with the code on which clients ask again, as Kafka
        does.
        """
        request = AllocateProducerIds(self._setup.node_id, self._setup.node_epoch)
        code, message = 0, None
        try:
            answer = await ask_controller(
                self._setup.controller, request, AllocateProducerIdsAnswer
            )
            code = answer.error_code
        except KafkaError as error:
            code, message = error.error_code, error.message
        if code:
            log.warning("no producer ids error_code=%d message=%s", code, message)
            raise KafkaError(
                ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, "no producer ids at the moment"
            )
        return range(answer.first_producer_id, answer.first_producer_id + answer.length)


def build_node(setup: NodeSetup) -> KafkaNode:
    """A node for this setup. Raises StorageError when its configs cannot be used."""
    try:
        return KafkaNode(setup)
    except ConfigValueError as error:
        raise StorageError(str(error)) from error


def worker_main(control: socket.socket, listening: list[socket.socket]) -> int:
    """Runs a worker in a process that was just forked; returns its exit status."""
    give_freed_memory_back()
    sys.setswitchinterval(GIL_SWITCH_US / 1e6)
    return run_worker(control, listening, build_node)

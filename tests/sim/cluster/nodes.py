"""A simulated node: the production code of replica manager, partitions, ISR changes and followers
on lists for logs, with messages instead of sockets.

What the native lanes do with a Produce or Fetch request is written down once more here, from
values instead of bytes (`produce`, `serve_fetch`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.sim.cluster.batch_logs import BatchLog, StoredBatches
from tests.sim.cluster.coordinators import Coordinators, let_logs_roll
from tests.sim.cluster.logs import Disk, Record, SimLog, SimLogs, Stored
from tests.sim.cluster.mutations import weaken
from tests.sim.cluster.network import Lost
from tests.sim.cluster.virtual_loop import LoopClock, VirtualLoop
from tidelog._native.partition import CallbackWaiter, Partition, PartitionTable, Progress
from tidelog.controller.requests import AlterIsr, AlterIsrAnswer
from tidelog.errors import KafkaError
from tidelog.metadata.image import MetadataImage, TopicImage
from tidelog.metadata.isr import AlteredIsr, IsrChange
from tidelog.protocol.error_codes import ErrorCode
from tidelog.replication import followed as followed_module
from tidelog.replication.followed import Followed
from tidelog.replication.isr import PendingShrink
from tidelog.replication.isr_changes import IsrChanges
from tidelog.replication.node_config import NodeConfig
from tidelog.replication.peer_client import PeerUnavailableError
from tidelog.replication.replica_manager import ReplicaManager

if TYPE_CHECKING:
    from tests.sim.cluster.world import World

LAG_MS = 500
FETCH_TIMEOUT_S = 0.4


class SimPart:
    """In the place of the native FetchedPart."""

    def __init__(
        self, topic_id: bytes, index: int, core: object, leader_epoch: int, owner: Any
    ) -> None:
        self.topic_id, self.index, self.owner = topic_id, index, owner
        self.current_leader_epoch = leader_epoch
        self.active = False
        self.asked = 0
        self.ask: tuple[int, int, int, int] = (0, -1, 0, 0)
        self.answer_of = Answer(0)
        self.records: list[Any] = []
        self.refused_base_offset = self.refused_last_offset = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.answer_of, name)

    @property
    def records_size(self) -> int:
        return len(self.records)


class Answer(NamedTuple):
    """What a leader says about one partition."""

    error_code: int
    high_watermark: int = -1
    log_start_offset: int = -1
    diverging_epoch: int = -1
    diverging_end_offset: int = -1
    base_offset: int = -1
    records: tuple[Any, ...] = ()


class Exchange:
    """In the place of the native ReplicaFetch, and of the task that drives it: what is to be
    fetched from one leader, fetched again and again.
    """

    def __init__(self, node: SimNode, leader_id: int) -> None:
        self._node = node
        self._leader_id = leader_id
        self._parts: list[SimPart] = []
        self.task = asyncio.ensure_future(self._run())

    def add(self, part: SimPart) -> None:
        self._parts.append(part)

    def remove(self, part: SimPart) -> None:
        part.active = False
        if part in self._parts:
            self._parts.remove(part)

    def pause(self, part: SimPart) -> None:
        part.active = False
        part.asked += 1

    def ask(
        self, part: SimPart, offset: int, last_epoch: int, log_start: int, high_watermark: int
    ) -> None:
        part.ask = offset, last_epoch, log_start, high_watermark
        part.active = True
        part.asked += 1

    def append(self, part: SimPart, now_ms: int) -> int:
        log: SimLog = part.owner.held
        code = log.append_fetched(part.answer_of.base_offset, part.records, now_ms)
        if code == 0:
            part.records = []
        return code

    async def _run(self) -> None:
        node = self._node
        while True:
            await asyncio.sleep(node.rng.random() * 0.02)
            wanted = [(part, part.asked) for part in self._parts if part.active]
            if not wanted:
                continue
            request = [
                (part.topic_id, part.index, part.current_leader_epoch, *part.ask[:3])
                for part, _ in wanted
            ]
            try:
                answers = await node.world.ask_node(
                    node.node_id,
                    self._leader_id,
                    lambda leader, request=request: leader.serve_fetch(
                        node.node_id, node.epoch, request
                    ),
                    FETCH_TIMEOUT_S,
                )
            except Lost:
                continue
            for (part, asked), answer in zip(wanted, answers, strict=True):
                # (What was asked anew meanwhile is not answered by this.)
                if part.active and part.asked == asked and part in self._parts:
                    part.answer_of = answer
                    part.records = list(answer.records)
                    part.owner.take(node.clock.wall_ms())


class SimFetchers:
    """As replica_manager.Fetchers: production's Followed, on exchanges of values."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._exchanges: dict[int, Exchange] = {}
        self._followed: dict[tuple[bytes, int], Followed] = {}
        self._ending: dict[tuple[bytes, int], asyncio.Task[None]] = {}

    def follow(self, partition: Partition, held: Any) -> None:
        key = partition.topic_id, partition.index
        before = self._followed.get(key)
        if before is not None and before.is_for(partition, held):
            return
        self._stop(key)
        if self._node.world.mutation.truncates_at_high_watermark:
            held._cut(min(held.end, partition.high_watermark))
        exchange = self._exchanges.get(partition.leader_id)
        if exchange is None:
            exchange = Exchange(self._node, partition.leader_id)
            self._exchanges[partition.leader_id] = exchange
        followed = Followed(
            partition,
            held,
            exchange,  # type: ignore[arg-type]
            self._node.leader_offsets,
            30,
            lambda: None,
        )
        self._followed[key] = followed
        ending = self._ending.get(key)
        if ending is None:
            followed.start()
        else:
            ending.add_done_callback(
                lambda _: followed.start() if self._followed.get(key) is followed else None
            )

    async def leave(self, partition: Partition) -> None:
        key = partition.topic_id, partition.index
        self._stop(key)
        work = self._ending.get(key)
        if work is not None:
            await asyncio.wait({work})

    def _stop(self, key: tuple[bytes, int]) -> None:
        followed = self._followed.pop(key, None)
        if followed is None:
            return
        work = followed.stop()
        if work is not None:
            self._ending[key] = work
            work.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: tuple[bytes, int], work: asyncio.Task[None]) -> None:
        if self._ending.get(key) is work:
            del self._ending[key]

    def nodes_changed(self, image: MetadataImage) -> None:
        return

    async def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Everything ends here and now."""
        for key in list(self._followed):
            self._stop(key)
        for exchange in self._exchanges.values():
            exchange.task.cancel()


class SimPartition(Partition):
    """Who waits for the same commit goes on in the order in which they came: the native set has
    none, and the same seed is the same run.
    """

    def when_acknowledged(self, end_offset: int, callback: Callable[[], object]) -> CallbackWaiter:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return super().when_acknowledged(end_offset, loop.in_order(callback))


class SimReplicas(ReplicaManager):
    """With SimPartitions."""

    def _new_partition(self, topic: TopicImage, index: int) -> Partition:
        return SimPartition(topic.name.encode(), topic.topic_id, index, self.table.progress)


class SimNode:
    """One life of one node."""

    def __init__(self, world: World, node_id: int, epoch: int, disk: Disk) -> None:
        self.world = world
        self.node_id, self.epoch = node_id, epoch
        self.rng: random.Random = world.rng
        self.clock = LoopClock(world.loop)
        self.alive = True
        self.image = MetadataImage()
        self.logs = SimLogs(disk, self.rng, _kind_of_log)
        self.config = NodeConfig(node_id, world.static)
        self.table = PartitionTable(Progress(world.loop.call_soon))
        self.isr = IsrChanges(node_id, epoch, self.change_isrs, self.clock, LAG_MS)
        self.fetchers = SimFetchers(self)
        self.replicas = SimReplicas(
            node_id,
            self.table,
            self.logs,  # type: ignore[arg-type]
            self.config,
            self.clock,
            isr=self.isr,
            fetchers=self.fetchers,
        )
        self.replicas.leadership_listeners.append(self._leads)
        self._coordinators: Coordinators | None = None
        if world.coordinator_mutation is not None:
            self._coordinators = Coordinators(self)
            weaken(self._coordinators, world.coordinator_mutation)
        self._deltas: asyncio.Queue[MetadataImage] = asyncio.Queue()
        self._tasks = [
            asyncio.ensure_future(self._follow_metadata()),
            asyncio.ensure_future(self._check_lag()),
            asyncio.ensure_future(self._sync()),
        ]
        if self._coordinators is not None:
            self._tasks.append(asyncio.ensure_future(let_logs_roll(self)))
        for task in self._tasks:
            task.add_done_callback(_raise)

    def kill(self) -> None:
        """The process ends, as it stands."""
        self.alive = False
        for task in self._tasks:
            task.cancel()
        self.fetchers.stop()
        if self._coordinators is not None:
            self._coordinators.kill()
        self.isr._proposed.clear()
        self.isr._led.clear()

    @property
    def coordinators(self) -> Coordinators:
        assert self._coordinators is not None
        return self._coordinators

    # -- metadata -------------------------------------------------------------------------------

    def receive(self, image: MetadataImage) -> None:
        """The supervisor sends the next image."""
        self._deltas.put_nowait(image)

    async def _follow_metadata(self) -> None:
        while True:
            image = await self._deltas.get()
            await asyncio.sleep(self.rng.random() * self.rng.random() * 0.1)
            while not self._deltas.empty():
                image = self._deltas.get_nowait()
            if image.version > self.image.version:
                old = self.image
                if old.version == 0:
                    self.image = image  # as a worker does that starts
                await self.replicas.apply(old, image)
                self.image = image
                if self._coordinators is not None:
                    self._coordinators.metadata_changed()
                self.world.applied(self, image.version)

    async def change_isrs(self, changes: tuple[IsrChange, ...]) -> tuple[AlteredIsr, ...] | None:
        """As isr_changes.ChangeIsrs."""
        request = AlterIsr(self.node_id, self.epoch, changes)
        try:
            answer = await self.world.ask_controller(self, request)
        except Lost:
            return None
        if not isinstance(answer, AlterIsrAnswer) or answer.error_code:
            return None
        return answer.partitions

    def _leads(self, partition: Partition, epoch: int | None) -> None:
        if epoch is not None and self.alive:
            self.world.checks.leads(self, partition)

    async def _check_lag(self) -> None:
        while True:
            await asyncio.sleep(LAG_MS / 2000)
            self.isr.check_lag()
            if self.world.mutation.shrinks_unconfirmed:
                for partition, isr in self.isr._led.values():
                    if isinstance(isr.state, PendingShrink):
                        partition.set_maximal_isr(isr.state.proposed)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(self.rng.random())
            for log in self.logs.logs():
                if self.rng.random() < 0.5:
                    log.sync()
            self.logs.note_high_watermarks()

    # -- requests -------------------------------------------------------------------------------

    async def produce(self, index: int, value: int, acks: int) -> tuple[int, int, int]:
        """(error code, offset, leader epoch), as the produce lane decides."""
        partition = self.replicas.partition("t", index)
        if partition is None:
            return int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), -1, -1
        if partition.error_code:
            return partition.error_code, -1, -1
        if acks == -1 and partition.under_min_isr and not self.world.mutation.few_may_ack:
            return int(ErrorCode.NOT_ENOUGH_REPLICAS), -1, -1
        log = self.log_of(partition)
        offset, epoch = log.end, partition.leader_epoch
        log.append([Record(epoch, value)])
        partition.update_progress()
        if acks == -1 and not (self.world.mutation.few_may_ack and partition.under_min_isr):
            try:
                await self.replicas.wait_committed(partition, offset)
            except KafkaError as error:
                return error.error_code, -1, -1
            if partition.under_min_isr:
                return int(ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND), -1, -1
        if not self.alive:
            raise Lost
        self.world.checks.acknowledged(self, partition, offset, epoch, value, acks)
        return 0, offset, epoch

    async def read(self, index: int, offset: int) -> tuple[int, list[Record]]:
        """(error code, committed records from the offset on), as the fetch lane gives them."""
        partition = self.replicas.partition("t", index)
        if partition is None:
            return int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), []
        if partition.error_code and not partition.is_follower:
            return partition.error_code, []
        log = self.log_of(partition)
        if offset > log.end:
            return int(ErrorCode.OFFSET_OUT_OF_RANGE), []
        return 0, log.stored.records[offset : partition.high_watermark]

    async def serve_fetch(
        self,
        replica_id: int,
        replica_epoch: int,
        request: list[tuple[bytes, int, int, int, int, int]],
    ) -> list[Answer]:
        """A follower's fetch: (topic id, index, leader epoch, offset, last epoch, log start)."""
        return [self._serve(replica_id, replica_epoch, *wanted) for wanted in request]

    def _serve(
        self, replica_id: int, replica_epoch: int, topic_id: bytes, index: int,
        leader_epoch: int, offset: int, last_epoch: int, log_start: int,
    ) -> Answer:  # fmt: skip
        partition = self.replicas.partition_by_id(topic_id, index)
        if partition is None:
            return Answer(int(ErrorCode.UNKNOWN_TOPIC_ID))
        if partition.error_code:
            return Answer(partition.error_code)
        if not self.world.mutation.epochs_unchecked:
            if leader_epoch < partition.leader_epoch:
                return Answer(int(ErrorCode.FENCED_LEADER_EPOCH))
            if leader_epoch > partition.leader_epoch:
                return Answer(int(ErrorCode.UNKNOWN_LEADER_EPOCH))
        log = self.log_of(partition)
        mutation = self.world.mutation
        if last_epoch >= 0 and not (
            mutation.epochs_unchecked or mutation.truncates_at_high_watermark
        ):
            epoch, end = log.end_offset_for_epoch(last_epoch)
            if epoch < 0 or end < 0:
                return Answer(int(ErrorCode.OFFSET_OUT_OF_RANGE))
            if epoch < last_epoch or end < offset:
                return Answer(0, diverging_epoch=epoch, diverging_end_offset=end)
        if not 0 <= offset <= log.end:
            return Answer(int(ErrorCode.OFFSET_OUT_OF_RANGE))
        code = partition.replica_fetched(replica_id, replica_epoch, offset, log_start)
        if code:
            return Answer(code)
        return Answer(
            0, partition.high_watermark, 0, base_offset=offset, records=log.fetched(offset)
        )

    def log_of(self, partition: Partition) -> SimLog:
        found = self.logs.get(partition.topic.decode(), partition.index)
        assert found is not None
        return found

    async def leader_offsets(self, partition: Any) -> tuple[int, int]:
        """As followed.LeaderOffsets."""
        key = partition.topic_id, partition.index

        async def serve(leader: SimNode) -> tuple[int, int]:
            led = leader.replicas.partition_by_id(*key)
            if led is None or led.error_code:
                raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
            return 0, leader.log_of(led).end

        try:
            found: tuple[int, int] = await self.world.ask_node(
                self.node_id, partition.leader_id, serve, FETCH_TIMEOUT_S
            )
        except Lost:
            raise PeerUnavailableError("lost") from None
        return found


def _kind_of_log(topic: str) -> tuple[type[SimLog], Callable[[bytes], Any]]:
    """Values are enough for plain producers; coordinators and transactions need batches."""
    return (SimLog, Stored) if topic == "t" else (BatchLog, StoredBatches)


def _raise(task: asyncio.Task[None]) -> None:
    """Tasks of a node run until it is killed; what they raise would end the worker, and ends the
    run here.
    """
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def with_simulated_parts(run: Callable[[], Any]) -> Any:
    """Runs with SimPart in the native part's place."""
    native = followed_module.FetchedPart
    followed_module.FetchedPart = SimPart  # type: ignore[misc, assignment]
    try:
        return run()
    finally:
        followed_module.FetchedPart = native  # type: ignore[misc]

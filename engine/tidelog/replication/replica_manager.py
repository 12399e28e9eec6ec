"""Keeps the partition table and the logs of this node in step with the metadata, and serves
internal writers.

Belongs to the worker's loop task; owns the PartitionTable. It opens and closes the gates that the
native lanes look at; it never parses a request. Disk work is the log manager's, on helper threads;
only this class decides which log serves which partition.

`apply` is called with every new image, one call after the other. It puts the topics of the whole
cluster into the table: those led elsewhere answer NOT_LEADER_OR_FOLLOWER. When it returns, every
partition that the image gives to this node to lead serves, or is offline because its disk failed
(which is logged and answered with KAFKA_STORAGE_ERROR, never hidden), or its log is still being
recovered: it answers NOT_LEADER_OR_FOLLOWER until that is done, and serves then. Those that it is
to follow are in the fetchers' hands (`fetcher`); the ISRs of those that it leads in `isr_changes`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from tidelog._native.log import STATUS_APPENDED, STATUS_DUPLICATE, STATUS_NEEDS_ROLL
from tidelog._native.partition import (
    DELETED,
    NOT_LEADER,
    OFFLINE,
    Partition,
    PartitionTable,
    TopicEntry,
)
from tidelog.clock import Clock
from tidelog.config import ResourceType
from tidelog.errors import InvariantError, KafkaError, StorageError, may_be_tried_again
from tidelog.metadata.difference import difference
from tidelog.metadata.image import MetadataImage, PartitionImage, TopicImage
from tidelog.metadata.records import CLUSTER_DEFAULT, NO_LEADER
from tidelog.protocol.error_codes import ErrorCode
from tidelog.replication.isr_changes import IsrChanges
from tidelog.replication.node_config import NodeConfig
from tidelog.replication.throttle import Throttles, is_throttled
from tidelog.storage.log_directories import DirectoryOfflineError

if TYPE_CHECKING:
    from tidelog.storage.log import PartitionLog
    from tidelog.storage.log_directories import LogDirectories

log: Final = logging.getLogger(__name__)

#: How long after a log found no room or no descriptor it is made again.
MAKE_AGAIN_S: Final = 1.0

#: How often it is looked whether the replicas have deleted, too.
LOW_WATERMARK_LOOK_S: Final = 0.02

#: "The client did not say which leader epoch it knows."
NO_LEADER_EPOCH: Final = -1


class AppendOutcome(NamedTuple):
    """Where an internal batch landed."""

    base_offset: int
    last_offset: int


class Fetchers(Protocol):
    """Who copies from the leaders what this node follows."""

    def follow(self, partition: Partition, held: PartitionLog) -> None:
        """The partition is opened as a follower; copies from its leader of the present epoch."""
        ...

    async def leave(self, partition: Partition) -> None:
        """Returns when nothing of it is in work any more."""
        ...

    def nodes_changed(self, image: MetadataImage) -> None:
        """Nodes have come, gone or moved."""
        ...

    async def close(self) -> None: ...


class ReplicaManager:
    """One per worker."""

    def __init__(
        self,
        node_id: int,
        table: PartitionTable,
        logs: LogDirectories,
        node_config: NodeConfig,
        clock: Clock,
        *,
        isr: IsrChanges,
        fetchers: Fetchers,
        throttles: Throttles | None = None,
    ) -> None:
        self.node_id = node_id
        self.table = table
        self.logs = logs
        self._node_config = node_config
        self._clock = clock
        self._isr = isr
        self._fetchers = fetchers
        self._throttles = throttles
        self._checking_lag: asyncio.Task[None] | None = None
        self._applying = asyncio.Lock()
        self._image = MetadataImage()
        self._late: set[tuple[str, int]] = set()  # to be served when their logs are open
        self._tasks: set[asyncio.Task[None]] = set()
        logs.on_offline = self._log_failed
        logs.on_opened = self._log_opened
        #: Called with (partition, leader epoch or None) when this node begins or ceases to lead a
        #: partition (coordinators).
        self.leadership_listeners: list[Callable[[Partition, int | None], object]] = []
        #: Called with every topic that was deleted.
        self.deletion_listeners: list[Callable[[TopicImage], object]] = []

    # -- look-ups -----------------------------------------------------------------------------

    @property
    def image(self) -> MetadataImage:
        """The newest metadata, also while it is being applied: who hears of a new leadership finds
        here what it is part of.
        """
        return self._image

    def partition(self, topic: str, index: int) -> Partition | None:
        """The partition, led here or elsewhere; None when the cluster has no such partition."""
        return self.table.partition(topic.encode(), index)

    def partition_by_id(self, topic_id: bytes, index: int) -> Partition | None:
        """The same by topic id."""
        entry = self.table.get_by_id(topic_id)
        if entry is None or not 0 <= index < len(entry.partitions):
            return None
        return entry.partitions[index]

    def leader(
        self, topic: str, index: int, current_leader_epoch: int = NO_LEADER_EPOCH
    ) -> Partition:
        """The partition, if this node serves it and the client's view of its leader is the present
        one.

        Raises KafkaError: UNKNOWN_TOPIC_OR_PARTITION, FENCED_LEADER_EPOCH (the client knows an
        older leader), UNKNOWN_LEADER_EPOCH (a newer one), NOT_LEADER_OR_FOLLOWER,
        KAFKA_STORAGE_ERROR.
        """
        found = self.partition(topic, index)
        if found is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if self.node_id not in found.replicas:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if current_leader_epoch != NO_LEADER_EPOCH:
            if current_leader_epoch < found.leader_epoch:
                raise KafkaError(ErrorCode.FENCED_LEADER_EPOCH)
            if current_leader_epoch > found.leader_epoch:
                raise KafkaError(ErrorCode.UNKNOWN_LEADER_EPOCH)
        if found.error_code:
            raise KafkaError(found.error_code)
        return found

    def led(self) -> Iterator[Partition]:
        """The partitions that this node leads."""
        for entry in self.table.topics():
            yield from (partition for partition in entry.partitions if partition.is_leader)

    def log_of(self, partition: Partition) -> PartitionLog:
        """The log behind a partition that this node serves."""
        found = self.logs.get(partition.topic.decode(), partition.index)
        if found is None:
            raise InvariantError(f"{partition!r} is served without a log")
        return found

    # -- metadata -----------------------------------------------------------------------------

    async def apply(self, old: MetadataImage, new: MetadataImage) -> None:
        """Follow the metadata from one image to the next. Returns when the leaders of this node
        serve.
        """
        async with self._applying:
            self._image = new
            if new.nodes is not old.nodes:
                self._isr.nodes_changed(
                    {node.node_id: node.epoch for node in new.nodes.values() if node.is_live}
                )
                self._fetchers.nodes_changed(new)
            changes = difference(old, new)
            await self._run(self._delete_topic(topic) for topic in changes.deleted)
            await self._run(self._create_topic(topic, new) for topic in changes.created)
            await self._run(self._change_topic(topic, new) for _, topic in changes.changed)
            self._apply_configs(changes.configs, new)

    def run(self) -> None:
        """Looks from time to time for replicas that lag behind; ended by shutdown()."""
        self._checking_lag = asyncio.get_running_loop().create_task(self._check_lag())

    async def _check_lag(self) -> None:
        while True:
            await asyncio.sleep(self._isr.view.lag_time_max_ms / 2000)
            self._isr.check_lag()

    async def shutdown(self) -> None:
        """Stop serving: every partition of this node is closed. The logs are the log manager's to
        close.
        """
        if self._checking_lag is not None:
            self._checking_lag.cancel()
        async with self._applying:
            await self._fetchers.close()
            await self._isr.close()
            self._late.clear()
            for entry in self.table.topics():
                for partition in entry.partitions:
                    if partition.is_leader or partition.is_follower:
                        self._close(partition, NOT_LEADER)

    @staticmethod
    async def _run(steps: Iterable[Awaitable[None]]) -> None:
        """Run all steps at once and to their end, then let the first exception through."""
        results = await asyncio.gather(*steps, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _create_topic(self, topic: TopicImage, image: MetadataImage) -> None:
        partitions = [self._new_partition(topic, index) for index in range(len(topic.partitions))]
        self.table.put(TopicEntry(topic.name.encode(), topic.topic_id, partitions))
        await self._run(
            self._follow_partition(partition, state, image)
            for partition, state in zip(partitions, topic.partitions, strict=True)
        )

    async def _change_topic(self, topic: TopicImage, image: MetadataImage) -> None:
        name = topic.name.encode()
        entry = self.table.get(name)
        if entry is None:
            raise InvariantError(f"topic {topic.name} changes, but the table has none")
        partitions = entry.partitions
        if len(partitions) < len(topic.partitions):
            more = range(len(partitions), len(topic.partitions))
            partitions = partitions + [self._new_partition(topic, index) for index in more]
            self.table.put(TopicEntry(name, topic.topic_id, partitions))
        await self._run(
            self._follow_partition(partition, state, image)
            for partition, state in zip(partitions, topic.partitions, strict=True)
            if _is_news(partition, state)
        )

    async def _delete_topic(self, topic: TopicImage) -> None:
        name = topic.name.encode()
        entry = self.table.get(name)
        if entry is None:
            raise InvariantError(f"topic {topic.name} is deleted, but the table has none")
        self.table.remove(name)
        for partition in entry.partitions:
            self._close(partition, DELETED)
            await self._fetchers.leave(partition)
        for listener in self.deletion_listeners:
            listener(topic)
        await self._run(self._delete_log(topic.name, p.index) for p in entry.partitions)

    def _new_partition(self, topic: TopicImage, index: int) -> Partition:
        return Partition(topic.name.encode(), topic.topic_id, index, self.table.progress)

    async def _follow_partition(
        self, partition: Partition, state: PartitionImage, image: MetadataImage
    ) -> None:
        """Make one partition what the metadata says that it is."""
        partition.set_leadership(
            state.leader, state.leader_epoch, state.partition_epoch, state.replicas, state.isr
        )
        name = partition.topic.decode()
        if self.node_id not in state.replicas:
            await self._leave(partition, NOT_LEADER)
            await self._delete_log(name, partition.index)
            return
        if self.logs.is_opening(name, partition.index):
            self._late.add((name, partition.index))
            await self._leave(partition, NOT_LEADER)
            return
        held = await self._open_log(partition, image)
        if held is None:
            await self._leave(partition, OFFLINE)
            return
        held.is_replicated = len(state.replicas) > 1
        if state.leader == self.node_id:
            await self._fetchers.leave(partition)
            self._lead(partition, held)
        else:
            self._follow(partition, held)
            if state.leader == NO_LEADER:
                await self._fetchers.leave(partition)

    def _lead(self, partition: Partition, held: PartitionLog) -> None:
        """Serve it, in the present leader epoch."""
        self._set_min_insync_replicas(partition, held)
        self._set_throttle(partition, leads=True)
        if not partition.is_leader or partition.served_epoch != partition.leader_epoch:
            held.assign_epoch(partition.leader_epoch)
            held.on_progress = partition.update_progress
            high_watermark = self._high_watermark(partition, held)
            partition.open_as_leader(held.core, high_watermark, self._isr.view)
        else:
            partition.follow_replicas(self._isr.view)
        self._isr.led(partition)
        for listener in self.leadership_listeners:
            listener(partition, partition.leader_epoch)

    def _follow(self, partition: Partition, held: PartitionLog) -> None:
        """Copy it from its leader."""
        led = partition.is_leader
        if not partition.is_follower:
            held.on_progress = None
            partition.open_as_follower(held.core, self._high_watermark(partition, held))
        self._set_throttle(partition, leads=False)
        if led:
            self._ceased(partition)
        if partition.leader_id != NO_LEADER:
            self._fetchers.follow(partition, held)

    def _high_watermark(self, partition: Partition, held: PartitionLog) -> int:
        """What is known to be committed of a log whose role changes."""
        held.high_watermark = lambda: partition.high_watermark
        if partition.log is held.core:
            return partition.high_watermark
        return self.logs.take_high_watermark(held)

    async def _leave(self, partition: Partition, gates: int) -> None:
        """Neither lead nor follow it."""
        self._close(partition, gates)
        await self._fetchers.leave(partition)

    def _close(self, partition: Partition, gates: int) -> None:
        led = partition.is_leader
        partition.close(gates)
        if led:
            self._ceased(partition)

    def _ceased(self, partition: Partition) -> None:
        self._isr.ceased(partition)
        for listener in self.leadership_listeners:
            listener(partition, None)

    # -- logs ---------------------------------------------------------------------------------

    async def _open_log(self, partition: Partition, image: MetadataImage) -> PartitionLog | None:
        """The log of a replica of this node, made if it is new; None when it cannot be served."""
        name, index = partition.topic.decode(), partition.index
        held = self.logs.get(name, index)
        config = self._node_config.topic(image, name)
        if held is not None:
            if held.topic_id != partition.topic_id:
                log.error("log of another topic topic=%s partition=%d", name, index)
                return None
            if held.config != config:
                held.set_config(config)
            return None if held.offline else held
        try:
            return await self.logs.create(name, partition.topic_id, index, config)
        except DirectoryOfflineError:
            self._late.discard((name, index))
            return None
        except (StorageError, OSError) as error:
            if not may_be_tried_again(error):
                log.error("log cannot be made topic=%s partition=%d error=%s", name, index, error)
                self._late.discard((name, index))
                return None
            if (name, index) not in self._late:
                log.error("log cannot be made yet topic=%s partition=%d error=%s",
                          name, index, error)  # fmt: skip
            self._late.add((name, index))
            asyncio.get_running_loop().call_later(MAKE_AGAIN_S, self._log_opened, name, index)
            return None

    def _log_opened(self, topic: str, index: int) -> None:
        if (topic, index) in self._late:
            task = asyncio.get_running_loop().create_task(self._serve_late(topic, index))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve_late(self, topic: str, index: int) -> None:
        """A log is open only now: its partition becomes what the metadata says by now."""
        async with self._applying:
            if (topic, index) not in self._late:
                return
            partition = self.partition(topic, index)
            state = self._image.partition(topic, index)
            if partition is None or state is None or partition.topic_id != self._id_of(topic):
                self._late.discard((topic, index))
                return
            await self._follow_partition(partition, state, self._image)
            if self.logs.get(topic, index) is not None:
                self._late.discard((topic, index))
                log.warning("log opened late topic=%s partition=%d", topic, index)

    def _id_of(self, topic: str) -> bytes | None:
        found = self._image.topics.get(topic)
        return None if found is None else found.topic_id

    def _log_failed(self, held: PartitionLog, error: BaseException) -> None:
        """A disk error fenced the log: its partition answers so at once."""
        partition = self.partition(held.topic, held.index)
        if partition is not None and partition.topic_id == held.topic_id:
            self._close(partition, OFFLINE)

    async def _delete_log(self, topic: str, index: int) -> None:
        self._late.discard((topic, index))
        await self.logs.end_of_opening(topic, index)
        held = self.logs.get(topic, index)
        if held is None:
            return
        held.on_progress = held.high_watermark = None
        try:
            await self.logs.delete(held)
        except (StorageError, OSError) as error:
            log.error("log cannot be deleted topic=%s partition=%d error=%s", topic, index, error)

    def _apply_configs(self, changed: Iterable[tuple[int, str]], image: MetadataImage) -> None:
        topics = set()
        for resource_type, name in changed:
            if resource_type == ResourceType.TOPIC:
                topics.add(name)
            elif resource_type == ResourceType.BROKER and name in (
                CLUSTER_DEFAULT,
                str(self.node_id),
            ):
                topics.update(held.topic for held in self.logs.logs())
        for held in self.logs.logs() if topics else ():
            if held.topic not in topics or held.topic not in image.topics:
                continue
            config = self._node_config.topic(image, held.topic)
            if config == held.config:
                continue
            held.set_config(config)
            partition = self.partition(held.topic, held.index)
            if partition is None:
                continue
            if partition.is_leader:
                self._set_min_insync_replicas(partition, held)
            if partition.is_leader or partition.is_follower:
                self._set_throttle(partition, leads=partition.is_leader)

    @staticmethod
    def _set_min_insync_replicas(partition: Partition, held: PartitionLog) -> None:
        """Never more than there are replicas, as in Kafka: a topic with one stays writable."""
        wanted = held.config.min_insync_replicas
        partition.set_min_insync_replicas(min(wanted, max(len(partition.replicas), 1)))

    def _set_throttle(self, partition: Partition, *, leads: bool) -> None:
        """KIP-73: the lists of a topic name this node's replica as the one that copies are made of,
        and as a copy.
        """
        if self._throttles is None:
            return
        config = self._node_config.topic(self._image, partition.topic.decode())
        replicas = config.follower_replication_throttled_replicas
        throttle = self._throttles.follower
        if leads:
            replicas = config.leader_replication_throttled_replicas
            throttle = self._throttles.leader
        throttled = is_throttled(replicas, partition.index, self.node_id)
        partition.set_throttle(throttle if throttled else None)

    # -- internal writers ---------------------------------------------------------------------

    async def append(
        self, partition: Partition, batch: bytes | bytearray, acks: int = -1
    ) -> AppendOutcome:
        """Append a batch that the broker built, as its partition's leader.

        Offsets and leader epoch are stamped here. With acks=-1 it returns when the batch is
        committed, otherwise when it is in the log. Cancelling the wait does not undo the append.
        Raises KafkaError: the gate's error, or why it was refused.
        """
        stamped = bytearray(batch)
        while True:
            if partition.error_code:
                raise KafkaError(partition.error_code)
            status, error_code, base_offset, last_offset = partition.append_built(
                stamped, self._clock.wall_ms()
            )
            if status in (STATUS_APPENDED, STATUS_DUPLICATE):
                break
            if status != STATUS_NEEDS_ROLL:
                raise KafkaError(error_code)
            await self.roll(partition)
        if acks == -1:
            await self.wait_committed(partition, last_offset)
        return AppendOutcome(base_offset, last_offset)

    async def wait_committed(self, partition: Partition, last_offset: int) -> None:
        """Return when everything up to the offset is committed. Raises KafkaError when the gate
        closes before.
        """
        if not partition.error_code and not partition.is_acknowledged(last_offset):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiter = partition.when_acknowledged(last_offset + 1, lambda: _finish(future))
            try:
                await future
            finally:
                waiter.forget()
        if partition.error_code:
            raise KafkaError(partition.error_code)

    async def roll(self, partition: Partition) -> None:
        """Make room for the next batch. Raises KafkaError."""
        try:
            await self.log_of(partition).roll()
        except (StorageError, OSError) as error:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from error

    async def delete_records(
        self, partition: Partition, offset: int, timeout_ms: int = 30_000
    ) -> int:
        """Move the log start of a partition that this node leads (DeleteRecords); -1 stands for the
        high watermark. Returns when every live replica has moved its own.

        Returns the low watermark: the least of their starts. Raises KafkaError: POLICY_VIOLATION (a
        compacted topic that deletes nothing), OFFSET_OUT_OF_RANGE, REQUEST_TIMED_OUT.
        """
        held = self.log_of(partition)
        if held.config.compact and not held.config.delete:
            raise KafkaError(ErrorCode.POLICY_VIOLATION)
        if offset == -1:
            offset = partition.high_watermark
        if not 0 <= offset <= partition.high_watermark:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        try:
            await held.delete_records(offset)
        except (StorageError, OSError) as error:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from error
        deadline_ms = self._clock.monotonic_ms() + timeout_ms
        while True:
            if partition.error_code:
                raise KafkaError(partition.error_code)
            least = held.core.log_start_offset
            if partition.followers is not None:
                least = partition.followers.least_log_start(least)
            if least >= offset:
                return least
            if self._clock.monotonic_ms() >= deadline_ms:
                raise KafkaError(ErrorCode.REQUEST_TIMED_OUT)
            await asyncio.sleep(LOW_WATERMARK_LOOK_S)


def _is_news(partition: Partition, state: PartitionImage) -> bool:
    """The controller may have told this leader of a later ISR than the image has. Once the image
    has that, too, it may say more: what ends a reassignment changes replicas and leader epoch.
    """
    if partition.partition_epoch != state.partition_epoch:
        return partition.partition_epoch < state.partition_epoch
    return partition.leader_epoch < state.leader_epoch or partition.replicas != state.replicas


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

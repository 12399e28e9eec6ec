"""A node's services for handler tests: the real controller machine, registry and partition table;
logs and groups are fakes.

Requests go through the dispatcher in their wire form, so every test also holds the message tables
to what the handler fills in.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.unit.controller.worlds import World as ControllerWorld
from tidelog._native.log import LogCore
from tidelog._native.partition import OFFLINE, Partition, PartitionTable, Progress
from tidelog._native.producer_state import ProducerStates
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.controller.client import ControllerTimeout
from tidelog.controller.requests import (
    AllocateProducerIds,
    AllocateProducerIdsAnswer,
    ControllerAnswer,
    ControllerRequest,
    NewTopic,
)
from tidelog.coordinator.producer_ids import ProducerIdManager
from tidelog.errors import KafkaError
from tidelog.handlers.context import ConnectionInfo, Services
from tidelog.handlers.dispatch import Dispatcher
from tidelog.handlers.metadata_cache import MetadataCache
from tidelog.handlers.registry import APIS, HANDLERS
from tidelog.handlers.topic_creation import TopicCreation
from tidelog.limits import REPLICATION_FACTOR_MAX
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.isr import IsrChange
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.schema import Request
from tidelog.quotas.node import NodeQuotas
from tidelog.quotas.replication import ReplicationQuotas
from tidelog.replication.isr_changes import IsrChanges
from tidelog.replication.node_config import NodeConfig
from tidelog.replication.replica_manager import ReplicaManager
from tidelog.storage.log_directories import DirectoryView
from tidelog.storage.timestamps import TimestampOffset

NODE_ID = 1


class FakeLog:
    """What a PartitionLog shows to handlers; offsets are set by the test."""

    def __init__(self, topic: str, topic_id: bytes, index: int, config: TopicConfig) -> None:
        self.topic = topic
        self.topic_id = topic_id
        self.index = index
        self.config = config
        self.core = LogCore(ProducerStates(), self)
        self.epochs: list[tuple[int, int]] = []
        self.times: list[tuple[int, int]] = []
        self.deleted = False
        self.fails = False
        self.on_progress: object = None
        self.high_watermark: object = None
        self.offline = False
        self.is_replicated = False
        self.set_offsets(0, 0)

    def set_offsets(self, start: int, end: int) -> None:
        self.core.install([], log_start_offset=start, log_end_offset=end, recovery_point=start)

    def set_config(self, config: TopicConfig) -> None:
        self.config = config

    def assign_epoch(self, epoch: int) -> None:
        self.epochs.append((epoch, self.core.log_end_offset))

    def epoch_for_offset(self, offset: int) -> int:
        return max((epoch for epoch, start in self.epochs if start <= offset), default=-1)

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        if not self.epochs or epoch < self.epochs[0][0]:
            return -1, -1
        return min(epoch, self.epochs[-1][0]), self.core.log_end_offset

    async def find_offset(self, timestamp: int | None) -> TimestampOffset | None:
        await asyncio.sleep(0)
        if timestamp is None:
            wanted = max(self.times, default=None)
        else:
            wanted = next((each for each in self.times if each[0] >= timestamp), None)
        return wanted and TimestampOffset(*wanted, self.epoch_for_offset(wanted[1]))

    async def delete_records(self, offset: int) -> None:
        if self.fails:
            raise OSError(5, "no more disk")
        self.core.increment_log_start_offset(offset)


class FakeLogs:
    """LogDirectories without a disk. `broken`: topics whose logs cannot be made; `opening`: logs
    that are being recovered, until `end_opening`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broken: set[str] = set()
        self.tries = 0  # of create
        self.on_offline: Any = None
        self.on_opened: Any = None
        self.opening: dict[tuple[str, int], asyncio.Event] = {}
        #: What the checkpoint says, by (topic, index).
        self.checkpointed: dict[tuple[str, int], int] = {}
        self._logs: dict[tuple[str, int], FakeLog] = {}

    def take_high_watermark(self, log: FakeLog) -> int:
        """The high watermark in the checkpoint."""
        return self.checkpointed.pop((log.topic, log.index), -1)

    def views(self) -> list[DirectoryView]:
        return [DirectoryView(str(self.directory), None, self.logs(), [])]  # type: ignore[arg-type]

    def move(self, log: FakeLog, path: str) -> None:
        assert path == str(self.directory)

    def wish(self, topic: str, index: int, path: str) -> bool:
        return True

    def get(self, topic: str, index: int) -> FakeLog | None:
        return self._logs.get((topic, index))

    def logs(self) -> list[FakeLog]:
        return list(self._logs.values())

    def is_opening(self, topic: str, index: int) -> bool:
        return (topic, index) in self.opening

    async def end_of_opening(self, topic: str, index: int) -> None:
        if (topic, index) in self.opening:
            await self.opening[topic, index].wait()

    def end_opening(self, log: FakeLog) -> None:
        key = (log.topic, log.index)
        self._logs[key] = log
        self.opening.pop(key).set()
        self.on_opened(*key)

    async def create(self, topic: str, topic_id: bytes, index: int, config: TopicConfig) -> FakeLog:
        await asyncio.sleep(0)
        self.tries += 1
        if topic in self.broken:
            raise OSError(28, "no space left")
        made = self._logs[topic, index] = FakeLog(topic, topic_id, index, config)
        return made

    async def delete(self, log: FakeLog) -> None:
        await asyncio.sleep(0)
        log.deleted = True
        del self._logs[log.topic, log.index]


class FakeGroups:
    """Answers each call with `answers[method]` (a message, an exception, or a function of the
    request); with `now[method]` calls that are not awaited.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.now: dict[str, Any] = {}
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)

        async def ask(*arguments: Any) -> Any:
            self.asked.append((method, *arguments[:-1]))
            return _answer(self.answers[method], arguments)

        if method in self.now:
            return lambda *arguments: _answer(self.now[method], arguments)
        return ask


class FakeTransactions:
    """Answers each call with `answers[method]` (a value, an exception, or a function of the
    arguments).
    """

    _AT_ONCE = ("verify_partitions", "describe_transaction", "list_transactions")

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)

        def now(*arguments: Any) -> Any:
            self.asked.append((method, *arguments))
            return _answer(self.answers[method], (*arguments, None))

        async def ask(*arguments: Any) -> Any:
            return now(*arguments)

        return now if method in self._AT_ONCE else ask


def _answer(answer: Any, arguments: tuple[Any, ...]) -> Any:
    if callable(answer):
        answer = answer(*arguments[:-1])
    if isinstance(answer, Exception):
        raise answer
    return answer


async def no_isr_changes(changes: tuple[IsrChange, ...]) -> None:
    """As isr_changes.ChangeIsrs: nobody answers."""
    await asyncio.sleep(0)


class FakeFetchers:
    """Remembers what the node follows: {(topic, index): (leader id, leader epoch)}."""

    def __init__(self) -> None:
        self.following: dict[tuple[str, int], tuple[int, int]] = {}
        self.images: list[MetadataImage] = []

    def follow(self, partition: Partition, held: Any) -> None:
        assert partition.is_follower
        assert partition.log is held.core
        key = partition.topic.decode(), partition.index
        self.following[key] = partition.leader_id, partition.leader_epoch

    async def leave(self, partition: Partition) -> None:
        await asyncio.sleep(0)
        self.following.pop((partition.topic.decode(), partition.index), None)

    def nodes_changed(self, image: MetadataImage) -> None:
        self.images.append(image)

    async def close(self) -> None:
        self.following.clear()


class Node:
    """One node of a small cluster: ask it something in any version of an API."""

    def __init__(
        self,
        nodes: int = 2,
        static: Mapping[str, str] | None = None,
        directory: Path = Path("."),
        replication_factor_max: int = REPLICATION_FACTOR_MAX,
    ) -> None:
        self.static = dict(static or {})
        self.controller = ControllerWorld(
            nodes, self.static, replication_factor_max=replication_factor_max
        )
        self.clock = ManualClock()
        self.silent = False
        #: The image that this node has; follows the controller's unless `lagging`.
        self.image = MetadataImage()
        self.lagging = False
        self.table = PartitionTable(Progress())
        self.logs = FakeLogs(directory)
        self.node_config = NodeConfig(NODE_ID, self.static)
        self.fetchers = FakeFetchers()
        self.isr = IsrChanges(NODE_ID, 0, no_isr_changes, self.clock, lag_time_max_ms=30_000)
        self.throttles = ReplicationQuotas(self.node_config.broker(self.image), self.clock)
        self.replicas = ReplicaManager(
            NODE_ID,
            self.table,
            self.logs,  # type: ignore[arg-type]
            self.node_config,
            self.clock,
            isr=self.isr,
            fetchers=self.fetchers,
            throttles=self.throttles,
        )
        self.groups = FakeGroups()
        self.transactions = FakeTransactions()
        self.quotas = NodeQuotas(self.node_config.broker(self.image), self.clock)
        self.requests: list[ControllerRequest] = []
        self.services = Services(
            node_id=NODE_ID,
            clock=self.clock,
            node_config=self.node_config,
            metadata=self,
            controller=self,
            replicas=self.replicas,
            groups=self.groups,
            transactions=self.transactions,
            producer_ids=ProducerIdManager(self._allocate_producer_ids),
            topic_creation=TopicCreation(self),
            metadata_cache=MetadataCache(),
            quotas=self.quotas,
            apis=APIS,
        )
        self.dispatcher = Dispatcher(self.services, HANDLERS)
        self.connection = ConnectionInfo(7, "127.0.0.9", "PLAINTEXT", "127.0.0.1", 9092)
        self._correlation_ids = itertools.count(100)

    async def _allocate_producer_ids(self) -> range:
        try:
            answer = await self.request(AllocateProducerIds(NODE_ID, 0), 1000)
        except ControllerTimeout:
            raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS) from None
        assert isinstance(answer, AllocateProducerIdsAnswer)
        first = answer.first_producer_id
        return range(first, first + answer.length)

    async def request(self, request: ControllerRequest, timeout_ms: int) -> ControllerAnswer:
        """The controller, as ControllerClient."""
        await asyncio.sleep(0)
        self.requests.append(request)
        if self.silent:
            raise ControllerTimeout("silent")
        answer = self.controller.ask(request)
        await self.follow()
        return answer

    async def follow(self) -> None:
        """Apply what the controller decided."""
        if self.lagging or self.image is self.controller.image:
            return
        old, new = self.image, self.controller.image
        await self.replicas.apply(old, new)
        self.quotas.follow(new.quotas)
        self.image = new

    async def create(self, *topics: NewTopic) -> None:
        """Topics that are there before the test begins."""
        assert set(self.controller.create(*topics)) <= {0}
        await self.follow()

    def log(self, topic: str, index: int = 0) -> FakeLog:
        found = self.logs.get(topic, index)
        assert found is not None
        return found

    def set_offsets(self, topic: str, index: int, start: int, end: int) -> None:
        """Give a partition of this node a log with these offsets, all committed."""
        log = self.log(topic, index)
        log.set_offsets(start, end)
        partition = self.replicas.partition(topic, index)
        assert partition is not None
        partition.open_as_leader(log.core)

    def take_offline(self, topic: str, index: int) -> None:
        partition = self.replicas.partition(topic, index)
        assert partition is not None
        partition.close(OFFLINE)

    async def ask(self, request: Request, version: int) -> Any:
        """The decoded answer to a request that was sent in this version."""
        await self.follow()
        correlation_id = next(self._correlation_ids)
        frame = encode_request_frame(request, version, correlation_id, "test")
        answer = self.dispatcher.dispatch(memoryview(frame)[4:], self.connection)
        if not isinstance(answer, bytes):
            answer = await answer
        assert int.from_bytes(answer[:4], "big") == len(answer) - 4
        answered_id, decoded = decode_response(type(request).API, version, answer[4:])
        assert answered_id == correlation_id
        return decoded


def led_partitions(node: Node, topic: str) -> list[int]:
    """The partitions of the topic that the node under test leads."""
    return [p.index for p in node.image.topics[topic].partitions if p.leader == NODE_ID]


def refusal(code: int, message: str | None = None) -> KafkaError:
    return KafkaError(code, message)

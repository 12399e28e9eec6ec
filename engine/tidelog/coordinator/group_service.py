"""The group coordinator of a node, as handlers see it: finds the shard of a group and runs its
operation there.

Belongs to the worker's loop task. Implements `handlers.context.GroupCoordinator`. It decides
nothing about groups.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from tidelog.bounded_log import BoundedLog
from tidelog.clock import Clock
from tidelog.config import BrokerConfig
from tidelog.coordinator.group.assignors import usable
from tidelog.coordinator.group.classic import member_id_of
from tidelog.coordinator.group.config import GroupConfig
from tidelog.coordinator.group.member import Caller
from tidelog.coordinator.group.memory import GroupMemory, MemoryLimitError
from tidelog.coordinator.group.shard import GroupShard
from tidelog.coordinator.group.subscriptions import TopicMatcher
from tidelog.coordinator.partitioning import coordinator_partition
from tidelog.coordinator.runtime import CoordinatorRuntime, LogSettings, translated
from tidelog.coordinator.shard import Random, Result, Timers
from tidelog.errors import KafkaError
from tidelog.limits import GROUP_LOG_LINES_PER_SECOND
from tidelog.metadata.image import MetadataImage, TopicImage
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.consumer_group_describe import DescribedGroup as ConsumerDescribed
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from tidelog.protocol.messages.describe_groups import DescribedGroup
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from tidelog.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from tidelog.protocol.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from tidelog.protocol.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchResponseGroup,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from tidelog.protocol.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)
from tidelog.record.builder import Producer
from tidelog.replication.markers import Marker
from tidelog.replication.transaction_gate import TransactionGate, Writer
from tidelog.types import GROUP_METADATA_TOPIC

if TYPE_CHECKING:
    from tidelog.replication.replica_manager import ReplicaManager

log: Final = logging.getLogger(__name__)

#: From this version a new member is first told its id (KIP-394).
_KNOWN_MEMBER_ID_FROM = 4
#: From this version a leader may be told to skip the assignment (KIP-814).
_SKIP_ASSIGNMENT_FROM = 9


#: From this version of TxnOffsetCommit on a client knows TRANSACTION_ABORTABLE.
_ABORTABLE_FROM = 4
#: From this version on its partition of `__consumer_offsets` joins the transaction by it.
_ADDS_FROM = 5
_NOT_HERE = frozenset(
    (
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.NOT_COORDINATOR,
    )
)


#: So much of a name of the peer's choice stands in the log.
_LOGGED_CHARS_MAX = 255


class ClientConnection(Protocol):
    """What the service needs of a connection."""

    @property
    def client_host(self) -> str: ...


class RequestInfo(Protocol):
    """What the service needs of a handler's RequestContext."""

    @property
    def api_version(self) -> int: ...

    @property
    def client_id(self) -> str | None: ...

    @property
    def connection(self) -> ClientConnection: ...


class GroupService:
    """One per worker. `image()` and `config()` are read anew for every request."""

    def __init__(
        self,
        replicas: ReplicaManager,
        clock: Clock,
        rng: Random,
        image: Callable[[], MetadataImage],
        config: Callable[[], BrokerConfig],
    ) -> None:
        self._image = image
        self._config = config
        self._rng = rng
        self._matcher = TopicMatcher()
        self._memory = GroupMemory(self._held_bytes)
        self._refusals = BoundedLog(log, clock, GROUP_LOG_LINES_PER_SECOND)
        self.runtime: CoordinatorRuntime[GroupShard] = CoordinatorRuntime(
            GROUP_METADATA_TOPIC,
            replicas,
            clock,
            self._make_shard,
            LogSettings(
                config().offsets_load_buffer_size,
                config().offsets_commit_timeout_ms,
                config().offsets_topic_compression_codec,
            ),
        )
        #: The broker's configs, and what shards get of them.
        self._made: tuple[BrokerConfig, GroupConfig] | None = None
        #: (name, id) of topics that were deleted since the last sweep began.
        self._deleted_topics: list[tuple[str, bytes]] = []
        replicas.deletion_listeners.append(self._on_topic_deleted)
        self._replicas = replicas
        #: Asks the coordinators of transactions; given by whoever puts the node together.
        self.transactions: TransactionGate | None = None

    def _make_shard(self, index: int, timers: Timers) -> GroupShard:
        return GroupShard(
            self.group_config, self._image, timers, self._rng, self._matcher, self._memory
        )

    def _held_bytes(self) -> int:
        return sum(shard.registry.held_bytes for shard in self.runtime.active_shards())

    def _note(self, group_id: str, context: RequestInfo, error: MemoryLimitError) -> None:
        self._refusals.warning(
            "group member refused group=%s client=%s client_id=%s reason=%s",
            group_id[:_LOGGED_CHARS_MAX],
            context.connection.client_host,
            (context.client_id or "")[:_LOGGED_CHARS_MAX],
            error.message,
        )

    def group_config(self) -> GroupConfig:
        """The broker's configs of the moment, as shards want them: made once per change."""
        config = self._config()
        if self._made is None or self._made[0] is not config:
            self._made = (config, _group_config(config))
        return self._made[1]

    def _index(self, group_id: str) -> int:
        topic = self._image().topics.get(GROUP_METADATA_TOPIC)
        if topic is None:
            raise KafkaError(ErrorCode.NOT_COORDINATOR)
        return coordinator_partition(group_id, len(topic.partitions))

    async def close(self) -> None:
        """Unload every shard."""
        await self.runtime.close()

    # -- deleted topics ---------------------------------------------------------------------------

    def _on_topic_deleted(self, topic: TopicImage) -> None:
        """Offsets end with their topic."""
        self._deleted_topics.append((topic.name, topic.topic_id))
        if len(self._deleted_topics) == 1:
            self.runtime.sweep(self._begin_forgetting)

    def _begin_forgetting(self) -> Callable[[GroupShard], Result[bool]]:
        deleted, self._deleted_topics = frozenset(self._deleted_topics), []
        return lambda shard: shard.forget_topics(deleted)

    # -- handlers.context.GroupCoordinator --------------------------------------------------------

    async def join_group(
        self, request: JoinGroupRequest, context: RequestInfo
    ) -> JoinGroupResponse:
        """JoinGroup; waits for the other members."""
        version = context.api_version
        caller = Caller(
            client_id=context.client_id or "",
            client_host=f"/{context.connection.client_host}",
            requires_known_member_id=version >= _KNOWN_MEMBER_ID_FROM,
            supports_skip_assignment=version >= _SKIP_ASSIGNMENT_FROM,
        )
        group_id = request.group_id
        request.reason = None  # Nobody reads it, and the request stays in memory while it waits.
        try:
            index = self._index(group_id)
            if self.runtime.read(index, lambda shard: group_id in shard.registry.consumer):
                await self.runtime.write(
                    index, lambda shard, now_ms: shard.make_classic(request, now_ms)
                )
            answer = await self.runtime.write(
                index, lambda shard, now_ms: shard.join(request, caller, now_ms)
            )
        except KafkaError as error:
            if isinstance(error, MemoryLimitError):
                self._note(group_id, context, error)
            answer = JoinGroupResponse(
                error_code=error.error_code,
                protocol_name=None,
                member_id=member_id_of(error, request.member_id),
            )
        if answer.protocol_name is None and version < 7:
            answer.protocol_name = ""
        return answer

    async def sync_group(
        self, request: SyncGroupRequest, context: RequestInfo
    ) -> SyncGroupResponse:
        """SyncGroup; waits for the leader's assignment, which the others get also when the leader
        has gone.
        """
        return await self.runtime.write_through(
            self._index(request.group_id), lambda shard, now_ms: shard.sync(request, now_ms)
        )

    async def heartbeat(self, request: HeartbeatRequest, context: RequestInfo) -> HeartbeatResponse:
        """Heartbeat: needs no write. While the group is loaded every member is taken for alive, as
        in Kafka: its session starts when that is done, and some clients end when they are told.
        """
        try:
            code = self.runtime.read(
                self._index(request.group_id),
                lambda shard: shard.heartbeat(
                    request.group_id,
                    request.member_id,
                    request.group_instance_id,
                    request.generation_id,
                ),
            )
        except KafkaError as error:
            if error.error_code != ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                raise
            code = ErrorCode.NONE
        return HeartbeatResponse(error_code=code)

    async def leave_group(
        self, request: LeaveGroupRequest, context: RequestInfo
    ) -> LeaveGroupResponse:
        """LeaveGroup."""
        version = context.api_version
        return await self.runtime.write(
            self._index(request.group_id),
            lambda shard, now_ms: shard.leave(request, version, now_ms),
        )

    async def commit_offsets(
        self, request: OffsetCommitRequest, context: RequestInfo
    ) -> OffsetCommitResponse:
        """OffsetCommit; answers when the offsets are committed to the log. A group-wide refusal
        stands on every partition.
        """
        version = context.api_version
        topics = self._image().topics
        topic_ids = {t.name: topics[t.name].topic_id for t in request.topics if t.name in topics}
        return await self.runtime.write(
            self._index(request.group_id),
            lambda shard, now_ms: shard.commit(request, topic_ids, version, now_ms),
        )

    async def fetch_offsets(
        self, group: OffsetFetchRequestGroup, require_stable: bool, context: RequestInfo
    ) -> OffsetFetchResponseGroup:
        """OffsetFetch of one group: a consumer that starts where a commit says that is lost later
        would have left records out. `require_stable`: not what a transaction may yet change.
        """
        return await self.runtime.read_committed(
            self._index(group.group_id), lambda shard: shard.fetch(group, require_stable)
        )

    async def commit_transactional(
        self, request: TxnOffsetCommitRequest, context: RequestInfo
    ) -> TxnOffsetCommitResponse:
        """TxnOffsetCommit: the coordinator of transactions is asked first."""
        index = self._index(request.group_id)
        self.runtime.read(index, lambda shard: None)
        version = context.api_version
        partition = self._replicas.leader(GROUP_METADATA_TOPIC, index)
        if self.transactions is None:
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        code = await self.transactions.ask(
            Writer(partition, request.producer_id, request.producer_epoch),
            request.transactional_id,
            abortable=version >= _ABORTABLE_FROM,
            adds=version >= _ADDS_FROM,
        )
        if code:
            raise KafkaError(translated(code))
        topics = self._image().topics
        topic_ids = {t.name: topics[t.name].topic_id for t in request.topics if t.name in topics}
        return await self.runtime.write_as(
            index,
            Producer(request.producer_id, request.producer_epoch),
            lambda shard, now_ms: shard.commit_transactional(request, topic_ids, now_ms),
        )

    async def complete_transaction(self, index: int, marker: Marker) -> None:
        """A marker for the offsets of one partition. Raises KafkaError: codes on which the sender
        tries again.
        """
        try:
            await self.runtime.end_transaction(index, marker)
        except KafkaError as error:
            if error.error_code in _NOT_HERE:
                raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER) from error
            raise

    async def delete_offsets(
        self, request: OffsetDeleteRequest, context: RequestInfo
    ) -> OffsetDeleteResponse:
        """OffsetDelete."""
        return await self.runtime.write(
            self._index(request.group_id), lambda shard, now_ms: shard.delete_offsets(request)
        )

    async def delete_group(self, group_id: str, context: RequestInfo) -> None:
        """DeleteGroups for one group, in as many writes as its offsets take."""
        index = self._index(group_id)
        while not await self.runtime.write(
            index, lambda shard, now_ms: shard.delete_group(group_id)
        ):
            pass

    async def consumer_heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, context: RequestInfo
    ) -> ConsumerGroupHeartbeatResponse:
        """ConsumerGroupHeartbeat: join, stay, leave."""
        if "consumer" not in self.group_config().protocols:
            raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
        version = context.api_version
        caller = Caller(context.client_id or "", f"/{context.connection.client_host}")
        try:
            return await self.runtime.write(
                self._index(request.group_id),
                lambda shard, now_ms: shard.consumer_heartbeat(request, caller, version, now_ms),
            )
        except MemoryLimitError as error:
            self._note(request.group_id, context, error)
            if error.error_code == ErrorCode.MESSAGE_TOO_LARGE:
                # Here the message tells the rest, and clients end by this code and show it.
                raise KafkaError(ErrorCode.INVALID_REQUEST, error.message) from error
            raise

    def describe_consumer(self, group_id: str, context: RequestInfo) -> ConsumerDescribed:
        """ConsumerGroupDescribe for one group."""
        topics = self._image().topic_names
        assignor = self.group_config().consumer_assignors[0]
        return self.runtime.read(
            self._index(group_id),
            lambda shard: shard.describe_consumer(group_id, topics, assignor),
        )

    def describe_classic(self, group_id: str, context: RequestInfo) -> DescribedGroup:
        """DescribeGroups for one group."""
        version = context.api_version
        return self.runtime.read(
            self._index(group_id), lambda shard: shard.describe_classic(group_id, version)
        )

    def list_groups(self, request: ListGroupsRequest, context: RequestInfo) -> ListGroupsResponse:
        """ListGroups: of the shards of this node; not before all of them are loaded."""
        if self.runtime.is_loading():
            raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return ListGroupsResponse(
            groups=[
                group
                for shard in self.runtime.active_shards()
                for group in shard.list_groups(request.states_filter, request.types_filter)
            ]
        )


def _group_config(config: BrokerConfig) -> GroupConfig:
    policy = config.group_consumer_migration_policy.lower()
    return GroupConfig(
        min_session_timeout_ms=config.group_min_session_timeout_ms,
        max_session_timeout_ms=config.group_max_session_timeout_ms,
        max_size=config.group_max_size,
        initial_rebalance_delay_ms=config.group_initial_rebalance_delay_ms,
        offset_metadata_max_bytes=config.offset_metadata_max_bytes,
        offsets_retention_ms=config.offsets_retention_minutes * 60_000,
        offsets_retention_check_interval_ms=config.offsets_retention_check_interval_ms,
        consumer_session_timeout_ms=config.group_consumer_session_timeout_ms,
        consumer_heartbeat_interval_ms=config.group_consumer_heartbeat_interval_ms,
        consumer_assignment_interval_ms=config.group_consumer_assignment_interval_ms,
        consumer_max_size=config.group_consumer_max_size,
        consumer_assignors=usable(config.group_consumer_assignors),
        allows_upgrade=policy in ("upgrade", "bidirectional"),
        allows_downgrade=policy in ("downgrade", "bidirectional"),
        regex_refresh_interval_ms=config.group_consumer_regex_refresh_interval_ms,
        protocols=frozenset(config.group_coordinator_rebalance_protocols),
    )

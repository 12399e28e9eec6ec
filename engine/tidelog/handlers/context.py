"""What a handler gets beside its request: the connection, the services of the worker, and the
authorisation gate.

Belongs to the worker's loop task; composed by process/worker.py. The services that other layers
implement stand here as protocols, so that a handler is tested with fakes and no handler reaches
past them. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tidelog.clock import Clock
from tidelog.config import BrokerConfig
from tidelog.handlers.authorization import NOT_ASKED, SUPPORTED_OPERATIONS, Operation, Resource
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.api import ApiKey
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
from tidelog.replication.markers import Marker

if TYPE_CHECKING:
    from tidelog.controller.client import ControllerClient
    from tidelog.coordinator.producer_ids import ProducerIdManager
    from tidelog.coordinator.txn.decisions import Identity
    from tidelog.coordinator.txn.transaction import TopicPartition, Transaction
    from tidelog.handlers.api import Api
    from tidelog.handlers.metadata_cache import MetadataCache
    from tidelog.handlers.topic_creation import TopicCreation
    from tidelog.quotas.node import NodeQuotas
    from tidelog.replication.node_config import NodeConfig
    from tidelog.replication.replica_manager import ReplicaManager


@dataclass(slots=True)
class ConnectionInfo:
    """One client connection, as `net` accepted it.

    local_host and local_port: the address on which it was accepted (what a client without
    advertised listeners is told). software: name and version that the client gave in ApiVersions,
    for logs.
    """

    connection_id: int
    client_host: str
    listener: str
    local_host: str
    local_port: int
    principal: str = "User:ANONYMOUS"
    software: tuple[str, str] = ("", "")


class MetadataSource(Protocol):
    """Whoever holds the worker's current metadata image."""

    @property
    def image(self) -> MetadataImage: ...


class GroupCoordinator(Protocol):
    """Groups and their committed offsets (coordinator/group, behind its runtime).

    Every method answers with a whole message in which expected refusals are error codes, or raises
    KafkaError, which is answered with the API's error answer: NOT_COORDINATOR,
    COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE. Awaiting may take long (JoinGroup,
    SyncGroup); a cancelled wait (connection gone) must leave the group sound.
    """

    def join_group(
        self, request: JoinGroupRequest, context: RequestContext
    ) -> Awaitable[JoinGroupResponse]: ...

    def sync_group(
        self, request: SyncGroupRequest, context: RequestContext
    ) -> Awaitable[SyncGroupResponse]: ...

    def heartbeat(
        self, request: HeartbeatRequest, context: RequestContext
    ) -> Awaitable[HeartbeatResponse]: ...

    def leave_group(
        self, request: LeaveGroupRequest, context: RequestContext
    ) -> Awaitable[LeaveGroupResponse]: ...

    def commit_offsets(
        self, request: OffsetCommitRequest, context: RequestContext
    ) -> Awaitable[OffsetCommitResponse]:
        """Topics come by name in every version, known to the metadata; the answer has the same
        topics in the same order.
        """
        ...

    def fetch_offsets(
        self, group: OffsetFetchRequestGroup, require_stable: bool, context: RequestContext
    ) -> Awaitable[OffsetFetchResponseGroup]:
        """One group's offsets, topics by name in every version; `group.topics` None: all that are
        committed.
        """
        ...

    def commit_transactional(
        self, request: TxnOffsetCommitRequest, context: RequestContext
    ) -> Awaitable[TxnOffsetCommitResponse]:
        """Topics are known to the metadata; the answer has the same ones in the same order."""
        ...

    def complete_transaction(self, index: int, marker: Marker) -> Awaitable[None]:
        """A marker for one partition of `__consumer_offsets`."""
        ...

    def delete_offsets(
        self, request: OffsetDeleteRequest, context: RequestContext
    ) -> Awaitable[OffsetDeleteResponse]:
        """Topics are known to the metadata; the answer has the same ones in the same order."""
        ...

    def delete_group(self, group_id: str, context: RequestContext) -> Awaitable[None]:
        """Raises KafkaError also for NON_EMPTY_GROUP and GROUP_ID_NOT_FOUND."""
        ...

    def consumer_heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, context: RequestContext
    ) -> Awaitable[ConsumerGroupHeartbeatResponse]: ...

    def describe_consumer(self, group_id: str, context: RequestContext) -> ConsumerDescribed:
        """One consumer group; `authorized_operations` is left to the handler."""
        ...

    def describe_classic(self, group_id: str, context: RequestContext) -> DescribedGroup:
        """One classic group; `authorized_operations` is left to the handler."""
        ...

    def list_groups(
        self, request: ListGroupsRequest, context: RequestContext
    ) -> ListGroupsResponse: ...


class TransactionCoordinator(Protocol):
    """Transactional ids and their transactions (coordinator/txn, behind its runtime).

    Every method raises KafkaError with the code that Kafka's coordinator answers (of the newest
    version: what older ones call it is the handlers' business), among them NOT_COORDINATOR,
    COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE. A cancelled wait undoes nothing.
    client_version: the generation of the protocol that the request belongs to, 0 or 2.
    """

    def init_producer_id(
        self, transactional_id: str, timeout_ms: int, expected: Identity | None
    ) -> Awaitable[Identity]: ...

    def add_partitions(
        self,
        transactional_id: str,
        producer: Identity,
        partitions: Collection[TopicPartition],
        client_version: int,
    ) -> Awaitable[None]: ...

    def verify_partitions(
        self, transactional_id: str, producer: Identity, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """An error code for each partition."""
        ...

    def add_offsets(
        self, transactional_id: str, producer: Identity, group_id: str
    ) -> Awaitable[None]: ...

    def end(
        self, transactional_id: str, producer: Identity, commit: bool, client_version: int
    ) -> Awaitable[Identity]:
        """What the producer has to use from now on; -1 and -1 in the first generation."""
        ...

    def describe_transaction(self, transactional_id: str) -> Transaction: ...

    def list_transactions(
        self,
        states: Collection[str],
        producer_ids: Collection[int],
        duration_ms: int,
        pattern: str | None,
    ) -> list[Transaction]: ...


@dataclass(slots=True)
class Services:
    """What handlers call. One per worker.

    apis: the registry's entries (ApiVersions answers with them).
    """

    node_id: int
    clock: Clock
    node_config: NodeConfig
    metadata: MetadataSource
    controller: ControllerClient
    replicas: ReplicaManager
    groups: GroupCoordinator
    transactions: TransactionCoordinator
    producer_ids: ProducerIdManager
    topic_creation: TopicCreation
    metadata_cache: MetadataCache
    quotas: NodeQuotas
    apis: tuple[Api, ...]


@dataclass(slots=True)
class RequestContext:
    """One request on its way: header, connection, services.

    busy_ns: what it took of the loop's time, while that is measured. owed_ms: how long its client
    has to wait for what it changed (controller mutation quota).
    """

    api_key: ApiKey
    api_version: int
    correlation_id: int
    client_id: str | None
    connection: ConnectionInfo
    services: Services
    busy_ns: int = 0
    owed_ms: int = 0

    @property
    def image(self) -> MetadataImage:
        """The metadata as this node knows it now. Take it once: it is another object after an
        await.
        """
        return self.services.metadata.image

    @property
    def config(self) -> BrokerConfig:
        """This node's broker configs as they hold now."""
        return self.services.node_config.broker(self.services.metadata.image)

    def authorize(self, operation: Operation, resource: Resource, name: str) -> bool:
        """Whether the connection's principal may do this. Without an authorizer (as today)
        everybody may.
        """
        return True

    def authorized_operations(self, resource: Resource, name: str, *, asked: bool = True) -> int:
        """Bit field of the operations that the principal may do (KIP-430); NOT_ASKED when it was
        not asked for.
        """
        if not asked:
            return NOT_ASKED
        return sum(
            1 << operation
            for operation in SUPPORTED_OPERATIONS[resource]
            if self.authorize(operation, resource, name)
        )

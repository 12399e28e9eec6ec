"""The transaction coordinator of a node, as handlers see it: finds the shard of a transactional id
and runs its operation there.

Belongs to the worker's loop task. Implements `handlers.context.TransactionCoordinator`. It decides
nothing about transactions: it gets producer ids for those that do, and sees to it that what was
begun for a client is ended although the client has gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, Final, TypeVar

import re2

from tidelog.clock import Clock
from tidelog.config import BrokerConfig
from tidelog.coordinator.partitioning import coordinator_partition
from tidelog.coordinator.runtime import CoordinatorRuntime, LogSettings
from tidelog.coordinator.shard import Result, Timers
from tidelog.coordinator.txn.config import TransactionConfig
from tidelog.coordinator.txn.decisions import Change, Identity, ProducerIdNeeded
from tidelog.coordinator.txn.markers import MarkerSender, PeerClient
from tidelog.coordinator.txn.shard import Prepared, TransactionShard
from tidelog.coordinator.txn.states import BY_LABEL
from tidelog.coordinator.txn.transaction import TopicPartition, Transaction
from tidelog.errors import KafkaError
from tidelog.limits import REGEX_CHARS_MAX, REGEX_MEMORY_BYTES_MAX
from tidelog.metadata.features import TRANSACTION_VERSION
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.error_codes import ErrorCode
from tidelog.types import GROUP_METADATA_TOPIC, NO_PRODUCER_ID, TRANSACTION_STATE_TOPIC

if TYPE_CHECKING:
    from tidelog.replication.replica_manager import ReplicaManager

A = TypeVar("A")

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = REGEX_MEMORY_BYTES_MAX


class TransactionService:
    """One per worker. `image()` and `config()` are read anew for every request; `next_producer_id`
    as ProducerIdManager.next.
    """

    def __init__(
        self,
        replicas: ReplicaManager,
        clock: Clock,
        image: Callable[[], MetadataImage],
        config: Callable[[], BrokerConfig],
        next_producer_id: Callable[[], Awaitable[int]],
        peers: PeerClient,
    ) -> None:
        self._image = image
        self._config = config
        self._clock = clock
        self._next_producer_id = next_producer_id
        self.runtime: CoordinatorRuntime[TransactionShard] = CoordinatorRuntime(
            TRANSACTION_STATE_TOPIC,
            replicas,
            clock,
            self._make_shard,
            LogSettings(config().transaction_state_log_load_buffer_size),
        )
        # The image of the leadership itself: to an older one a new topic would be a deleted one, in
        # which no marker is missed.
        self.markers = MarkerSender(
            lambda: replicas.image, peers, self.runtime.leader_epoch, self._complete
        )
        self._made: tuple[BrokerConfig, TransactionConfig] | None = None

    def _make_shard(self, index: int, timers: Timers) -> TransactionShard:
        return TransactionShard(
            index, self.transaction_config, self.transaction_version, timers, self.markers
        )

    def transaction_config(self) -> TransactionConfig:
        """The broker's configs of the moment, as shards want them: made once per change."""
        config = self._config()
        if self._made is None or self._made[0] is not config:
            self._made = (config, _transaction_config(config))
        return self._made[1]

    def transaction_version(self) -> int:
        """The finalized level of the feature; 0 when it is not set."""
        return self._image().features.get(TRANSACTION_VERSION, 0)

    def metadata_changed(self) -> None:
        """A new image holds."""
        self.markers.metadata_changed()

    async def close(self) -> None:
        """Unload every shard."""
        await self.runtime.close()
        await self.markers.close()

    # -- handlers.context.TransactionCoordinator --------------------------------------------------

    async def init_producer_id(
        self, transactional_id: str, timeout_ms: int, expected: Identity | None
    ) -> Identity:
        """InitProducerId. Raises KafkaError, CONCURRENT_TRANSACTIONS also after it has begun to
        abort what was under way.
        """
        change: Change = await self._write_with_id(
            transactional_id,
            lambda shard, new, now_ms: shard.init_producer_id(
                transactional_id, timeout_ms, expected, new, now_ms
            ),
        )
        if change.error_code:
            raise KafkaError(change.error_code)
        return change.identity

    async def add_partitions(
        self,
        transactional_id: str,
        producer: Identity,
        partitions: Collection[TopicPartition],
        client_version: int,
    ) -> None:
        """AddPartitionsToTxn for one transaction. Raises KafkaError."""
        await self._write(
            transactional_id,
            lambda shard, now_ms: shard.add_partitions(
                transactional_id, producer, partitions, client_version, now_ms
            ),
        )

    def verify_partitions(
        self, transactional_id: str, producer: Identity, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """AddPartitionsToTxn with verify_only. Raises KafkaError."""
        return self.runtime.read(
            self._index(transactional_id),
            lambda shard: shard.verify_partitions(transactional_id, producer, partitions),
        )

    async def add_offsets(self, transactional_id: str, producer: Identity, group_id: str) -> None:
        """AddOffsetsToTxn: the partition that keeps the group's offsets. Raises KafkaError."""
        topic = self._image().topics.get(GROUP_METADATA_TOPIC)
        count = len(topic.partitions) if topic else self._config().offsets_topic_num_partitions
        place = TopicPartition(GROUP_METADATA_TOPIC, coordinator_partition(group_id, count))
        await self.add_partitions(transactional_id, producer, (place,), 0)

    async def end(
        self, transactional_id: str, producer: Identity, commit: bool, client_version: int
    ) -> Identity:
        """EndTxn: answers when the decision is committed to the log; markers follow. Raises
        KafkaError.
        """
        return await self._write_with_id(
            transactional_id,
            lambda shard, new, now_ms: shard.end(
                transactional_id, producer, commit, client_version, new, now_ms
            ),
        )

    def describe_transaction(self, transactional_id: str) -> Transaction:
        """DescribeTransactions for one transactional id. Raises KafkaError."""
        return self.runtime.read(
            self._index(transactional_id), lambda shard: shard.describe(transactional_id)
        )

    def list_transactions(
        self,
        states: Collection[str],
        producer_ids: Collection[int],
        duration_ms: int,
        pattern: str | None,
    ) -> list[Transaction]:
        """ListTransactions over the shards of this node; a filter that is empty (a duration below
        0) lets everything pass, a state that does not exist nothing.

        Raises KafkaError: COORDINATOR_LOAD_IN_PROGRESS, INVALID_REGULAR_EXPRESSION.
        """
        if self.runtime.is_loading():
            raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        wanted = {BY_LABEL[label] for label in states if label in BY_LABEL}
        compiled = _compiled(pattern) if pattern else None
        now_ms = self._clock.wall_ms()
        return [
            transaction
            for shard in self.runtime.active_shards()
            for transaction in shard.transactions.values()
            if (not states or transaction.state in wanted)
            and (not producer_ids or transaction.producer_id in producer_ids)
            and (duration_ms < 0 or now_ms - transaction.start_timestamp_ms > duration_ms)
            and (compiled is None or compiled.fullmatch(transaction.transactional_id))
        ]

    # -- writing ----------------------------------------------------------------------------------

    async def _complete(self, prepared: Prepared) -> bool:
        return await self.runtime.write_through(
            prepared.index, lambda shard, now_ms: shard.complete(prepared, now_ms)
        )

    async def _write_with_id(
        self,
        transactional_id: str,
        operation: Callable[[TransactionShard, int, int], Result[A]],
    ) -> A:
        """Run an operation (shard, new producer id or -1, now_ms); with a new producer id when it
        asks for one.
        """
        new_producer_id = NO_PRODUCER_ID
        while True:
            try:
                return await self._write(
                    transactional_id,
                    lambda shard, now_ms, new=new_producer_id: operation(  # type: ignore[misc]
                        shard, new, now_ms
                    ),
                )
            except ProducerIdNeeded:
                new_producer_id = await self._next_producer_id()

    async def _write(
        self, transactional_id: str, operation: Callable[[TransactionShard, int], Result[A]]
    ) -> A:
        # What it prepared has to be carried out, whether its client is there or not.
        return await self.runtime.write_through(self._index(transactional_id), operation)

    def _index(self, transactional_id: str) -> int:
        topic = self._image().topics.get(TRANSACTION_STATE_TOPIC)
        if topic is None:
            raise KafkaError(ErrorCode.NOT_COORDINATOR)
        return coordinator_partition(transactional_id, len(topic.partitions))


def _compiled(pattern: str) -> Any:
    refusal = KafkaError(
        ErrorCode.INVALID_REGULAR_EXPRESSION,
        f"Transaction ID pattern `{pattern[:100]}` is not a valid regular expression.",
    )
    if len(pattern) > REGEX_CHARS_MAX:
        raise refusal
    try:
        return re2.compile(pattern, options=_OPTIONS)
    except re2.error:
        raise refusal from None


def _transaction_config(config: BrokerConfig) -> TransactionConfig:
    return TransactionConfig(
        max_timeout_ms=config.transaction_max_timeout_ms,
        abort_interval_ms=config.transaction_abort_timed_out_transaction_cleanup_interval_ms,
        id_expiration_ms=config.transactional_id_expiration_ms,
        expire_interval_ms=config.transaction_remove_expired_transaction_cleanup_interval_ms,
    )

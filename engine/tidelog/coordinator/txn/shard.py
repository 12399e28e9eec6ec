"""One partition of `__transaction_state`: its transactional ids, and what is to be done about them.

Pure: time, timers and producer ids are given. `replay` alone changes what the records say. Soft
state: which changes are not yet committed (others wait for them: CONCURRENT_TRANSACTIONS), what a
repeated InitProducerId may come with, timers.

What is decided is carried out by `Markers`: the shard hands over every prepared transaction when
its record is committed, and again after a load, and is called back with `complete`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from tidelog.coordinator.shard import CoordinatorRecord, Result, Shard, TimerOperation, Timers
from tidelog.coordinator.txn import decisions
from tidelog.coordinator.txn.config import TransactionConfig
from tidelog.coordinator.txn.decisions import NO_IDENTITY, Change, Identity
from tidelog.coordinator.txn.records import (
    tombstone,
    transaction_of,
    transaction_record,
    value_version,
)
from tidelog.coordinator.txn.states import TransactionState
from tidelog.coordinator.txn.transaction import TopicPartition, Transaction
from tidelog.errors import KafkaError, MalformedMessageError, UnsupportedVersionError
from tidelog.limits import TOMBSTONE_BYTES_PER_WRITE_MAX
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.records import decode_key, decode_value
from tidelog.protocol.records.transaction import (
    RECORD_TYPES,
    TransactionLogKey,
    TransactionLogValue,
)

A = TypeVar("A")

_ABORT: Final = "abort"
_EXPIRE: Final = "expire"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that is decided: its markers are to be written, then it is to be completed.

    index: of the partition of `__transaction_state`. transaction_version: the generation that the
    marker says it is of (KIP-1228). decided_at_ms: tells it from the next transaction, which in the
    first generation has the same epoch.
    """

    index: int
    transactional_id: str
    producer_id: int
    producer_epoch: int
    commit: bool
    partitions: frozenset[TopicPartition]
    transaction_version: int
    decided_at_ms: int


class Markers(Protocol):
    """Whoever has markers written."""

    def send(self, prepared: Prepared) -> None:
        """Write the markers, however long it takes, and then complete the transaction."""
        ...

    def stop(self, index: int) -> None:
        """This node does not coordinate that partition any more."""
        ...


class TransactionShard(Shard):
    """`config()`: the configs as they hold now; `transaction_version()`: the finalized level of the
    feature.
    """

    def __init__(
        self,
        index: int,
        config: Callable[[], TransactionConfig],
        transaction_version: Callable[[], int],
        timers: Timers,
        markers: Markers,
    ) -> None:
        self._index = index
        self._config = config
        self._transaction_version = transaction_version
        self._timers = timers
        self._markers = markers
        self.transactions: dict[str, Transaction] = {}
        self._last: dict[str, Identity] = {}
        #: Transactional ids with a record that is not committed yet.
        self._pending: set[str] = set()

    # -- requests -------------------------------------------------------------------------------

    def init_producer_id(
        self,
        transactional_id: str,
        timeout_ms: int,
        expected: Identity | None,
        new_producer_id: int,
        now_ms: int,
    ) -> Result[Change]:
        """InitProducerId. The answer's error code is CONCURRENT_TRANSACTIONS when a transaction is
        aborted first.

        Raises KafkaError, ProducerIdNeeded.
        """
        if not 0 < timeout_ms <= self._config().max_timeout_ms:
            raise KafkaError(ErrorCode.INVALID_TRANSACTION_TIMEOUT)
        current = self.transactions.get(transactional_id)
        if current is None:
            current = decisions.first(transactional_id, new_producer_id)
        self._check_settled(transactional_id)
        change = decisions.initialize(
            current,
            timeout_ms,
            expected,
            self._last.get(transactional_id, NO_IDENTITY),
            new_producer_id,
            self._transaction_version(),
            now_ms,
        )
        return self._write([change], change)

    def add_partitions(
        self,
        transactional_id: str,
        producer: Identity,
        partitions: Collection[TopicPartition],
        client_version: int,
        now_ms: int,
    ) -> Result[None]:
        """AddPartitionsToTxn and AddOffsetsToTxn. Raises KafkaError."""
        current = decisions.check_producer(self.transactions.get(transactional_id), producer)
        self._check_settled(transactional_id)
        changed = decisions.add_partitions(current, partitions, client_version, now_ms)
        return self._write([] if changed is None else [Change(changed)], None)

    def verify_partitions(
        self, transactional_id: str, producer: Identity, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """AddPartitionsToTxn with verify_only: an error code for each partition (KIP-890). Raises
        KafkaError.
        """
        current = decisions.check_producer(self.transactions.get(transactional_id), producer)
        if current.state.is_prepared:
            raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
        return {
            partition: ErrorCode.NONE
            if partition in current.partitions
            else ErrorCode.TRANSACTION_ABORTABLE
            for partition in partitions
        }

    def end(
        self,
        transactional_id: str,
        producer: Identity,
        commit: bool,
        client_version: int,
        new_producer_id: int,
        now_ms: int,
    ) -> Result[Identity]:
        """EndTxn; answers with what the producer has to use from now on. Raises KafkaError,
        ProducerIdNeeded.
        """
        change = decisions.end(
            self.transactions.get(transactional_id),
            producer,
            commit,
            client_version,
            transactional_id in self._pending,
            new_producer_id,
            now_ms,
        )
        return self._write([change], change.identity)

    def complete(self, prepared: Prepared, now_ms: int) -> Result[bool]:
        """Every marker is written. The answer: whether that was still to be recorded."""
        current = self.transactions.get(prepared.transactional_id)
        if current is None or not current.state.is_prepared or self._prepared(current) != prepared:
            return Result(False)
        return self._write([Change(current.completed(now_ms))], True)

    def describe(self, transactional_id: str) -> Transaction:
        """DescribeTransactions for one transactional id. Raises KafkaError:
        TRANSACTIONAL_ID_NOT_FOUND.
        """
        current = self.transactions.get(transactional_id)
        if current is None:
            raise KafkaError(ErrorCode.TRANSACTIONAL_ID_NOT_FOUND)
        return current

    # -- what time brings -------------------------------------------------------------------------

    def abort_timed_out(self, now_ms: int) -> Result[bool]:
        """One step of aborting transactions that are open for too long; the answer: whether there
        are no more.
        """
        version = self._transaction_version()
        return self._step(
            (
                decisions.abort(transaction, version, now_ms)
                for transaction in self.transactions.values()
                if transaction.has_timed_out(now_ms)
                and transaction.transactional_id not in self._pending
            ),
        )

    def expire(self, now_ms: int) -> Result[bool]:
        """One step of forgetting transactional ids that nobody uses; the answer: whether there are
        no more.
        """
        last_ms = now_ms - self._config().id_expiration_ms
        expired = []
        size = 0
        for transaction in self.transactions.values():
            transactional_id = transaction.transactional_id
            if (
                not transaction.state.is_at_rest
                or transaction.last_update_timestamp_ms > last_ms
                or transactional_id in self._pending
            ):
                continue
            expired.append(transactional_id)
            size += len(tombstone(transactional_id).key)
            if size >= TOMBSTONE_BYTES_PER_WRITE_MAX:
                break
        records = [tombstone(transactional_id) for transactional_id in expired]
        return self._result(size < TOMBSTONE_BYTES_PER_WRITE_MAX, expired, records)

    def _step(self, changes: Iterable[Change]) -> Result[bool]:
        """As many of the changes as one write takes."""
        taken = []
        size = 0
        for change in changes:
            taken.append(change)
            assert change.transaction is not None
            size += len(self._record(change.transaction).value or b"")
            if size >= TOMBSTONE_BYTES_PER_WRITE_MAX:
                return self._write(taken, False)
        return self._write(taken, True)

    def _run(self, key: str, step: TimerOperation, interval_ms: Callable[[], int]) -> None:
        """Have `step` run every `interval_ms()`, at once again while it says that there is more."""

        def operation(now_ms: int) -> Result[bool]:
            result: Result[bool] = step(now_ms)
            on_written = result.on_written

            def written(error_code: int) -> None:
                on_written(error_code)
                # A log that refuses writes is asked again after the interval, not at once.
                is_done = result.answer or error_code
                self._timers.schedule(key, interval_ms() if is_done else 0, operation)

            result.on_written = written
            return result

        self._timers.schedule(key, interval_ms(), operation)

    # -- writing ----------------------------------------------------------------------------------

    def _check_settled(self, transactional_id: str) -> None:
        if transactional_id in self._pending:
            raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)

    def _record(self, transaction: Transaction) -> CoordinatorRecord:
        return transaction_record(transaction, value_version(self._transaction_version()))

    def _write(self, changes: Collection[Change], answer: A) -> Result[A]:
        """Write the changes; when they are committed, hand over what is prepared by them."""
        written = [change.transaction for change in changes if change.transaction is not None]
        last = {
            change.transaction.transactional_id: change.last
            for change in changes
            if change.transaction is not None and change.last is not None
        }
        return self._result(
            answer,
            [transaction.transactional_id for transaction in written],
            [self._record(transaction) for transaction in written],
            last,
        )

    def _result(
        self,
        answer: A,
        transactional_ids: Collection[str],
        records: list[CoordinatorRecord],
        last: Mapping[str, Identity] | None = None,
    ) -> Result[A]:
        """Nobody else changes the transactional ids until the records are committed, and what is
        prepared by them is carried out only then: a record that is lost with its leader must have
        had no consequences.
        """
        self._pending.update(transactional_ids)

        def on_written(error_code: int) -> None:
            if error_code == 0 and last:
                self._last.update(last)

        def on_committed(error_code: int) -> None:
            self._pending.difference_update(transactional_ids)
            for transactional_id in transactional_ids if error_code == 0 else ():
                # As it was replayed: what a later coordinator would find.
                transaction = self.transactions.get(transactional_id)
                if transaction is not None and transaction.state.is_prepared:
                    self._send(transaction)

        return Result(answer, records, on_written, on_committed)

    def _send(self, transaction: Transaction) -> None:
        self._markers.send(self._prepared(transaction))

    def _prepared(self, transaction: Transaction) -> Prepared:
        return Prepared(
            self._index,
            transaction.transactional_id,
            transaction.producer_id,
            transaction.producer_epoch,
            transaction.state is TransactionState.PREPARE_COMMIT,
            transaction.partitions,
            transaction.client_transaction_version,
            transaction.last_update_timestamp_ms,
        )

    # -- Shard ----------------------------------------------------------------------------------

    def replay(self, record: CoordinatorRecord) -> None:
        try:
            record_type, key = decode_key(RECORD_TYPES, record.key)
        except (UnsupportedVersionError, MalformedMessageError):
            return
        assert isinstance(key, TransactionLogKey)
        if record.value is None:
            self.transactions.pop(key.transactional_id, None)
            self._last.pop(key.transactional_id, None)
            return
        value: Any = decode_value(RECORD_TYPES, record_type, record.value)
        assert isinstance(value, TransactionLogValue)
        self.transactions[key.transactional_id] = transaction_of(key.transactional_id, value)

    def on_loaded(self, now_ms: int) -> None:
        """What was decided before is carried out; what is open runs into its timeout."""
        for transaction in self.transactions.values():
            if transaction.state.is_prepared:
                self._send(transaction)
        self._run(_ABORT, self.abort_timed_out, lambda: self._config().abort_interval_ms)
        self._run(_EXPIRE, self.expire, lambda: self._config().expire_interval_ms)

    def on_unloaded(self) -> None:
        self._markers.stop(self._index)

"""What a coordinator knows of one transactional id, and how it moves on. Pure values.

A `Transaction` is what its last record says. The methods give the next one, which counts when its
record is in the log and was replayed; they never change the one they are called on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from tidelog.coordinator.txn.states import PREVIOUS_STATES, TransactionState
from tidelog.errors import InvariantError
from tidelog.types import NO_EPOCH, NO_PRODUCER_ID, NO_TIMESTAMP

#: The highest epoch of the wire. No client ever gets it, so that every client can be fenced.
EPOCH_MAX: Final = 32767

#: The level of transaction.version at which every transaction has an epoch of its own (KIP-890).
EPOCH_BUMP_VERSION: Final = 2


class TopicPartition(NamedTuple):
    """A partition by its topic's name."""

    topic: str
    partition: int


def is_exhausted(producer_epoch: int) -> bool:
    """Whether a producer id with this epoch has no further one for a client."""
    return producer_epoch >= EPOCH_MAX - 1


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transactional id.

    start_timestamp_ms: when its transaction got its first partition, -1 without one.
    previous_producer_id: bound before the last change; next_producer_id: the one to be bound when
    the prepared transaction is complete (epochs ran out), else -1. client_transaction_version: the
    generation of the protocol that its last change was made with.
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    timeout_ms: int
    state: TransactionState
    partitions: frozenset[TopicPartition] = frozenset()
    start_timestamp_ms: int = NO_TIMESTAMP
    last_update_timestamp_ms: int = NO_TIMESTAMP
    previous_producer_id: int = NO_PRODUCER_ID
    next_producer_id: int = NO_PRODUCER_ID
    client_transaction_version: int = 0

    @property
    def is_exhausted(self) -> bool:
        """No client may get a further epoch of this producer id."""
        return is_exhausted(self.producer_epoch)

    @property
    def bumps_epochs(self) -> bool:
        """The last change was made with the second generation of the protocol."""
        return self.client_transaction_version >= EPOCH_BUMP_VERSION

    def has_timed_out(self, now_ms: int) -> bool:
        """Whether a transaction is under way for longer than its producer allowed."""
        return (
            self.state is TransactionState.ONGOING
            and self.start_timestamp_ms + self.timeout_ms < now_ms
        )

    def initialized(
        self, producer_id: int, producer_epoch: int, timeout_ms: int, now_ms: int
    ) -> Transaction:
        """A producer was given this id and epoch."""
        return self._moved(
            TransactionState.EMPTY,
            now_ms,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            timeout_ms=timeout_ms,
            partitions=frozenset(),
            start_timestamp_ms=NO_TIMESTAMP,
        )

    def with_partitions(
        self, added: Iterable[TopicPartition], client_version: int, now_ms: int
    ) -> Transaction:
        """The partitions are part of the transaction, which begins if none is under way."""
        begins = self.state is not TransactionState.ONGOING
        return self._moved(
            TransactionState.ONGOING,
            now_ms,
            partitions=self.partitions | frozenset(added),
            start_timestamp_ms=now_ms if begins else self.start_timestamp_ms,
            client_transaction_version=client_version,
        )

    def prepared(
        self,
        state: TransactionState,
        client_version: int,
        now_ms: int,
        *,
        fences: bool = False,
        next_producer_id: int = NO_PRODUCER_ID,
    ) -> Transaction:
        """Decided. The epoch of the markers is one higher with the second generation, and when
        somebody else than its producer ends the transaction (`fences`).
        """
        bumps = fences or client_version >= EPOCH_BUMP_VERSION
        if bumps and self.producer_epoch >= EPOCH_MAX:
            raise InvariantError(f"{self.transactional_id}: no epoch is left to fence with")
        is_without_partitions = self.state is not TransactionState.ONGOING
        return self._moved(
            state,
            now_ms,
            producer_epoch=self.producer_epoch + 1 if bumps else self.producer_epoch,
            next_producer_id=next_producer_id,
            start_timestamp_ms=now_ms if is_without_partitions else self.start_timestamp_ms,
            client_transaction_version=client_version,
        )

    def completed(self, now_ms: int) -> Transaction:
        """Every marker is written."""
        committed = self.state is TransactionState.PREPARE_COMMIT
        rotates = self.bumps_epochs and self.next_producer_id != NO_PRODUCER_ID
        return self._moved(
            TransactionState.COMPLETE_COMMIT if committed else TransactionState.COMPLETE_ABORT,
            now_ms,
            producer_id=self.next_producer_id if rotates else self.producer_id,
            producer_epoch=0 if rotates else self.producer_epoch,
            next_producer_id=NO_PRODUCER_ID,
            partitions=frozenset(),
        )

    def _moved(self, state: TransactionState, now_ms: int, **changes: Any) -> Transaction:
        if self.state not in PREVIOUS_STATES[state]:
            raise InvariantError(
                f"{self.transactional_id}: {self.state.label} cannot become {state.label}"
            )
        return replace(
            self,
            state=state,
            last_update_timestamp_ms=now_ms,
            previous_producer_id=self.producer_id,
            **changes,
        )


def new_transaction(transactional_id: str, producer_id: int) -> Transaction:
    """A transactional id that nobody used before: no epoch is given out yet."""
    return Transaction(
        transactional_id,
        producer_id,
        NO_EPOCH,
        0,
        TransactionState.EMPTY,
    )

"""What coordinators decide about one transactional id, request by request. Pure functions.

Each gets the transactional id as it is and gives what it shall be, or raises KafkaError with the
code that Kafka answers. Nothing is written or changed here (shard.py does that).

Where Kafka 4.3 differs:
- InitProducerId with an id and an epoch that is not the present one, while a transaction is under
  way: Kafka aborts the transaction before it finds the caller fenced; here a fenced caller cannot
  disturb it.
- The same where the epochs of the producer id are used up: Kafka fails (UNKNOWN_SERVER_ERROR).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from tidelog.coordinator.txn.states import TransactionState
from tidelog.coordinator.txn.transaction import (
    EPOCH_BUMP_VERSION,
    EPOCH_MAX,
    TopicPartition,
    Transaction,
    is_exhausted,
    new_transaction,
)
from tidelog.errors import KafkaError, TidelogError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.types import NO_EPOCH, NO_PRODUCER_ID


class ProducerIdNeeded(TidelogError):
    """The decision takes a new producer id: ask again with one. Nothing has been changed."""


class Identity(NamedTuple):
    """A producer id and epoch."""

    producer_id: int
    producer_epoch: int


NO_IDENTITY: Final = Identity(NO_PRODUCER_ID, NO_EPOCH)


class Change(NamedTuple):
    """The transactional id as it shall be (None: as it is), and what its producer is answered.

    last: what a repeated InitProducerId may come with (KIP-360), NO_IDENTITY for nothing, None to
    leave it. It is in no record, as Kafka's last epoch: a repetition that meets another coordinator
    is fenced.
    """

    transaction: Transaction | None
    identity: Identity = NO_IDENTITY
    error_code: int = 0
    last: Identity | None = None


def initialize(
    current: Transaction,
    timeout_ms: int,
    expected: Identity | None,
    last: Identity,
    new_producer_id: int,
    server_version: int,
    now_ms: int,
) -> Change:
    """InitProducerId for a transactional id. `expected`: what the producer has, if it says so
    (KIP-360); server_version: the level of transaction.version.

    Raises KafkaError (PRODUCER_FENCED, CONCURRENT_TRANSACTIONS), ProducerIdNeeded.
    """
    if expected is not None and not _may_continue(current, expected, last):
        raise KafkaError(ErrorCode.PRODUCER_FENCED)
    if current.state.is_prepared:
        raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
    if current.state is TransactionState.ONGOING:
        if expected is not None and expected.producer_epoch != current.producer_epoch:
            raise KafkaError(ErrorCode.PRODUCER_FENCED)
        # The epoch of this abort is never given out: the producer comes again for its own.
        aborted = abort(current, server_version, now_ms)
        return aborted._replace(error_code=ErrorCode.CONCURRENT_TRANSACTIONS)
    present = Identity(current.producer_id, current.producer_epoch)
    if current.is_exhausted and (expected is None or expected == present):
        if new_producer_id == NO_PRODUCER_ID:
            raise ProducerIdNeeded("epochs are used up")
        following = Identity(new_producer_id, 0)
    elif expected is not None and expected == last:
        following, present = present, last  # a repetition
    elif expected is None or expected == present or current.producer_epoch == NO_EPOCH:
        following = Identity(current.producer_id, current.producer_epoch + 1)
    else:
        raise KafkaError(ErrorCode.PRODUCER_FENCED)
    return Change(
        current.initialized(*following, timeout_ms, now_ms),
        following,
        last=NO_IDENTITY if expected is None else present,
    )


def first(transactional_id: str, new_producer_id: int) -> Transaction:
    """A transactional id that is new. Raises ProducerIdNeeded."""
    if new_producer_id == NO_PRODUCER_ID:
        raise ProducerIdNeeded("a new transactional id")
    return new_transaction(transactional_id, new_producer_id)


def _may_continue(current: Transaction, expected: Identity, last: Identity) -> bool:
    """Whether a producer with this id can be the one that is bound; its epoch is checked later."""
    return (
        current.producer_epoch == NO_EPOCH  # new: the producer lost its former id
        or expected.producer_id == current.producer_id
        # A repetition, the answer to which was lost: the id was changed as its epochs were used up.
        or (expected == last and is_exhausted(expected.producer_epoch))
    )


def check_producer(current: Transaction | None, producer: Identity) -> Transaction:
    """Raises KafkaError unless the producer is the one that is bound to the transactional id."""
    if current is None or current.producer_id != producer.producer_id:
        raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    if current.producer_epoch != producer.producer_epoch:
        raise KafkaError(ErrorCode.PRODUCER_FENCED)
    return current


def add_partitions(
    current: Transaction,
    partitions: Collection[TopicPartition],
    client_version: int,
    now_ms: int,
) -> Transaction | None:
    """AddPartitionsToTxn by the producer that is bound; None: they are part of it already."""
    if current.state.is_prepared:
        raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
    if current.state is TransactionState.ONGOING and current.partitions.issuperset(partitions):
        return None
    return current.with_partitions(partitions, client_version, now_ms)


def abort(current: Transaction, server_version: int, now_ms: int) -> Change:
    """End a transaction in place of its producer, which is fenced by that."""
    aborted = current.prepared(TransactionState.PREPARE_ABORT, server_version, now_ms, fences=True)
    # With the second generation the producer may still take the new epoch, if nobody else has.
    fenced = Identity(current.producer_id, current.producer_epoch)
    return Change(aborted, last=fenced if aborted.bumps_epochs else NO_IDENTITY)


def end(
    current: Transaction | None,
    producer: Identity,
    commit: bool,
    client_version: int,
    is_pending: bool,
    new_producer_id: int,
    now_ms: int,
) -> Change:
    """EndTxn. `is_pending`: a change of this transactional id is not yet committed to the log.

    Raises KafkaError (INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS,
    INVALID_TXN_STATE), ProducerIdNeeded.
    """
    if current is None:
        raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    if client_version >= EPOCH_BUMP_VERSION:
        return _end_v2(current, producer, commit, is_pending, new_producer_id, now_ms)
    check_producer(current, producer)
    if is_pending:
        raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
    if current.state is TransactionState.ONGOING:
        return Change(current.prepared(_prepare(commit), 0, now_ms))
    _check_repeated(current.state, commit)
    return Change(None)


def _end_v2(
    current: Transaction,
    producer: Identity,
    commit: bool,
    is_pending: bool,
    new_producer_id: int,
    now_ms: int,
) -> Change:
    """The second generation: each transaction has an epoch of its own, so that a request of an
    earlier one is told from one of this one. A repetition comes with the epoch before the present.

    In the states at rest (R repeated, C with the present epoch):

                      abort R   abort C     commit R   commit C
        Empty         fenced    new epoch   fenced     invalid
        CompleteAbort success   new epoch   invalid    invalid
        CompleteCommit invalid  new epoch   success    invalid
    """
    after_bump = current.producer_epoch == producer.producer_epoch + 1
    after_overflow = (
        current.previous_producer_id == producer.producer_id
        and producer.producer_epoch == EPOCH_MAX - 1
        and current.producer_epoch == 0
    )
    if current.producer_id != producer.producer_id and not after_overflow:
        raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    state = current.state
    is_current = current.producer_epoch == producer.producer_epoch
    is_complete = state in (TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT)
    is_repeated = after_bump or after_overflow
    if not (
        (is_current and not state.is_prepared)
        or (after_bump and state.is_prepared)
        or (is_repeated and is_complete)
    ):
        raise KafkaError(ErrorCode.PRODUCER_FENCED)
    if is_pending:
        raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
    if state is TransactionState.ONGOING or (
        state.is_at_rest and not commit and not (is_repeated and is_complete)
    ):
        return _prepared_v2(current, commit, new_producer_id, now_ms)
    if state.is_at_rest and not is_repeated:
        raise KafkaError(ErrorCode.INVALID_TXN_STATE)
    _check_repeated(state, commit)
    return Change(None, Identity(current.producer_id, current.producer_epoch))


def _prepared_v2(current: Transaction, commit: bool, new_producer_id: int, now_ms: int) -> Change:
    next_producer_id = NO_PRODUCER_ID
    if current.is_exhausted:
        if new_producer_id == NO_PRODUCER_ID:
            raise ProducerIdNeeded("epochs are used up")
        next_producer_id = new_producer_id
    prepared = current.prepared(
        _prepare(commit), EPOCH_BUMP_VERSION, now_ms, next_producer_id=next_producer_id
    )
    after = prepared.completed(now_ms)
    # A producer whose answer is lost repeats the request, with the epoch that it has.
    return Change(
        prepared,
        Identity(after.producer_id, after.producer_epoch),
        last=Identity(current.producer_id, current.producer_epoch),
    )


def _prepare(commit: bool) -> TransactionState:
    return TransactionState.PREPARE_COMMIT if commit else TransactionState.PREPARE_ABORT


def _check_repeated(state: TransactionState, commit: bool) -> None:
    """A decision that was taken before: fine when it is the same. Raises KafkaError:
    CONCURRENT_TRANSACTIONS while it is carried out, INVALID_TXN_STATE when it is another one.
    """
    committed = state in (TransactionState.PREPARE_COMMIT, TransactionState.COMPLETE_COMMIT)
    if state is TransactionState.EMPTY or committed != commit:
        raise KafkaError(ErrorCode.INVALID_TXN_STATE)
    if state.is_prepared:
        raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)

"""The states of a transactional id, after Kafka's transaction coordinator (KIP-98, KIP-890).

Numbers and names are Kafka's: the numbers stand in the records of `__transaction_state`, the names
in the answers of DescribeTransactions and ListTransactions. "v1" below is the classic protocol
(EndTxn up to version 4), "v2" that of transaction.version 2 (EndTxn from version 5).

EMPTY
    A producer id and epoch are bound to the transactional id, nothing is written with them yet.
    prepared write: InitProducerId, with the new epoch (or, when epochs run out, a new producer id
    with epoch 0)
    action: AddPartitionsToTxn, AddOffsetsToTxn begin a transaction; InitProducerId takes the next
    epoch; EndTxn: INVALID_TXN_STATE, but v2 takes an abort (the client may not know better)
    transition: partitions are added -> ONGOING; abort by v2 -> PREPARE_ABORT; unused for long ->
    DEAD

ONGOING
    Partitions are part of the transaction, records may lie in them.
    prepared write: the first and every further partition, before a record may be written to it
    action: more partitions are added; EndTxn ends it; InitProducerId aborts it in a new epoch and
    asks the client to come again (CONCURRENT_TRANSACTIONS); so does its timeout
    transition: commit -> PREPARE_COMMIT; abort, timeout, a new producer -> PREPARE_ABORT

PREPARE_COMMIT
    Decided: once this is in the log the transaction is committed whatever crashes; markers are
    being written.
    prepared write: EndTxn, with the epoch of the markers (v2: one more than the transaction's)
    action: the same EndTxn, InitProducerId, AddPartitionsToTxn: CONCURRENT_TRANSACTIONS; an abort:
    INVALID_TXN_STATE
    transition: every marker is acknowledged -> COMPLETE_COMMIT

PREPARE_ABORT
    The same for an abort. After a fence it carries the epoch that fences the former producer.
    transition: every marker is acknowledged -> COMPLETE_ABORT

COMPLETE_COMMIT
    prepared write: all markers are there; v2 binds the next producer id if epochs ran out
    action: as EMPTY; a repeated commit is answered with success (v2: in the epoch before this one)
    transition: as EMPTY

COMPLETE_ABORT
    The same after an abort.

DEAD
    Unused for transactional.id.expiration.ms: a tombstone removes it. Never in a record.
    action: as if the transactional id were not known

PREPARE_EPOCH_FENCE
    Between the decision to end somebody else's transaction and its PREPARE_ABORT. Here both are one
    decision, so nobody ever sees it; it has its number because Kafka's has.
    transition: -> PREPARE_ABORT
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class TransactionState(IntEnum):
    """Kafka's numbers; see the module for what each means."""

    EMPTY = 0
    ONGOING = 1
    PREPARE_COMMIT = 2
    PREPARE_ABORT = 3
    COMPLETE_COMMIT = 4
    COMPLETE_ABORT = 5
    DEAD = 6
    PREPARE_EPOCH_FENCE = 7

    @property
    def label(self) -> str:
        """The name as Kafka shows it."""
        return _LABELS[self]

    @property
    def is_prepared(self) -> bool:
        """Decided, with markers to be written."""
        return self in (TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT)

    @property
    def is_at_rest(self) -> bool:
        """Nothing under way: a transaction may begin, and the id may expire."""
        return self in AT_REST


_S = TransactionState

_LABELS: Final = {
    _S.EMPTY: "Empty",
    _S.ONGOING: "Ongoing",
    _S.PREPARE_COMMIT: "PrepareCommit",
    _S.PREPARE_ABORT: "PrepareAbort",
    _S.COMPLETE_COMMIT: "CompleteCommit",
    _S.COMPLETE_ABORT: "CompleteAbort",
    _S.DEAD: "Dead",
    _S.PREPARE_EPOCH_FENCE: "PrepareEpochFence",
}

BY_LABEL: Final = {label: state for state, label in _LABELS.items()}

AT_REST: Final = frozenset({_S.EMPTY, _S.COMPLETE_COMMIT, _S.COMPLETE_ABORT})

#: From which states each may be entered; everything else is our own mistake.
PREVIOUS_STATES: Final[dict[TransactionState, frozenset[TransactionState]]] = {
    _S.EMPTY: AT_REST,
    _S.ONGOING: AT_REST | {_S.ONGOING},
    _S.PREPARE_COMMIT: frozenset({_S.ONGOING}),
    _S.PREPARE_ABORT: AT_REST | {_S.ONGOING, _S.PREPARE_EPOCH_FENCE},
    _S.COMPLETE_COMMIT: frozenset({_S.PREPARE_COMMIT}),
    _S.COMPLETE_ABORT: frozenset({_S.PREPARE_ABORT}),
    _S.DEAD: AT_REST,
    _S.PREPARE_EPOCH_FENCE: frozenset({_S.ONGOING}),
}

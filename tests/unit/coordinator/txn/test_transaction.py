"""A transactional id step by step: what each change makes of its ids, epochs and times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.coordinator.txn.txn_harness import T0, T1
from tidelog.coordinator.txn.states import TransactionState
from tidelog.coordinator.txn.transaction import Transaction, is_exhausted, new_transaction
from tidelog.errors import InvariantError

S = TransactionState


def begun(epoch: int = 3) -> Transaction:
    return new_transaction("x", 5).initialized(5, epoch, 60_000, 10).with_partitions([T0], 2, 20)


def test_a_new_one_has_no_epoch() -> None:
    new = new_transaction("x", 5)
    assert (new.producer_epoch, new.state) == (-1, S.EMPTY)
    assert not new.has_timed_out(10**9)


def test_its_start_is_that_of_the_first_partition() -> None:
    transaction = begun().with_partitions([T1], 2, 30)
    assert transaction.partitions == {T0, T1}
    assert (transaction.start_timestamp_ms, transaction.last_update_timestamp_ms) == (20, 30)
    assert not transaction.has_timed_out(60_020)
    assert transaction.has_timed_out(60_021)


@pytest.mark.parametrize(
    ("version", "fences", "epoch"),
    [(0, False, 3), (0, True, 4), (2, False, 4), (2, True, 4)],
)
def test_the_epoch_of_the_markers(version: int, fences: bool, epoch: int) -> None:
    prepared = begun().prepared(S.PREPARE_ABORT, version, 30, fences=fences)
    assert prepared.producer_epoch == epoch
    assert prepared.partitions == {T0}
    assert prepared.start_timestamp_ms == 20
    completed = prepared.completed(40)
    assert (completed.state, completed.producer_epoch) == (S.COMPLETE_ABORT, epoch)
    assert completed.partitions == frozenset()


def test_a_new_producer_id_when_epochs_are_used_up() -> None:
    assert not is_exhausted(32765)
    prepared = begun(32766).prepared(S.PREPARE_COMMIT, 2, 30, next_producer_id=9)
    assert (prepared.producer_id, prepared.producer_epoch) == (5, 32767)
    completed = prepared.completed(40)
    assert (completed.producer_id, completed.producer_epoch) == (9, 0)
    assert (completed.previous_producer_id, completed.next_producer_id) == (5, -1)
    with pytest.raises(InvariantError):
        replace(begun(), producer_epoch=32767).prepared(S.PREPARE_ABORT, 0, 30, fences=True)


def test_a_transition_that_is_not_in_the_table() -> None:
    with pytest.raises(InvariantError):
        begun().completed(30)
    with pytest.raises(InvariantError):
        begun().initialized(5, 4, 1, 30)

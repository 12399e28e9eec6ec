"""What a cleaning keeps of transactions."""

from __future__ import annotations

from tidelog.storage.cleaner_txns import ABORT, COMMIT, CleanedTransactions
from tidelog.storage.txn_index import AbortedTxn

P, Q = 7, 8


def aborted(producer: int, first: int, marker: int) -> AbortedTxn:
    return AbortedTxn(producer, first, marker, marker + 1)


def test_data_of_aborted_transactions_go_and_others_stay() -> None:
    txns = CleanedTransactions([aborted(P, 10, 14), aborted(P, 10, 14)])
    assert not txns.discards_data(P, 9)
    assert not txns.discards_marker(P, 9, COMMIT)
    assert txns.discards_data(P, 11)
    assert not txns.discards_data(Q, 12)
    assert not txns.discards_marker(P, 14, ABORT)
    assert txns.take_kept() == [aborted(P, 10, 14)]
    assert txns.take_kept() == []
    assert not txns.discards_data(P, 16)
    assert not txns.discards_marker(Q, 17, COMMIT)


def test_a_marker_whose_data_are_gone_may_go() -> None:
    txns = CleanedTransactions([aborted(P, 10, 14)])
    assert txns.discards_marker(P, 14, ABORT)
    assert txns.discards_marker(Q, 15, COMMIT)
    assert txns.take_kept() == []


def test_a_commit_marker_stays_for_one_transaction_only() -> None:
    txns = CleanedTransactions()
    assert not txns.discards_data(P, 1)
    assert not txns.discards_marker(P, 2, COMMIT)
    assert txns.discards_marker(P, 3, COMMIT)


def test_transactions_of_a_producer_follow_each_other() -> None:
    txns = CleanedTransactions([aborted(P, 0, 2), aborted(P, 3, 5)])
    assert txns.discards_data(P, 1)
    assert not txns.discards_marker(P, 2, ABORT)
    assert txns.discards_marker(P, 5, ABORT)  # nothing of the second was met
    assert txns.take_kept() == [aborted(P, 0, 2)]


def test_empty_control_batches_may_go_and_unknown_ones_stay() -> None:
    txns = CleanedTransactions()
    assert txns.discards_marker(P, 1, None)
    assert not txns.discards_marker(P, 2, 5)

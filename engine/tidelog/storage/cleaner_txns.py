"""Transactions as a cleaning meets them: what was aborted, and which markers are still needed.

Pure: one object for one pass over a log, told of its transactional and control batches in order. As
Kafka has it, the data of aborted transactions go at once; a marker stays until a pass has met no
batch of its transaction, and from then on as long as a deletion marker would (KIP-534).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from tidelog.storage.txn_index import AbortedTxn

ABORT = 0
COMMIT = 1


class CleanedTransactions:
    """`aborted`: entries of the transaction indexes of the whole range that is gone through."""

    def __init__(self, aborted: Iterable[AbortedTxn] = ()) -> None:
        self._coming = [(txn.first_offset, txn) for txn in set(aborted)]
        heapq.heapify(self._coming)
        self._aborted: dict[int, AbortedTxn] = {}  # by producer id
        self._met: set[int] = set()  # those of them that a batch was met of
        self._committed: set[int] = set()
        self._kept: list[AbortedTxn] = []

    def discards_data(self, producer_id: int, last_offset: int) -> bool:
        """Whether a transactional batch of records belongs to an aborted transaction."""
        self._advance(last_offset)
        if producer_id in self._aborted:
            self._met.add(producer_id)
            return True
        self._committed.add(producer_id)
        return False

    def discards_marker(self, producer_id: int, last_offset: int, kind: int | None) -> bool:
        """Whether nothing is left of the transaction that a control batch ends.

        `kind`: ABORT, COMMIT, another type of control record, or None when the batch is empty.
        """
        self._advance(last_offset)
        if kind is None:
            return True
        if kind == ABORT:
            txn = self._aborted.pop(producer_id, None)
            if txn is None or producer_id not in self._met:
                return True
            self._met.discard(producer_id)
            self._kept.append(txn)
            return False
        if kind == COMMIT:
            if producer_id in self._committed:
                self._committed.discard(producer_id)
                return False
            return True
        return False

    def take_kept(self) -> list[AbortedTxn]:
        """Entries of the aborted transactions whose markers stayed, since the last call."""
        kept, self._kept = self._kept, []
        return kept

    def _advance(self, offset: int) -> None:
        while self._coming and self._coming[0][0] <= offset:
            _, txn = heapq.heappop(self._coming)
            self._aborted.setdefault(txn.producer_id, txn)

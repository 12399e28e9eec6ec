"""Producer state in plain Python: the twin of ProducerStates for clients' batches.

Written from the rules (KIP-98, KIP-360) and the answers of the reference (tests/compat/record).
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_SEQUENCE = 2**31 - 1
OUT_OF_ORDER = 45
INVALID_EPOCH = 47
INVALID_TXN_STATE = 48


@dataclass(frozen=True)
class Batch:
    """A batch as its producer sent it."""

    producer_id: int
    epoch: int
    sequence: int
    count: int
    timestamp: int = 0
    transactional: bool = False

    @property
    def last_sequence(self) -> int:
        return (self.sequence + self.count - 1) % (MAX_SEQUENCE + 1)


@dataclass(frozen=True)
class Kept:
    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    timestamp: int


@dataclass
class Producer:
    epoch: int = -1
    kept: list[Kept] = field(default_factory=list)
    last_timestamp: int = -1
    txn_first_offset: int = -1
    coordinator_epoch: int = -1

    @property
    def next_sequence(self) -> int:
        return (self.kept[-1].last_sequence + 1) % (MAX_SEQUENCE + 1) if self.kept else 0

    def enter(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch = epoch
            self.kept.clear()

    def has_ended(self, kept: Kept) -> bool:
        """Whether the transaction of that batch has ended (ADR 0035)."""
        if self.txn_first_offset < 0:
            return self.coordinator_epoch >= 0
        return kept.last_offset < self.txn_first_offset


class Producers:
    def __init__(self, verify_transactions: bool = True) -> None:
        self.known: dict[int, Producer] = {}
        self.verify_transactions = verify_transactions

    def check(self, batch: Batch) -> int | Kept:
        """0, an error code, or the batch that it repeats."""
        producer = self.known.get(batch.producer_id, Producer())
        for kept in producer.kept:
            same = (kept.first_sequence, kept.last_sequence)
            if batch.epoch != producer.epoch or same != (batch.sequence, batch.last_sequence):
                continue
            if not batch.transactional or not producer.has_ended(kept):
                return kept
        if batch.epoch < producer.epoch:
            return INVALID_EPOCH
        in_txn = producer.txn_first_offset >= 0
        verified = in_txn and batch.epoch == producer.epoch
        if batch.transactional and self.verify_transactions and not verified:
            return INVALID_TXN_STATE
        if producer.epoch >= 0:
            expected = producer.next_sequence if batch.epoch == producer.epoch else 0
            if batch.sequence != expected:
                return OUT_OF_ORDER
        if in_txn and not batch.transactional:
            return INVALID_TXN_STATE
        return 0

    def append(self, batch: Batch, base_offset: int) -> None:
        producer = self.known.setdefault(batch.producer_id, Producer())
        producer.enter(batch.epoch)
        last_offset = base_offset + batch.count - 1
        producer.kept.append(
            Kept(batch.sequence, batch.last_sequence, base_offset, last_offset, batch.timestamp)
        )
        del producer.kept[:-5]
        producer.last_timestamp = batch.timestamp
        if batch.transactional and producer.txn_first_offset < 0:
            producer.txn_first_offset = base_offset

    def end(self, producer_id: int, epoch: int, coordinator_epoch: int, timestamp: int) -> int:
        """A marker; returns the first offset of the transaction that it ended, or -1."""
        producer = self.known.setdefault(producer_id, Producer())
        producer.enter(epoch)
        first, producer.txn_first_offset = producer.txn_first_offset, -1
        producer.coordinator_epoch = coordinator_epoch
        producer.last_timestamp = timestamp
        return first

    def expire(self, now_ms: int, expiration_ms: int) -> set[int]:
        gone = {
            producer_id
            for producer_id, producer in self.known.items()
            if producer.txn_first_offset < 0 and now_ms - producer.last_timestamp >= expiration_ms
        }
        for producer_id in gone:
            del self.known[producer_id]
        return gone

    def snapshot(self) -> list[tuple[int, int, int, int, int, int, int, int]]:
        rows = []
        for producer_id, one in self.known.items():
            last = one.kept[-1] if one.kept else Kept(-1, -1, -1, -1, -1)
            delta = last.last_offset - last.first_offset
            rows.append(
                (
                    producer_id,
                    one.epoch,
                    last.last_sequence,
                    last.last_offset,
                    delta,
                    one.last_timestamp,
                    one.coordinator_epoch,
                    one.txn_first_offset,
                )
            )
        return sorted(rows)

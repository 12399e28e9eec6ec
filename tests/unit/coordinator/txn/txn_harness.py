"""Runs a TransactionShard without a loop: a clock and timers moved by hand, a list for a log."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from tidelog.coordinator.shard import CoordinatorRecord, Result, TimerOperation
from tidelog.coordinator.txn.config import TransactionConfig
from tidelog.coordinator.txn.decisions import Identity, ProducerIdNeeded
from tidelog.coordinator.txn.shard import Prepared, TransactionShard
from tidelog.coordinator.txn.states import TransactionState
from tidelog.coordinator.txn.transaction import TopicPartition
from tidelog.errors import KafkaError

A = TypeVar("A")

CONFIG = TransactionConfig(
    max_timeout_ms=900_000,
    abort_interval_ms=10_000,
    id_expiration_ms=604_800_000,
    expire_interval_ms=3_600_000,
)
T0 = TopicPartition("t", 0)
T1 = TopicPartition("t", 1)


class TxnHarness:
    """One shard. `version`: transaction.version; `refuse`: error code of the next write; `commits`:
    whether what is written is committed at once (else `commit_all`).
    """

    def __init__(self, version: int = 2, config: TransactionConfig = CONFIG) -> None:
        self.version = version
        self.config = config
        self.now_ms = 1_000_000
        self.log: list[CoordinatorRecord] = []
        self.refuse = 0
        self.commits = True
        self.waiting: list[Callable[[int], None]] = []
        self.sent: list[Prepared] = []
        self.next_producer_id = 1000
        self._timers: dict[Hashable, tuple[int, TimerOperation]] = {}
        self.shard = self.load()

    # -- Timers -----------------------------------------------------------------------------------

    def schedule(self, key: Hashable, delay_ms: int, operation: TimerOperation) -> None:
        self._timers[key] = (self.now_ms + delay_ms, operation)

    def cancel(self, key: Hashable) -> None:
        self._timers.pop(key, None)

    def pass_time(self, ms: int) -> None:
        """Move the clock and run what is due, in order."""
        end_ms = self.now_ms + ms
        while self._timers:
            key, (due_ms, operation) = min(self._timers.items(), key=lambda item: item[1][0])
            if due_ms > end_ms:
                break
            del self._timers[key]
            self.now_ms = max(self.now_ms, due_ms)
            self._apply(operation(self.now_ms))
        self.now_ms = end_ms

    # -- Markers ----------------------------------------------------------------------------------

    def send(self, prepared: Prepared) -> None:
        self.sent.append(prepared)

    def stop(self, index: int) -> None:
        self.sent.clear()

    def complete_all(self) -> None:
        """Every marker is acknowledged."""
        sent, self.sent = self.sent, []
        for prepared in sent:
            self.write(lambda shard, p=prepared: shard.complete(p, self.now_ms))  # type: ignore[misc]

    # -- the runtime ------------------------------------------------------------------------------

    def load(self) -> TransactionShard:
        """A new shard from what is in the log; the old one is dropped."""
        self._timers.clear()
        self.sent.clear()
        self.waiting.clear()
        self.shard = TransactionShard(7, lambda: self.config, lambda: self.version, self, self)
        for record in self.log:
            self.shard.replay(record)
        self.shard.on_loaded(self.now_ms)
        return self.shard

    def write(self, operation: Callable[[TransactionShard], Result[A]]) -> A:
        result = operation(self.shard)
        self._apply(result)
        return result.answer  # type: ignore[return-value]

    def _apply(self, result: Result[Any]) -> None:
        if result.records and self.refuse:
            code, self.refuse = self.refuse, 0
            result.on_written(code)
            result.on_committed(code)
            return
        self.log.extend(result.records)
        for record in result.records:
            self.shard.replay(record)
        result.on_written(0)
        if self.commits:
            result.on_committed(0)
        else:
            self.waiting.append(result.on_committed)

    def commit_all(self) -> None:
        waiting, self.waiting = self.waiting, []
        for on_committed in waiting:
            on_committed(0)

    # -- requests: an error code, or what is answered -------------------------------------------

    def ask(self, operation: Callable[[TransactionShard, int], Result[A]]) -> A | int:
        """With a new producer id when one is needed, as the service does."""
        try:
            try:
                return self.write(lambda shard: operation(shard, -1))
            except ProducerIdNeeded:
                self.next_producer_id += 1
                return self.write(lambda shard: operation(shard, self.next_producer_id))
        except KafkaError as error:
            return error.error_code

    def init(
        self, tid: str = "x", expected: tuple[int, int] | None = None, timeout_ms: int = 60_000
    ) -> Any:
        """(producer id, epoch) or the error code."""
        known = None if expected is None else Identity(*expected)
        answer = self.ask(
            lambda shard, new: shard.init_producer_id(tid, timeout_ms, known, new, self.now_ms)
        )
        if isinstance(answer, int):
            return answer
        return answer.error_code or tuple(answer.identity)

    def add(
        self, producer: Any, *partitions: TopicPartition, tid: str = "x", client_version: int = 0
    ) -> int:
        answer = self.ask(
            lambda shard, _: shard.add_partitions(
                tid, Identity(*producer), partitions or (T0,), client_version, self.now_ms
            )
        )
        return answer or 0

    def end(self, producer: Any, commit: bool = True, tid: str = "x", version: int = 2) -> Any:
        """(producer id, epoch) or the error code; version: of the client."""
        answer = self.ask(
            lambda shard, new: shard.end(
                tid, Identity(*producer), commit, version, new, self.now_ms
            )
        )
        return answer if isinstance(answer, int) else tuple(answer)

    def verify(self, producer: Any, *partitions: TopicPartition, tid: str = "x") -> Any:
        try:
            answer = self.shard.verify_partitions(tid, Identity(*producer), partitions)
        except KafkaError as error:
            return error.error_code
        return list(answer.values())

    def state(self, tid: str = "x") -> TransactionState:
        return self.shard.transactions[tid].state

    # -- scenes -----------------------------------------------------------------------------------

    def bring_to(self, state: TransactionState, version: int = 2) -> tuple[int, int]:
        """A transactional id in this state, brought there by a client of this generation; what its
        producer has then (of a prepared transaction: had before).
        """
        producer: Any = self.init()
        if state is TransactionState.EMPTY:
            return (producer[0], producer[1])
        assert self.add(producer, T0, client_version=version) == 0
        if state is TransactionState.ONGOING:
            return (producer[0], producer[1])
        commit = state in (TransactionState.PREPARE_COMMIT, TransactionState.COMPLETE_COMMIT)
        after = self.end(producer, commit, version=version)
        if state.is_prepared:
            return (producer[0], producer[1])
        self.complete_all()
        return (after[0], after[1]) if version >= 2 else (producer[0], producer[1])

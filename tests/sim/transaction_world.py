"""What the simulator of transactions runs in: a network that loses, delays and repeats,
coordinators that crash and are loaded again, a small model of partitions.

The coordinators' shards are the real ones. The partitions are a model: what a log has to do with
transactional batches and markers is written down here once more, from the protocol's description
(KIP-98, KIP-890), so that the shards are held to it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from tests.sim.transaction_history import Entry, Fences, outcomes
from tidelog.coordinator.shard import CoordinatorRecord, Result, TimerOperation
from tidelog.coordinator.txn.config import TransactionConfig
from tidelog.coordinator.txn.decisions import Identity, ProducerIdNeeded
from tidelog.coordinator.txn.shard import Prepared, TransactionShard
from tidelog.coordinator.txn.transaction import TopicPartition
from tidelog.errors import KafkaError

A = TypeVar("A")
Reply = Callable[[Any], None]

TOPIC = "t"
ABORT_INTERVAL_MS = 1_000
TIMEOUT_MS = 5_000
CONFIG = TransactionConfig(
    max_timeout_ms=TIMEOUT_MS,
    abort_interval_ms=ABORT_INTERVAL_MS,
    id_expiration_ms=10**9,
    expire_interval_ms=10**9,
)
NOT_AVAILABLE, NOT_COORDINATOR = 15, 16
INVALID_EPOCH, FENCED, COORDINATOR_FENCED, ABORTABLE = 47, 90, 52, 120


class Refused(NamedTuple):
    """An answer that is an error code."""

    code: int


class Network:
    """Messages on their way, in no order."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.is_hostile = False  # every message may arrive more than once
        self._messages: list[tuple[Any, Callable[[], None], bool]] = []
        self._late: list[Callable[[], None]] = []

    def send(self, sender: Any, deliver: Callable[[], None], *, repeats: bool = False) -> None:
        """`repeats`: it may arrive more than once, and very late."""
        self._messages.append((sender, deliver, repeats or self.is_hostile))

    def forget(self, sender: Any) -> None:
        """What this sender has on its way never arrives (its repetition does not meet it)."""
        self._messages = [message for message in self._messages if message[0] != sender]

    def deliver(self) -> None:
        """One message arrives."""
        if not self._messages:
            return
        at = self._rng.randrange(len(self._messages))
        message = self._messages.pop(at)
        if message[2] and self._rng.random() < 0.3:
            self._late.append(message[1])
        message[1]()

    def deliver_late(self) -> None:
        """One message arrives once more."""
        if self._late:
            self._late.pop(self._rng.randrange(len(self._late)))()

    def lose(self) -> None:
        """One message does not arrive."""
        if self._messages:
            del self._messages[self._rng.randrange(len(self._messages))]

    def deliver_all(self) -> None:
        """Everything that is on its way arrives, and what comes of it."""
        while self._messages or self._late:
            self.deliver_late()
            if self._messages:
                self._messages.pop(self._rng.randrange(len(self._messages)))[1]()


@dataclass(slots=True)
class ProducerState:
    """What a partition knows of a producer id. guard: of a question to the coordinator that is
    under way; a marker makes its answer worthless (KIP-890).
    """

    epoch: int = -1
    coordinator_epoch: int = -1
    open_since: int | None = None
    marked_epoch: int = -1
    sequences: set[tuple[int, int]] = field(default_factory=set)
    guard: object | None = None


class Partition:
    """The model of one partition. `writes` counts markers by (producer id, epoch)."""

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.place = TopicPartition(TOPIC, index)
        self.log: list[Entry] = []
        self.high_watermark = 0
        self.producers: dict[int, ProducerState] = {}
        self.aborted: list[tuple[int, int, int]] = []
        self._last_stable = 0

    @property
    def last_stable_offset(self) -> int:
        firsts = [s.open_since for s in self.producers.values() if s.open_since is not None]
        return min([self.high_watermark, *firsts])

    def check(self) -> None:
        """LSO <= high watermark, and it never goes back."""
        lso = self.last_stable_offset
        assert self._last_stable <= lso <= self.high_watermark <= len(self.log)
        self._last_stable = lso

    def produce(self, tid: str, producer: Identity, sequence: int, attempt: Any, reply: Reply
                ) -> None:  # fmt: skip
        """A transactional batch of one record; the answer: an error code."""
        state = self.producers.setdefault(producer.producer_id, ProducerState())
        epoch = producer.producer_epoch
        if epoch < state.epoch:
            reply(INVALID_EPOCH)
        elif (epoch, sequence) in state.sequences:
            reply(0)
        elif state.open_since is not None and state.epoch == epoch:
            self._append(state, producer, sequence, attempt)
            reply(0)
        else:
            guard = state.guard = state.guard or object()

            def verified(code: int) -> None:
                if code == 0 and state.guard is guard and epoch >= state.epoch:
                    if (epoch, sequence) not in state.sequences:
                        self._append(state, producer, sequence, attempt)
                    reply(0)
                else:
                    reply(code or NOT_AVAILABLE)  # after a marker: the client asks again

            self.world.verify(tid, producer, self.place, verified)

    def _append(
        self, state: ProducerState, producer: Identity, sequence: int, attempt: Any
    ) -> None:
        fences = self.world.fences
        fences.check(attempt.tid, producer.producer_epoch, fences.of(attempt.tid))
        if state.open_since is None:
            state.open_since = len(self.log)
        state.epoch = producer.producer_epoch
        state.sequences.add((producer.producer_epoch, sequence))
        self.log.append(Entry(producer.producer_id, attempt))

    def mark(self, prepared: Prepared, coordinator_epoch: int) -> int:
        """A marker comes; an error code."""
        state = self.producers.setdefault(prepared.producer_id, ProducerState())
        epoch = prepared.producer_epoch
        if coordinator_epoch < state.coordinator_epoch:
            return COORDINATOR_FENCED
        if state.open_since is None and state.marked_epoch == epoch == state.epoch:
            state.coordinator_epoch = coordinator_epoch
            return 0  # written already
        is_late = epoch <= state.epoch if prepared.transaction_version >= 2 else False
        if epoch < state.epoch or (is_late and state.open_since is not None):
            return INVALID_EPOCH
        if not prepared.commit and state.open_since is not None:
            self.aborted.append((prepared.producer_id, state.open_since, len(self.log)))
        self.log.append(Entry(prepared.producer_id, commit=prepared.commit))
        state.epoch = state.marked_epoch = epoch
        state.coordinator_epoch = coordinator_epoch
        state.open_since = state.guard = None
        return 0

    def read_committed(self) -> list[int]:
        """The offsets that a reader of committed records gets: below the LSO, without the aborted
        ones that it is told of.
        """
        return [
            offset
            for offset, entry in enumerate(self.log[: self.last_stable_offset])
            if entry.commit is None
            and not any(
                pid == entry.producer_id and first <= offset < last
                for pid, first, last in self.aborted
            )
        ]


class Coordinator:
    """One partition of `__transaction_state`: a log that outlives crashes, and the shard of whoever
    leads it now. Timers and markers are its shard's.
    """

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.index = index
        self.log: list[CoordinatorRecord] = []
        self.epoch = 0
        self.shard: TransactionShard | None = None
        self.loaded_at_ms = 0
        #: (records in the log by then, what happens at the commit of it)
        self.uncommitted: list[tuple[int, Callable[[int], None]]] = []
        self.committed = 0
        self.works: dict[str, tuple[Prepared, set[TopicPartition]]] = {}
        self._timers: dict[Hashable, tuple[int, TimerOperation]] = {}
        self.load()

    # -- Timers, Markers --------------------------------------------------------------------------

    def schedule(self, key: Hashable, delay_ms: int, operation: TimerOperation) -> None:
        self._timers[key] = (self.world.now_ms + delay_ms, operation)

    def cancel(self, key: Hashable) -> None:
        self._timers.pop(key, None)

    def send(self, prepared: Prepared) -> None:
        self.works[prepared.transactional_id] = (prepared, set(prepared.partitions))

    def stop(self, index: int) -> None:
        self.works.clear()

    # -- life -------------------------------------------------------------------------------------

    def crash(self) -> None:
        """The leader is gone, and with it what was not committed, or not all of it."""
        if self.shard is None:
            return
        self.shard.on_unloaded()
        self.shard = None
        self._timers.clear()
        self.uncommitted.clear()
        kept = self.world.rng.randint(self.committed, len(self.log))
        del self.log[kept:]

    def load(self) -> None:
        """Somebody leads it again."""
        if self.shard is not None:
            return
        self.epoch += 1
        self.committed = len(self.log)
        self.loaded_at_ms = self.world.now_ms
        self.shard = TransactionShard(
            self.index, lambda: CONFIG, lambda: self.world.version, self, self
        )
        for record in self.log:
            self.shard.replay(record)
        self.shard.on_loaded(self.world.now_ms)

    def run_timers(self) -> None:
        for key, (due_ms, operation) in list(self._timers.items()):
            if due_ms <= self.world.now_ms and self.shard is not None:
                del self._timers[key]
                self._apply(operation(self.world.now_ms), lambda answer: None)

    def commit(self) -> None:
        """Everything that is in the log is committed."""
        uncommitted, self.uncommitted = self.uncommitted, []
        for length, done in uncommitted:
            self.committed = max(self.committed, length)
            done(0)

    # -- requests ---------------------------------------------------------------------------------

    def ask(self, operation: Callable[[TransactionShard, int], Result[Any]], reply: Reply) -> None:
        """Run an operation (shard, new producer id or -1); the answer or Refused goes to `reply`
        when it is committed.
        """
        if self.shard is None:
            reply(Refused(NOT_COORDINATOR))
            return
        try:
            try:
                result = operation(self.shard, -1)
            except ProducerIdNeeded:
                self.world.last_producer_id += 1
                result = operation(self.shard, self.world.last_producer_id)
        except KafkaError as error:
            reply(Refused(error.error_code))
            return
        self._apply(result, reply)

    def _apply(self, result: Result[Any], reply: Reply) -> None:
        assert self.shard is not None
        if result.records and self.world.rng.random() < self.world.write_failures:
            result.on_written(NOT_AVAILABLE)
            result.on_committed(NOT_AVAILABLE)
            reply(Refused(NOT_AVAILABLE))
            return
        self.log.extend(result.records)
        for record in result.records:
            self.shard.replay(record)
        result.on_written(0)

        def committed(code: int) -> None:
            result.on_committed(code)
            reply(result.answer)

        if result.records:
            self.uncommitted.append((len(self.log), committed))
        else:
            committed(0)

    # -- markers ----------------------------------------------------------------------------------

    def send_markers(self) -> None:
        """Send every marker that is not acknowledged (again)."""
        for prepared, remaining in list(self.works.values()):
            if not remaining:
                self._complete(prepared)
            for place in sorted(remaining):
                sender = (self.index, self.epoch, prepared, place)
                if self.world.version < 2:
                    self.world.network.forget(sender)
                self.world.network.send(
                    sender,
                    lambda p=prepared, w=place, e=self.epoch: self._arrive(p, w, e),  # type: ignore[misc]
                    repeats=self.world.version >= 2,
                )

    def _arrive(self, prepared: Prepared, place: TopicPartition, epoch: int) -> None:
        code = self.world.partitions[place.partition].mark(prepared, epoch)

        def answered() -> None:
            work = self.works.get(prepared.transactional_id)
            if work is None or work[0] is not prepared or epoch != self.epoch:
                return
            if code == 0:
                work[1].discard(place)
            elif code in (INVALID_EPOCH, COORDINATOR_FENCED):
                # Only an answer to a marker of the past: this one was acknowledged before.
                assert place not in work[1], (code, prepared)

        self.world.network.send((self.index, "ack"), answered)

    def _complete(self, prepared: Prepared) -> None:
        def done(answer: Any) -> None:
            work = self.works.get(prepared.transactional_id)
            if not isinstance(answer, Refused) and work is not None and work[0] is prepared:
                del self.works[prepared.transactional_id]

        self.ask(lambda shard, _: shard.complete(prepared, self.world.now_ms), done)


class World:
    """Everything together. version: transaction.version, and the generation of the clients."""

    def __init__(self, seed: int, version: int, partitions: int = 3, coordinators: int = 2) -> None:
        self.rng = random.Random(seed)
        self.version = version
        self.now_ms = 1_000_000
        self.write_failures = 0.0
        self.is_over = False  # nobody asks for anything new
        self.last_producer_id = 0
        self.fences = Fences()
        self.network = Network(self.rng)
        self.partitions = [Partition(self, index) for index in range(partitions)]
        self.coordinators = [Coordinator(self, index) for index in range(coordinators)]

    def coordinator(self, tid: str) -> Coordinator:
        return self.coordinators[sum(tid.encode()) % len(self.coordinators)]

    def verify(
        self, tid: str, producer: Identity, place: TopicPartition, answer: Callable[[int], None]
    ) -> None:
        """A partition asks whether it is in the transaction; in the second generation it joins."""
        coordinator = self.coordinator(tid)

        def reply(found: Any) -> None:
            code = found.code if isinstance(found, Refused) else (found or {}).get(place, 0)
            self.network.send((place, "verified"), lambda: answer(code))

        def ask() -> None:
            if self.version >= 2:
                coordinator.ask(
                    lambda shard, _: shard.add_partitions(tid, producer, (place,), 2, self.now_ms),
                    reply,
                )
            else:
                coordinator.ask(
                    lambda shard, _: Result(shard.verify_partitions(tid, producer, (place,))), reply
                )

        self.network.send((place, "verify"), ask)

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        for coordinator in self.coordinators:
            coordinator.run_timers()

    def check(self) -> None:
        """What holds after every step."""
        for partition in self.partitions:
            partition.check()
        slack_ms = 10 * ABORT_INTERVAL_MS
        for coordinator in self.coordinators:
            if coordinator.shard is None or self.now_ms - coordinator.loaded_at_ms < slack_ms:
                continue
            for transaction in coordinator.shard.transactions.values():
                late_ms = self.now_ms - transaction.start_timestamp_ms - transaction.timeout_ms
                assert not transaction.has_timed_out(self.now_ms) or late_ms < slack_ms

    def check_readers(self) -> None:
        """A reader of committed records gets what was committed, and nothing else."""
        for partition in self.partitions:
            lso = partition.last_stable_offset
            ended = [each for each in outcomes(partition.log) if each[0] < lso]
            assert all(commit is not None for _, _, commit in ended)
            committed = [offset for offset, _, commit in ended if commit]
            assert partition.read_committed() == committed

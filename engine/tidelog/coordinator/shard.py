"""What the runtime and a shard promise each other (the contract of coordinators, after Kafka's
KIP-848 coordinator).

A shard holds the state of one partition of an internal topic. Its operations read that state and
return a `Result`: records to be written and an
answer. Hard state (what the records say) is changed by `replay` alone, so that a shard loaded
from its log equals the one that
wrote it. Soft state (who waits, timers) may be changed by operations; it is gone after a reload.
A shard never reads a clock and does no I/O: time,
randomness and timers are given to it, so that thousands of schedules can be simulated in a second.

Two users: groups (`coordinator/group/`) and transactions (`coordinator/txn/`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from tidelog.coordinator.promise import Promise

A = TypeVar("A")


class CoordinatorRecord(NamedTuple):
    """Key and value as bytes, framed as Kafka frames them; value None is a tombstone."""

    key: bytes
    value: bytes | None


def _nothing(error_code: int) -> None:
    return None


@dataclass(slots=True)
class Result(Generic[A]):
    """What an operation asks for.

    records: written as one batch (all or none), replayed, and only then is the answer given.
    on_written(error_code): soft state that depends on the outcome; 0 = the records are in the
    log. Called once, also without records.
    on_committed(error_code): the same when they are committed (on every in-sync replica), which is
    when others may be told of them; called once after on_written, with its error or that of the
    wait.
    """

    answer: A | Promise[A]
    records: Sequence[CoordinatorRecord] = ()
    on_written: Callable[[int], None] = _nothing
    on_committed: Callable[[int], None] = _nothing


#: An operation of a timer: gets the time in ms; its answer is dropped.
TimerOperation = Callable[[int], Result[Any]]


class Random(Protocol):
    """Randomness as an argument; `random.Random` is one."""

    def getrandbits(self, k: int, /) -> int: ...


class Timers(Protocol):
    """Timers of one shard. A timer that fires runs its operation as a write; scheduling a key
    anew replaces it.
    """

    def schedule(self, key: Hashable, delay_ms: int, operation: TimerOperation) -> None: ...

    def cancel(self, key: Hashable) -> None: ...


class Shard(ABC):
    """State of one partition of a coordinator's topic."""

    @abstractmethod
    def replay(self, record: CoordinatorRecord) -> None:
        """Change the state as the record says. Unknown record types are skipped (a newer node may
        have written them).
        """

    def replay_pending(self, producer_id: int, record: CoordinatorRecord) -> None:
        """The same for a record that is part of a producer's open transaction: it counts when the
        transaction commits. Shards that take none pass them over.
        """
        return None

    def end_transaction(self, producer_id: int, is_commit: bool) -> None:
        """Replay of a marker."""
        return None

    @abstractmethod
    def on_loaded(self, now_ms: int) -> None:
        """The log has been replayed: start timers."""

    @abstractmethod
    def on_unloaded(self) -> None:
        """This node leads the partition no more: fulfil every promise with NOT_COORDINATOR.
        Timers are cancelled by the runtime.
        """


S = TypeVar("S", bound=Shard)

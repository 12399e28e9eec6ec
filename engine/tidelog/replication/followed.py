"""One partition that this node follows, from the first request to its last append.

Belongs to a Fetcher, on the worker's loop task; FollowerState decides, this carries out: appends
and watermarks at once, while the answer lies in the receive buffer; what waits for the disk or for
the leader (rolls, flushes, truncations) in a task, while the partition is not fetched and the
others go on. What of an answer could not be appended for that is fetched again.

It never outlives its leader epoch: when the partition has another one, nothing more is done here,
also after an await; whoever follows anew makes another object.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from tidelog._native.log import STATUS_NEEDS_ROLL, LogCore
from tidelog._native.replica_fetch import FetchedPart, ReplicaFetch
from tidelog.errors import InvariantError, KafkaError, StorageError
from tidelog.replication.follower import (
    Action,
    AdvanceLogStart,
    Append,
    AskOffsets,
    FollowerState,
    RestartAt,
    SetHighWatermark,
    TruncateTo,
    Wait,
)
from tidelog.replication.peer_client import PeerUnavailableError

if TYPE_CHECKING:
    from tidelog._native.partition import Throttle
    from tidelog.replication.throttle import Throttled
    from tidelog.storage.log import PartitionLog

log: Final = logging.getLogger(__name__)


class FollowingPartition(Protocol):
    """What of a Partition its follower needs."""

    @property
    def topic(self) -> bytes: ...

    @property
    def topic_id(self) -> bytes: ...

    @property
    def index(self) -> int: ...

    @property
    def leader_id(self) -> int: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def high_watermark(self) -> int: ...

    @property
    def throttle(self) -> Throttle | None: ...

    def set_follower_high_watermark(self, high_watermark: int) -> object:
        """The log's end is the most that is taken of it."""

    def follower_appended(self) -> object:
        """The log grew."""


#: Where a partition's log begins and ends on its leader. Raises KafkaError, PeerUnavailableError.
LeaderOffsets: TypeAlias = Callable[[FollowingPartition], Awaitable[tuple[int, int]]]


class _Roll(NamedTuple):
    """The next batch needs a new segment. `force`: it was not refused for that yet."""

    force: bool = False


class _Flush(NamedTuple):
    """What was appended has to be durable before the leader is told of it (flush.messages)."""


_Step: TypeAlias = Action | _Roll | _Flush


class Followed:
    """One partition under one leader epoch. `on_ready`: it is to be fetched again. `throttled`: of
    its fetcher.
    """

    def __init__(
        self,
        partition: FollowingPartition,
        held: PartitionLog,
        exchange: ReplicaFetch,
        leader_offsets: LeaderOffsets,
        backoff_ms: int,
        on_ready: Callable[[], object],
        throttled: Throttled | None = None,
    ) -> None:
        self.partition = partition
        self.held = held
        self.leader_id = partition.leader_id
        self.leader_epoch = partition.leader_epoch
        self._core: LogCore = held.core
        self._exchange = exchange
        self._leader_offsets = leader_offsets
        self._on_ready = on_ready
        self._throttled = throttled
        self._state = FollowerState(held.epochs, partition.leader_epoch, backoff_ms)
        self._part = FetchedPart(
            partition.topic_id, partition.index, held.core, partition.leader_epoch, self
        )
        self._work: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asks_leader = False
        self._ended = False

    def __repr__(self) -> str:
        return f"<Followed {self._name} leader={self.leader_id} epoch={self.leader_epoch}>"

    @property
    def _name(self) -> str:
        return f"{self.partition.topic.decode()}-{self.partition.index}"

    # -- life -----------------------------------------------------------------------------------

    def is_for(self, partition: FollowingPartition, held: PartitionLog) -> bool:
        """Whether it is just this that it does already."""
        return (
            partition is self.partition
            and held is self.held
            and held.core is self._core
            and self.is_present
        )

    @property
    def is_present(self) -> bool:
        """False when the partition has another leader or epoch by now, or its log is offline."""
        return (
            not self._ended
            and self.partition.leader_epoch == self.leader_epoch
            and self.partition.leader_id == self.leader_id
            and not self.held.offline
        )

    def start(self) -> None:
        """Begin to fetch."""
        if not self._ended:
            self._exchange.add(self._part)
            if self.partition.throttle is not None and self._core.active_segment is None:
                # What comes first would find no file, and be fetched and charged twice.
                self._begin((_Roll(force=True),))
            else:
                self._go_on()

    def stop(self) -> asyncio.Task[None] | None:
        """Nothing more is begun; returns the task that still works on the log, if there is one."""
        self._ended = True
        self._exchange.remove(self._part)
        if self._throttled is not None:
            self._throttled.forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._work is not None and self._asks_leader:
            self._work.cancel()
        return self._work

    def _go_on(self) -> None:
        if self.is_present:
            self._ask()
            self._on_ready()

    # -- throttled replication ------------------------------------------------------------------

    @property
    def is_in_sync(self) -> bool:
        """Whether it has all that was committed when its leader answered last."""
        return 0 <= self._part.high_watermark <= self._core.log_end_offset

    @property
    def is_asked(self) -> bool:
        """Whether the requests of the moment are to fetch it."""
        return self._part.active

    def leave_out(self) -> None:
        """Fetch it no more until it is resumed."""
        self._exchange.pause(self._part)

    def resume(self) -> None:
        """It was left out; ask for it again, if it may by now."""
        if self.is_present and self._work is None and self._timer is None:
            self._ask()

    # -- requests -------------------------------------------------------------------------------

    def _ask(self) -> None:
        core, partition = self._core, self.partition
        if self._throttled is not None and not self._throttled.may_ask(self):
            self.leave_out()
            return
        asked = self._state.ask(core.log_start_offset, core.log_end_offset)
        self._exchange.ask(
            self._part,
            asked.fetch_offset,
            asked.last_fetched_epoch,
            asked.log_start_offset,
            partition.high_watermark,
        )

    # -- answers --------------------------------------------------------------------------------

    def take(self, now_ms: int) -> bool:
        """The answer says something about the partition. Returns False when it brought records of
        which nothing could be used, and nothing keeps it from being asked the same again.
        """
        if not self.is_present:
            self._exchange.pause(self._part)
            return True
        core, part = self._core, self._part
        end = core.log_end_offset
        later: list[_Step] = []
        for action in self._state.take(part, core.log_start_offset, end):
            if isinstance(action, Append):
                if self.partition.throttle is not None:
                    self.partition.throttle.record(part.records_size)
                later += self._append(now_ms)
            elif isinstance(action, SetHighWatermark):
                self.partition.set_follower_high_watermark(action.offset)
            else:
                later.append(action)
        if core.log_end_offset > end and core.is_flush_due():
            later.append(_Flush())
        if later:
            self._begin(later)
        elif core.log_end_offset > end:
            self._ask()
        else:
            return part.error_code != 0 or part.records_size == 0
        return True

    def _append(self, now_ms: int) -> tuple[_Step, ...]:
        core, part = self._core, self._part
        end = core.log_end_offset
        code = self._exchange.append(part, now_ms)
        if core.log_end_offset > end:
            self.partition.follower_appended()
        if code == 0:
            return ()
        if code == STATUS_NEEDS_ROLL:
            return (_Roll(),)
        return self._state.append_refused(
            -code,
            part.refused_base_offset,
            part.refused_last_offset,
            core.log_start_offset,
            core.log_end_offset,
        )

    # -- what takes time ------------------------------------------------------------------------

    def _begin(self, steps: Iterable[_Step]) -> None:
        if self._work is not None:
            raise InvariantError(f"{self!r}: an answer while it is being changed")
        self._exchange.pause(self._part)
        self._work = asyncio.get_running_loop().create_task(self._carry_out(steps))

    async def _carry_out(self, steps: Iterable[_Step]) -> None:
        waiting = deque(steps)
        try:
            while waiting and self.is_present:
                waiting.extend(await self._do(waiting.popleft()))
        except (StorageError, OSError, KafkaError, PeerUnavailableError) as error:
            if self.is_present:
                self._wait(self._state.wait(str(error)))
        finally:
            self._work = None
        if self._timer is None:
            self._go_on()

    async def _do(self, step: _Step) -> tuple[Action, ...]:
        """Returns what has to follow. Raises StorageError, KafkaError, PeerUnavailableError."""
        core, held = self._core, self.held
        match step:
            case _Roll(force):
                await held.roll(force=force)
            case _Flush():
                await held.flush()
            case AdvanceLogStart(offset):
                await held.advance_log_start(offset)
            case TruncateTo(offset):
                self._note_truncation(offset, core.log_end_offset)
                await held.truncate_to(offset)
                self._bound_high_watermark()
            case RestartAt(offset):
                log.warning("log starts anew topic_partition=%s offset=%d log_end_offset=%d",
                            self._name, offset, core.log_end_offset)  # fmt: skip
                await held.truncate_fully_and_start_at(offset)
                self._bound_high_watermark()
            case AskOffsets():
                start, end = await self._ask_leader()
                if self.is_present:
                    return self._state.leader_offsets(start, end, core.log_end_offset)
            case Wait():
                self._wait(step)
            case Append() | SetHighWatermark():
                raise InvariantError(f"{step} waits for nothing")
        return ()

    async def _ask_leader(self) -> tuple[int, int]:
        self._asks_leader = True
        try:
            return await self._leader_offsets(self.partition)
        finally:
            self._asks_leader = False

    def _bound_high_watermark(self) -> None:
        if not self._ended:
            self.partition.set_follower_high_watermark(self.partition.high_watermark)

    def _note_truncation(self, offset: int, end: int) -> None:
        if offset >= end:
            return  # epochs without records are cut, at most
        log.warning(
            "log truncated topic_partition=%s from=%d to=%d leader=%d leader_epoch=%d",
            self._name, end, offset, self.leader_id, self.leader_epoch,
        )  # fmt: skip
        if offset < self.partition.high_watermark:
            log.error(
                "committed records are cut off: the leader was elected outside the in-sync set"
                " topic_partition=%s high_watermark=%d to=%d",
                self._name, self.partition.high_watermark, offset,
            )  # fmt: skip

    def _wait(self, wait: Wait) -> None:
        if wait.is_new:
            log.warning("follower waits topic_partition=%s leader=%d leader_epoch=%d reason=%s",
                        self._name, self.leader_id, self.leader_epoch, wait.reason)  # fmt: skip
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait.time_ms / 1000, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self._go_on()

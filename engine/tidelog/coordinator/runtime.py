"""Runs the shards of one coordinator on a node: loads them when the node begins to lead a
partition, appends what they decide, answers.

Belongs to the worker's loop task. Operations of a shard run one after another: decide, append,
replay; the wait for the commit is outside that
order, so that operations pipeline. An operation without records waits, too, for what was written
before it: its answer may tell of that, and what is lost with this node must have been told to
nobody (the next coordinator may decide otherwise). It never looks into a shard's state, and knows
nothing of groups or transactions.

Loading reads the log in pieces on a helper thread and replays them on the loop, yielding between
pieces. It ends when all of that is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from tidelog.clock import Clock
from tidelog.coordinator.promise import Promise
from tidelog.coordinator.shard import (
    CoordinatorRecord,
    Result,
    S,
    Shard,
    TimerOperation,
    Timers,
)
from tidelog.errors import InvariantError, KafkaError, TidelogError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import NO_PRODUCER, ControlType, NewRecord, Producer, build_batch
from tidelog.record.view import iterate_batches
from tidelog.replication.markers import Marker, append_marker

if TYPE_CHECKING:
    from tidelog._native.log import LogCore
    from tidelog._native.partition import Partition
    from tidelog.replication.replica_manager import ReplicaManager

log: Final = logging.getLogger(__name__)

A = TypeVar("A")

#: What a coordinator answers when its log refuses a write, as Kafka translates it.
_TRANSLATED: Final = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ErrorCode.NOT_COORDINATOR,
    ErrorCode.KAFKA_STORAGE_ERROR: ErrorCode.NOT_COORDINATOR,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.CORRUPT_MESSAGE: ErrorCode.UNKNOWN_SERVER_ERROR,
}


def translated(error_code: int) -> ErrorCode:
    """What a coordinator answers for a code of its log."""
    code = ErrorCode(error_code)
    return _TRANSLATED.get(code, code)


class LogSettings(NamedTuple):
    """How a coordinator uses its log. codec: by its number in a batch's attributes; without
    commit_timeout_ms a write waits for its commit however long it takes.
    """

    load_bytes: int
    commit_timeout_ms: int | None = None
    codec: int = 0


class CoordinatorRuntime(Generic[S]):
    """The shards of one internal topic. `make_shard(index, timers)` makes an empty one."""

    def __init__(
        self,
        topic: str,
        replicas: ReplicaManager,
        clock: Clock,
        make_shard: Callable[[int, Timers], S],
        settings: LogSettings,
    ) -> None:
        self._topic = topic.encode()
        self._replicas = replicas
        self._clock = clock
        self._make_shard = make_shard
        self._settings = settings
        self._contexts: dict[int, _Context[S]] = {}
        self._sweeps: set[asyncio.Task[None]] = set()
        self._writes: set[asyncio.Future[Any]] = set()
        replicas.leadership_listeners.append(self._on_leadership)

    # -- operations ---------------------------------------------------------------------------

    async def write(self, index: int, operation: Callable[[S, int], Result[A]]) -> A:
        """Run an operation (shard, now_ms), write its records, answer. A caller that is cancelled
        takes the wait for the commit with it (and `on_committed`), never what is being written.

        Raises KafkaError: NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS,
        COORDINATOR_NOT_AVAILABLE, or what the operation raises.
        """
        return await self._write(index, operation, NO_PRODUCER)

    async def write_through(self, index: int, operation: Callable[[S, int], Result[A]]) -> A:
        """`write` that goes on when its caller goes: for what others depend on."""
        task = asyncio.ensure_future(self.write(index, operation))
        self._writes.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    def _written(self, task: asyncio.Future[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever waited has it; without a client it is of no interest.

    async def _write(
        self, index: int, operation: Callable[[S, int], Result[A]], producer: Producer
    ) -> A:
        context = self._active(index)
        last_offset = -1
        async with context.lock:
            self._check(context)
            result = operation(context.shard, self._clock.wall_ms())
            try:
                if result.records:
                    last_offset = await self._append(context, result, producer)
            except KafkaError as error:
                code = translated(error.error_code)
                result.on_written(code)
                result.on_committed(code)
                raise KafkaError(code) from error
            result.on_written(0)
            if not result.records:
                last_offset = context.last_offset
        await self._committed(context, last_offset, result)
        if isinstance(result.answer, Promise):
            return await _future_of(result.answer)
        return result.answer

    async def write_as(
        self, index: int, producer: Producer, operation: Callable[[S, int], Result[A]]
    ) -> A:
        """`write` within the producer's transaction, which the coordinator of transactions was
        asked for: the records count when the transaction commits.

        Raises KafkaError as `write` does; INVALID_PRODUCER_EPOCH; INVALID_TXN_STATE when the
        transaction has ended since it was asked for.
        """
        return await self._write(index, operation, producer)

    async def end_transaction(self, index: int, marker: Marker) -> None:
        """Write a marker of the coordinator of transactions, and replay it. Raises KafkaError."""
        context = self._active(index)
        partition = context.partition
        async with context.lock:
            self._check(context)
            while append_marker(partition, marker, self._clock.wall_ms()) is None:
                await self._replicas.roll(partition)
                self._check(context)
            context.shard.end_transaction(marker.producer_id, marker.is_commit)
            last_offset = partition.log.log_end_offset - 1 if partition.log is not None else -1
            context.last_offset = last_offset
        await self._committed(context, last_offset, Result(None))

    def read(self, index: int, operation: Callable[[S], A]) -> A:
        """Look at a shard. Raises KafkaError as `write` does."""
        return operation(self._active(index).shard)

    async def read_committed(self, index: int, operation: Callable[[S], A]) -> A:
        """Look at a shard, and answer when all that the look may have seen is committed: for what
        a caller goes on from, which another coordinator must know as well. Raises KafkaError as
        `write` does.
        """
        context = self._active(index)
        answer = operation(context.shard)
        await self._committed(context, context.last_offset, Result(answer))
        return answer

    def leader_epoch(self, index: int) -> int:
        """The epoch in which this node leads the partition: what a coordinator signs with. Raises
        KafkaError as `write` does.
        """
        return self._active(index).leader_epoch

    def active_shards(self) -> list[S]:
        """The shards that are loaded on this node (lists over all groups)."""
        return [c.shard for c in self._contexts.values() if c.loaded]

    def is_loading(self) -> bool:
        """True while any shard of this node is being loaded; one that could not be is not waited
        for.
        """
        return any(not c.loaded and not c.failed for c in self._contexts.values())

    def sweep(self, begin: Callable[[], Callable[[S], Result[bool]]]) -> None:
        """In the background: run on every loaded shard what `begin()` gives when the sweep starts,
        again and again until it answers True. A shard that cannot write is passed over.
        """
        task = asyncio.get_running_loop().create_task(self._sweep(begin))
        self._sweeps.add(task)
        task.add_done_callback(self._sweeps.discard)

    async def _sweep(self, begin: Callable[[], Callable[[S], Result[bool]]]) -> None:
        operation = begin()
        for index in [index for index, context in self._contexts.items() if context.loaded]:
            try:
                while not await self.write(index, lambda shard, now_ms: operation(shard)):
                    await asyncio.sleep(0)  # Requests come first.
            except KafkaError as error:
                log.warning(
                    "coordinator sweep ended topic=%s partition=%d error_code=%d",
                    self._topic.decode(),
                    index,
                    error.error_code,
                )

    async def close(self) -> None:
        """Unload every shard; clients are told to look for another coordinator."""
        for index in list(self._contexts):
            self._unload(index)
        # They end by themselves: no shard takes a write any more.
        await asyncio.gather(*self._sweeps)

    async def _append(
        self, context: _Context[S], result: Result[Any], producer: Producer = NO_PRODUCER
    ) -> int:
        now_ms = self._clock.wall_ms()
        is_transactional = producer is not NO_PRODUCER
        if is_transactional:
            _check_transaction(context.partition, producer)
        batch = build_batch(
            (NewRecord(now_ms, r.key, r.value) for r in result.records),
            producer=producer,
            is_transactional=is_transactional,
            codec=self._settings.codec,
        )
        outcome = await self._replicas.append(context.partition, batch, acks=1)
        self._check(context)
        context.last_offset = outcome.last_offset
        for record in result.records:
            if is_transactional:
                context.shard.replay_pending(producer.producer_id, record)
            else:
                context.shard.replay(record)
        return outcome.last_offset

    async def _committed(self, context: _Context[S], last_offset: int, result: Result[Any]) -> None:
        """Wait for the commit of what was written, if anything was, and tell the shard. Not longer
        than the settings say.
        """
        partition, timeout_ms = context.partition, self._settings.commit_timeout_ms
        try:
            if last_offset < 0:
                pass
            elif timeout_ms is None or partition.is_acknowledged(last_offset):
                await self._replicas.wait_committed(partition, last_offset)
            else:
                async with asyncio.timeout(timeout_ms / 1000):
                    await self._replicas.wait_committed(partition, last_offset)
        except TimeoutError as error:
            result.on_committed(ErrorCode.COORDINATOR_NOT_AVAILABLE)
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE) from error
        except KafkaError as error:
            code = translated(error.error_code)
            result.on_committed(code)
            raise KafkaError(code) from error
        result.on_committed(0)

    def _active(self, index: int) -> _Context[S]:
        context = self._contexts.get(index)
        if context is None:
            raise KafkaError(ErrorCode.NOT_COORDINATOR)
        if context.failed:
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if not context.loaded:
            raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return context

    def _check(self, context: _Context[S]) -> None:
        if self._contexts.get(context.index) is not context:
            raise KafkaError(ErrorCode.NOT_COORDINATOR)

    # -- leadership ---------------------------------------------------------------------------

    def _on_leadership(self, partition: Partition, leader_epoch: int | None) -> None:
        if partition.topic != self._topic:
            return
        held = self._contexts.get(partition.index)
        if leader_epoch is None:
            self._unload(partition.index)
            return
        if held is not None:
            if held.partition is partition:
                held.leader_epoch = leader_epoch
                return
            self._unload(partition.index)
        context = _Context(self, partition, leader_epoch)
        self._contexts[partition.index] = context
        if partition.log is not None and partition.log.log_end_offset == 0:
            # Nothing to read: a new group waits for nothing.
            self._loaded(context)
        else:
            context.loading = asyncio.get_running_loop().create_task(self._load(context))

    def _unload(self, index: int) -> None:
        context = self._contexts.pop(index, None)
        if context is None:
            return
        context.timers.cancel_all()
        if context.loading is not None:
            context.loading.cancel()
        if context.loaded:
            context.shard.on_unloaded()

    async def _load(self, context: _Context[S]) -> None:
        partition = context.partition
        started_ms = self._clock.monotonic_ms()
        records = 0
        try:
            held = self._replicas.log_of(partition)
            offset = held.core.log_start_offset
            end = held.core.log_end_offset
            while offset < end:
                data = await self._read(held.core, offset, end)
                records += _replay(context.shard, data, offset)
                offset = _end_of(data)
            # What is lost with this node must not have been acted on, either: the markers of a
            # decision that the next coordinator does not find cannot be taken back.
            await self._replicas.wait_committed(partition, end - 1)
        except InvariantError:
            raise
        except (TidelogError, OSError) as error:
            context.failed = True
            log.error(
                "coordinator not loaded topic=%s partition=%d error=%s",
                self._topic.decode(),
                partition.index,
                error,
            )
            return
        if self._contexts.get(partition.index) is context:
            self._loaded(context)
            log.info(
                "coordinator loaded topic=%s partition=%d records=%d ms=%d",
                self._topic.decode(),
                partition.index,
                records,
                self._clock.monotonic_ms() - started_ms,
            )

    async def _read(self, core: LogCore, offset: int, end: int) -> bytes:
        error_code, segment, position, size, _ = core.read_region(
            offset, self._settings.load_bytes, end
        )
        if error_code or segment is None:
            raise KafkaError(error_code or ErrorCode.UNKNOWN_SERVER_ERROR)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, segment.read_at, position, size)

    def _loaded(self, context: _Context[S]) -> None:
        context.loaded = True
        context.shard.on_loaded(self._clock.wall_ms())

    # -- for _Context -------------------------------------------------------------------------

    def make_shard(self, index: int, timers: Timers) -> S:
        """An empty shard."""
        return self._make_shard(index, timers)

    def fire(self, context: _Context[S], operation: TimerOperation) -> None:
        """A timer of the context is due."""
        asyncio.get_running_loop().create_task(self._run_timer(context, operation))

    async def _run_timer(self, context: _Context[S], operation: TimerOperation) -> None:
        try:
            async with context.lock:
                self._check(context)
                result = operation(self._clock.wall_ms())
                error_code, last_offset = 0, -1
                try:
                    if result.records:
                        last_offset = await self._append(context, result)
                except KafkaError as error:
                    error_code = error.error_code
                result.on_written(error_code)
            if error_code:
                result.on_committed(error_code)
            else:
                await self._committed(context, last_offset, result)
        except KafkaError:
            return  # Unloaded meanwhile: the next coordinator has timers of its own.


class _Context(Generic[S]):
    """One partition that this node leads."""

    def __init__(
        self, runtime: CoordinatorRuntime[S], partition: Partition, leader_epoch: int
    ) -> None:
        self.partition = partition
        self.leader_epoch = leader_epoch
        self.index = partition.index
        self.lock = asyncio.Lock()
        self.last_offset = -1  # of what was written here
        self.loaded = False
        self.failed = False
        self.loading: asyncio.Task[None] | None = None
        self.timers = LoopTimers(lambda operation: runtime.fire(self, operation))
        self.shard = runtime.make_shard(partition.index, self.timers)


class LoopTimers:
    """Timers on the running loop."""

    def __init__(self, fire: Callable[[TimerOperation], None]) -> None:
        self._fire = fire
        self._handles: dict[Hashable, asyncio.TimerHandle] = {}

    def schedule(self, key: Hashable, delay_ms: int, operation: TimerOperation) -> None:
        """Run `operation` after the delay; replaces the timer of that key."""
        self.cancel(key)
        loop = asyncio.get_running_loop()
        self._handles[key] = loop.call_later(delay_ms / 1000, self._due, key, operation)

    def cancel(self, key: Hashable) -> None:
        """Forget the timer, if there is one."""
        handle = self._handles.pop(key, None)
        if handle is not None:
            handle.cancel()

    def cancel_all(self) -> None:
        """Forget every timer."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _due(self, key: Hashable, operation: TimerOperation) -> None:
        del self._handles[key]
        self._fire(operation)


def _check_transaction(partition: Partition, producer: Producer) -> None:
    log = partition.log
    if log is not None and not log.producers.may_write(
        producer.producer_id, producer.producer_epoch
    ):
        raise KafkaError(ErrorCode.INVALID_TXN_STATE)


def _replay(shard: Shard, data: bytes, offset: int) -> int:
    """Replay what was read from the offset on. Returns the number of records."""
    records = 0
    for batch in iterate_batches(data):
        header = batch.header
        if header.is_control:
            control = batch.control()
            if control is not None and control[0] in (ControlType.ABORT, ControlType.COMMIT):
                shard.end_transaction(header.producer_id, control[0] == ControlType.COMMIT)
            continue
        for record in batch.records():
            if record.offset < offset or record.key is None:
                continue
            found = CoordinatorRecord(record.key, record.value)
            if header.is_transactional:
                shard.replay_pending(header.producer_id, found)
            else:
                shard.replay(found)
            records += 1
    return records


async def _future_of(promise: Promise[A]) -> A:
    if promise.done:
        assert promise.value is not None
        return promise.value
    future: asyncio.Future[A] = asyncio.get_running_loop().create_future()

    def settle(value: A) -> None:
        if not future.done():
            future.set_result(value)

    promise.when_done(settle)
    return await future


def _end_of(data: bytes) -> int:
    """Offset behind the last whole batch."""
    end = -1
    position = 0
    while len(data) - position >= 27:
        size = 12 + int.from_bytes(data[position + 8 : position + 12], "big")
        if size > len(data) - position:
            break
        base_offset = int.from_bytes(data[position : position + 8], "big")
        end = base_offset + int.from_bytes(data[position + 23 : position + 27], "big") + 1
        position += size
    if end < 0:
        raise InvariantError("a read for loading holds no whole batch")
    return end

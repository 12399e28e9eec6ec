"""The runtime with a real log behind it and a toy shard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Owner, topic_id_of
from tidelog._native import partition as native
from tidelog._native.partition import Partition, Progress
from tidelog.clock import ManualClock
from tidelog.coordinator.promise import Promise
from tidelog.coordinator.runtime import CoordinatorRuntime, LogSettings
from tidelog.coordinator.shard import CoordinatorRecord, Result, Shard, Timers
from tidelog.errors import KafkaError
from tidelog.metadata.image import TopicImage
from tidelog.record.builder import Producer
from tidelog.replication.markers import Marker
from tidelog.replication.replica_manager import AppendOutcome


class SumShard(Shard):
    """Adds numbers; the sum is its state."""

    def __init__(self, timers: Timers) -> None:
        self.timers = timers
        self.total = 0
        self.waiting: list[Promise[int]] = []
        self.loaded_at = -1
        self.written: list[int] = []
        self.pending: dict[int, int] = {}
        self.committed: list[int] = []

    def add(self, number: int) -> Result[int]:
        record = CoordinatorRecord(b"sum", str(number).encode())
        return Result(self.total + number, (record,), self.written.append, self.committed.append)

    def wait(self) -> Result[int]:
        self.waiting.append(Promise())
        return Result(self.waiting[-1])

    def replay(self, record: CoordinatorRecord) -> None:
        assert record.value is not None
        self.total += int(record.value)

    def replay_pending(self, producer_id: int, record: CoordinatorRecord) -> None:
        assert record.value is not None
        self.pending[producer_id] = self.pending.get(producer_id, 0) + int(record.value)

    def end_transaction(self, producer_id: int, is_commit: bool) -> None:
        number = self.pending.pop(producer_id, 0)
        self.total += number if is_commit else 0

    def on_loaded(self, now_ms: int) -> None:
        self.loaded_at = now_ms

    def on_unloaded(self) -> None:
        for promise in self.waiting:
            promise.fulfil(-16)


class Replicas:
    """The part of the replica manager that the runtime uses."""

    def __init__(self, directory: Path) -> None:
        self.leadership_listeners: list[Callable[[Partition, int | None], object]] = []
        self.deletion_listeners: list[Callable[[TopicImage], object]] = []
        self.progress = Progress(asyncio.get_running_loop().call_soon)
        self.owner = Owner(directory, 1 << 20)
        self.refuse = 0
        self.hold: asyncio.Event | None = None
        self.commit: asyncio.Event | None = None
        self.refuse_commit = 0

    async def lead(self) -> Partition:
        if self.owner.core.active_segment is None:
            await self.owner.roll()
        partition = Partition(b"sums", topic_id_of("sums"), 0, self.progress)
        partition.set_leadership(1, 0, 0, (1,), (1,))
        partition.open_as_leader(self.owner.core)
        for listener in self.leadership_listeners:
            listener(partition, 0)
        return partition

    def resign(self, partition: Partition) -> None:
        partition.close(native.NOT_LEADER)
        for listener in self.leadership_listeners:
            listener(partition, None)

    def log_of(self, partition: Partition) -> Any:
        return self.owner

    async def append(self, partition: Partition, batch: bytearray, acks: int) -> AppendOutcome:
        if self.hold is not None:
            await self.hold.wait()
        if self.refuse:
            raise KafkaError(self.refuse)
        status, _, base, last = partition.append_built(batch, 1)
        assert status == 0
        return AppendOutcome(base, last)

    async def roll(self, partition: Partition) -> None:
        await self.owner.roll()

    async def wait_committed(self, partition: Partition, last_offset: int) -> None:
        if self.commit is not None:
            await self.commit.wait()
        if self.refuse_commit:
            raise KafkaError(self.refuse_commit)
        while not partition.error_code and not partition.is_acknowledged(last_offset):
            await asyncio.sleep(0.001)
        if partition.error_code:
            raise KafkaError(partition.error_code)


class World:
    def __init__(self, directory: Path, codec: int = 0) -> None:
        self.replicas = Replicas(directory)
        self.shards: list[SumShard] = []
        self.runtime: CoordinatorRuntime[SumShard] = CoordinatorRuntime(
            "sums",
            self.replicas,  # type: ignore[arg-type]
            ManualClock(),
            self.make_shard,
            # Loading takes several reads.
            LogSettings(load_bytes=200, commit_timeout_ms=20, codec=codec),
        )

    def make_shard(self, index: int, timers: Timers) -> SumShard:
        self.shards.append(SumShard(timers))
        return self.shards[-1]

    async def add(self, number: int) -> int:
        return await self.runtime.write(0, lambda shard, now_ms: shard.add(number))

    def total(self) -> int:
        return self.runtime.read(0, lambda shard: shard.total)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def code_of(awaitable: Any) -> int:
    with pytest.raises(KafkaError) as caught:
        await awaitable
    return caught.value.error_code


async def test_what_is_written_is_replayed_then_answered(world: World) -> None:
    await world.replicas.lead()
    assert await world.add(3) == 3
    assert await world.add(4) == 7
    assert world.total() == 7
    assert world.shards[0].written == [0, 0]
    assert world.shards[0].committed == [0, 0]


async def add_as(world: World, producer_id: int, number: int) -> int:
    return await world.runtime.write_as(
        0, Producer(producer_id, 0), lambda shard, now_ms: shard.add(number)
    )


async def test_records_of_a_transaction_count_with_its_marker(world: World) -> None:
    partition = await world.replicas.lead()
    assert partition.log is not None
    producers = partition.log.producers
    assert await code_of(add_as(world, 7, 5)) == 48  # nobody asked for the transaction
    for producer_id in (7, 8):
        expected = producers.expect(producer_id, 0, -1)
        assert expected is not None
        assert producers.verified(producer_id, expected)
        await add_as(world, producer_id, 5)
    await add_as(world, 7, 6)
    await world.add(1)
    assert world.total() == 1
    assert partition.stable_offset == 0
    commit = Marker(7, 0, True, 1)
    await world.runtime.end_transaction(0, commit)
    assert world.total() == 12
    end = partition.log.log_end_offset
    await world.runtime.end_transaction(0, commit)  # repeated
    assert (world.total(), partition.log.log_end_offset) == (12, end)
    await world.runtime.end_transaction(0, Marker(8, 0, False, 1))
    assert world.total() == 12
    assert partition.stable_offset == partition.high_watermark == end + 1

    # A coordinator that reads it from the log comes to the same.
    world.replicas.resign(partition)
    assert await code_of(world.runtime.end_transaction(0, commit)) == 16
    await world.replicas.lead()
    while world.runtime.is_loading():
        await asyncio.sleep(0.001)
    assert world.total() == 12
    assert world.shards[-1].pending == {}


async def test_a_transaction_that_is_open_when_the_coordinator_moves(world: World) -> None:
    partition = await world.replicas.lead()
    assert partition.log is not None
    expected = partition.log.producers.expect(7, 0, -1)
    assert expected is not None
    partition.log.producers.verified(7, expected)
    await add_as(world, 7, 5)
    world.replicas.resign(partition)
    await world.replicas.lead()
    while world.runtime.is_loading():
        await asyncio.sleep(0.001)
    assert (world.total(), world.shards[-1].pending) == (0, {7: 5})
    await world.runtime.end_transaction(0, Marker(7, 0, True, 1))
    assert world.total() == 5


async def test_nobody_leads(world: World) -> None:
    assert await code_of(world.add(1)) == 16
    with pytest.raises(KafkaError):
        world.total()


async def test_a_new_leader_replays_the_log(world: World) -> None:
    partition = await world.replicas.lead()
    for number in range(20):
        await world.add(number)
    world.replicas.resign(partition)
    assert await code_of(world.add(1)) == 16
    await world.replicas.lead()
    assert await code_of(world.add(1)) == 14  # COORDINATOR_LOAD_IN_PROGRESS
    assert world.runtime.is_loading()
    while world.runtime.is_loading():
        await asyncio.sleep(0.001)
    assert world.total() == sum(range(20))
    assert len(world.shards) == 2
    assert world.shards[1].loaded_at > 0


async def test_a_log_that_cannot_be_read_is_no_coordinator(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = await world.replicas.lead()
    await world.add(1)
    world.replicas.resign(partition)
    segment = world.replicas.owner.core.active_segment
    assert segment is not None
    path = Path(segment.log_path)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    await world.replicas.lead()
    code = 14
    while code == 14:
        await asyncio.sleep(0.001)
        code = await code_of(world.add(1))
    assert code == 15  # COORDINATOR_NOT_AVAILABLE
    assert not world.runtime.is_loading()
    assert world.runtime.active_shards() == []


@pytest.mark.parametrize(("refusal", "code"), [(19, 15), (6, 16), (56, 16), (10, -1), (42, 42)])
async def test_a_refused_write_changes_nothing(world: World, refusal: int, code: int) -> None:
    await world.replicas.lead()
    world.replicas.refuse = refusal
    assert await code_of(world.add(3)) == code
    assert world.total() == 0
    assert world.shards[0].written == [code]
    assert world.shards[0].committed == [code]


async def test_what_is_written_is_not_yet_committed(world: World) -> None:
    await world.replicas.lead()
    world.replicas.commit = asyncio.Event()
    for done in (True, False):
        writing = asyncio.create_task(world.add(1))
        world.shards[0].timers.schedule("t", 0, lambda now_ms: world.shards[0].add(10))
        while len(world.shards[0].written) < 2:
            await asyncio.sleep(0)
        assert world.shards[0].committed == []
        assert not writing.done()
        if done:
            world.replicas.commit.set()
            assert await writing == 1
        else:
            world.replicas.refuse_commit = 6
            world.replicas.commit.set()
            assert await code_of(writing) == 16
        while len(world.shards[0].committed) < 2:
            await asyncio.sleep(0)
        assert world.shards[0].committed == ([0, 0] if done else [16, 16])
        world.replicas.commit.clear()
        world.shards[0].written.clear()
        world.shards[0].committed.clear()


async def test_what_tells_of_records_waits_for_their_commit(world: World) -> None:
    await world.replicas.lead()
    world.replicas.commit = asyncio.Event()
    writing = asyncio.create_task(world.add(1))
    shard = world.shards[0]
    while not shard.written:
        await asyncio.sleep(0)
    look = Result(shard.total, (), shard.written.append)
    looking = asyncio.create_task(world.runtime.write(0, lambda shard, now_ms: look))
    while len(shard.written) < 2:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not looking.done()
    world.replicas.commit.set()
    assert await looking == await writing == 1


async def test_a_look_at_what_is_written_waits_for_its_commit(world: World) -> None:
    await world.replicas.lead()
    assert await world.runtime.read_committed(0, lambda shard: shard.total) == 0
    world.replicas.commit = asyncio.Event()
    writing = asyncio.create_task(world.add(1))
    while not world.shards[0].written:
        await asyncio.sleep(0)
    looks = [
        asyncio.create_task(world.runtime.read_committed(0, lambda shard: shard.total))
        for _ in range(2)
    ]
    await asyncio.sleep(0)
    assert not any(look.done() for look in looks)
    world.replicas.commit.set()
    assert await asyncio.gather(writing, *looks) == [1, 1, 1]
    world.replicas.refuse_commit = 6
    assert await code_of(world.runtime.read_committed(0, lambda shard: shard.total)) == 16


async def test_what_is_loaded_counts_when_it_is_committed(world: World) -> None:
    partition = await world.replicas.lead()
    assert await world.add(1) == 1
    world.replicas.resign(partition)
    world.replicas.commit = asyncio.Event()
    await world.replicas.lead()
    while world.shards[-1].total < 1:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    assert world.shards[-1].loaded_at == -1
    assert world.runtime.is_loading()
    assert await code_of(world.add(1)) == 14
    world.replicas.commit.set()
    while world.runtime.is_loading():
        await asyncio.sleep(0)
    assert await world.add(1) == 2


@pytest.mark.parametrize("through", [True, False])
async def test_a_caller_that_goes(world: World, through: bool) -> None:
    await world.replicas.lead()
    world.replicas.commit = asyncio.Event()
    write = world.runtime.write_through if through else world.runtime.write
    writing = asyncio.create_task(write(0, lambda shard, now_ms: shard.add(1)))
    while not world.shards[0].written:
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    world.replicas.commit.set()
    assert await world.add(10) == 11
    expected = [0, 0] if through else [0]
    while len(world.shards[0].committed) < len(expected):
        await asyncio.sleep(0)
    assert world.shards[0].committed == expected


async def test_the_epoch_in_which_a_partition_is_led(world: World) -> None:
    partition = await world.replicas.lead()
    assert world.runtime.leader_epoch(0) == 0
    for listener in world.replicas.leadership_listeners:
        listener(partition, 5)
    assert world.runtime.leader_epoch(0) == 5
    world.replicas.resign(partition)
    with pytest.raises(KafkaError):
        world.runtime.leader_epoch(0)


async def test_a_commit_is_waited_for_so_long(world: World) -> None:
    """offsets.commit.timeout.ms: the record is written, but not flushed in time."""
    await world.replicas.lead()
    world.replicas.owner.core.configure(segment_bytes=1 << 20, flush_messages=1)
    assert await code_of(world.add(3)) == 15
    assert (world.total(), world.shards[0].written) == (3, [0])


@pytest.mark.parametrize("codec", [1, 4])
async def test_records_may_be_compressed(tmp_path: Path, codec: int) -> None:
    world = World(tmp_path, codec)
    partition = await world.replicas.lead()
    for number in range(5):
        await world.add(number)
    segment = world.replicas.owner.core.active_segment
    assert segment is not None
    assert Path(segment.log_path).read_bytes()[22] & 7 == codec
    world.replicas.resign(partition)
    await world.replicas.lead()
    while world.runtime.is_loading():
        await asyncio.sleep(0.001)
    assert world.total() == 10


async def test_operations_of_a_shard_keep_their_order(world: World) -> None:
    await world.replicas.lead()
    world.replicas.hold = asyncio.Event()
    adding = [asyncio.create_task(world.add(1)) for _ in range(5)]
    await asyncio.sleep(0)
    world.replicas.hold.set()
    assert await asyncio.gather(*adding) == [1, 2, 3, 4, 5]


async def test_leadership_lost_while_writing(world: World) -> None:
    partition = await world.replicas.lead()
    world.replicas.hold = asyncio.Event()
    first, second = (asyncio.create_task(code_of(world.add(1))) for _ in range(2))
    await asyncio.sleep(0)
    for listener in world.replicas.leadership_listeners:
        listener(partition, None)
    world.replicas.hold.set()
    assert [await first, await second] == [16, 16]


async def test_promises_are_answered_later_and_by_unloading(world: World) -> None:
    partition = await world.replicas.lead()
    one, two = (
        asyncio.create_task(world.runtime.write(0, lambda s, now: s.wait())) for _ in range(2)
    )
    while len(world.shards[0].waiting) < 2:
        await asyncio.sleep(0)
    world.shards[0].waiting.pop(0).fulfil(5)
    assert await one == 5
    world.replicas.resign(partition)
    assert await two == -16


async def test_timers_write_and_end_with_the_shard(world: World) -> None:
    partition = await world.replicas.lead()
    shard = world.shards[0]
    shard.timers.schedule("x", 0, lambda now_ms: shard.add(10))
    shard.timers.schedule("y", 0, lambda now_ms: shard.add(100))
    shard.timers.cancel("y")
    shard.timers.schedule("z", 3_600_000, lambda now_ms: shard.add(1))
    while not shard.written:
        await asyncio.sleep(0.001)
    assert world.total() == 10
    shard.timers.schedule("w", 0, lambda now_ms: shard.add(1000))
    world.replicas.resign(partition)
    await asyncio.sleep(0.01)
    assert shard.total == 10
    await world.runtime.close()


async def test_a_sweep_repeats_its_operation_until_that_is_done(world: World) -> None:
    await world.replicas.lead()
    asked: list[int] = []

    def operation(shard: SumShard) -> Result[bool]:
        asked.append(shard.total)
        return Result(shard.total == 2, shard.add(1).records)

    world.runtime.sweep(lambda: operation)
    assert asked == []
    while len(asked) < 3:
        await asyncio.sleep(0)
    # The end waits for it, and for nothing more.
    await world.runtime.close()
    assert asked == [0, 1, 2]
    assert world.shards[0].total == 3


async def test_a_sweep_ends_with_the_runtime(world: World) -> None:
    await world.replicas.lead()
    world.runtime.sweep(lambda: lambda shard: Result(False))
    for _ in range(20):
        await asyncio.sleep(0)
    await world.runtime.close()

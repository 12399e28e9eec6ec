"""A follower's log against a real leader's: byte for byte the same, whatever happens between."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.native.log_harness import batch
from tests.unit.replication.follower_harness import (
    FOLLOWER,
    LEADER,
    NODE_EPOCH,
    Config,
    Followee,
    LeaderNode,
    Logs,
    content,
    manager,
    until,
)
from tidelog.errors import KafkaError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.replication.fetcher import FetcherManager
from tidelog.storage.log import PartitionLog

SMALL = {"internal_segment_bytes": "2000", "index_interval_bytes": "200"}


class Pair:
    """A leader that serves topic t and this node, which follows it."""

    def __init__(self, directory: Path, config: Config | None = None, **overrides: str) -> None:
        self.leader = LeaderNode(directory / "lanes")
        self.there = Logs(directory / "leader", **overrides)
        self.here = Logs(directory / "follower", **overrides)
        self.asked: list[int] = []
        self.config = config or Config()
        self.fetchers: FetcherManager = self.new_manager()
        self.led: dict[int, PartitionLog] = {}

    def new_manager(self) -> FetcherManager:
        return manager(self.leader.port, self.config, self.offsets)

    async def offsets(self, partition: Followee) -> tuple[int, int]:
        self.asked.append(partition.index)
        core = self.led[partition.index].core
        return core.log_start_offset, core.log_end_offset

    def lead(self, *logs: PartitionLog, epoch: int = 0) -> None:
        self.led = {held.index: held for held in logs}
        self.leader.partitions = self.leader.lead("t", list(logs), epoch)

    async def put(self, index: int, data: bytes | bytearray, epoch: int = 0) -> None:
        await self.there.produce(self.led[index], data, epoch)
        self.progress(index)

    def progress(self, index: int = 0) -> None:
        self.leader.partitions[index].update_progress()

    async def close(self) -> None:
        await self.fetchers.close()
        self.leader.close()
        await self.here.close()
        await self.there.close()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    (tmp_path / "lanes").mkdir()
    made = Pair(tmp_path, **SMALL)
    yield made
    await made.close()


def same(leader: PartitionLog, follower: PartitionLog) -> bool:
    return (
        leader.core.log_end_offset == follower.core.log_end_offset
        and leader.core.log_start_offset == follower.core.log_start_offset
    )


async def caught_up(leader: PartitionLog, follower: PartitionLog) -> None:
    await until(lambda: same(leader, follower))
    assert content(follower) == content(leader)
    assert follower.epochs.entries == leader.epochs.entries or not content(leader)
    assert follower.core.leader_epoch == follower.epochs.latest_epoch


# --- catching up ---------------------------------------------------------------------------------


async def test_many_segments_and_what_follows(pair: Pair) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    for i in range(120):
        await pair.there.produce(leader, batch(1 + i % 3, size=10 + i))
    partition = Followee(follower)
    pair.fetchers.follow(partition, follower)
    await caught_up(leader, follower)
    assert len(leader.core.segment_list) > 5 < len(follower.core.segment_list)
    for i in range(20):
        await pair.put(0, batch(size=10 * i))
        await caught_up(leader, follower)
    await until(lambda: partition.high_watermark == leader.core.log_end_offset)
    assert partition.appends > 20
    table = pair.leader.table(0)
    await until(lambda: table.describe()[0][2] == leader.core.log_end_offset)
    assert table.describe()[0][0] == FOLLOWER
    assert table.epoch_of(FOLLOWER) == NODE_EPOCH


async def test_several_partitions_over_several_fetchers(pair: Pair) -> None:
    pair.fetchers.set_config(Config(num_replica_fetchers=3))
    leaders = [pair.there.open("t", index) for index in range(8)]
    followers = [pair.here.open("t", index) for index in range(8)]
    pair.lead(*leaders)
    for follower in followers:
        pair.fetchers.follow(Followee(follower), follower)
    rng = random.Random(1)
    for _ in range(60):
        index = rng.randrange(8)
        await pair.put(index, batch(rng.randrange(1, 4), size=rng.randrange(300)))
    for leader, follower in zip(leaders, followers, strict=True):
        await caught_up(leader, follower)
    assert len(pair.fetchers.fetchers) == 3
    assert len(pair.leader.connections) == 3


async def test_what_was_rolled_waits_for_nobody(tmp_path: Path) -> None:
    """A second partition, where nothing happens, has the leader wait for data (for an hour)."""
    (tmp_path / "lanes").mkdir()
    pair = Pair(tmp_path, Config(replica_fetch_wait_max_ms=3_600_000), **SMALL)
    leaders = [pair.there.open("t", index) for index in range(3)]
    followers = [pair.here.open("t", index) for index in range(3)]
    pair.lead(*leaders)
    for follower in followers[1:]:
        pair.fetchers.follow(Followee(follower), follower)
    pair.fetchers.follow(Followee(followers[0]), followers[0])
    await until(lambda: pair.leader.node.table.partition(b"t", 0).waiting_fetches)
    for _ in range(30):
        await pair.put(0, batch(2, size=400))
        await caught_up(leaders[0], followers[0])
    assert len(followers[0].core.segment_list) > 5
    assert len(pair.leader.connections) == 1
    await pair.close()


async def test_a_batch_that_is_larger_than_an_answer_may_be(tmp_path: Path) -> None:
    (tmp_path / "lanes").mkdir()
    config = Config(replica_fetch_max_bytes=1000, replica_fetch_response_max_bytes=2000)
    pair = Pair(tmp_path, config)
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    for size in (200_000, 10, 100_000, 600, 600, 600):
        await pair.there.produce(leader, batch(size=size))
    pair.fetchers.follow(Followee(follower), follower)
    await caught_up(leader, follower)
    (fetcher,) = pair.fetchers.fetchers
    await until(lambda: fetcher.exchange.buffer_bytes < 70_000)
    await pair.close()


async def test_offsets_with_gaps(pair: Pair) -> None:
    """As compaction leaves them."""
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    offset = 0
    for i in range(60):
        offset += (i * 7) % 11
        await pair.there.append(leader, batch(2, base_offset=offset, epoch=i // 20, size=50))
        offset += 2
    pair.progress()
    pair.fetchers.follow(Followee(follower), follower)
    await caught_up(leader, follower)
    assert follower.epochs.entries == leader.epochs.entries
    assert len(follower.epochs.entries) == 3


async def test_the_log_starts_where_the_leaders_does(pair: Pair) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    for _ in range(60):
        await pair.there.produce(leader, batch(3, size=100))
    partition = Followee(follower)
    pair.fetchers.follow(partition, follower)
    await caught_up(leader, follower)
    await leader.delete_records(100)
    await pair.put(0, batch())
    await caught_up(leader, follower)
    assert follower.core.log_start_offset == 100
    assert pair.here.checkpoints == 1
    # The leader learns of it only afterwards.
    pair.leader.view.epochs = {FOLLOWER: NODE_EPOCH}
    await until(lambda: pair.leader.table(0).least_log_start(1000) == 100)


# --- out of range --------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [90, 91])
async def test_a_log_that_ends_before_the_leaders_begins(pair: Pair, start: int) -> None:
    """91 lies within a batch."""
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    for _ in range(60):
        await pair.there.produce(leader, batch(3, size=100))
    await pair.here.produce(follower, batch(3, size=100))
    await leader.delete_records(start)
    pair.fetchers.follow(Followee(follower), follower)
    await until(lambda: same(leader, follower))
    assert pair.asked == [0]
    assert content(leader).endswith(content(follower))
    assert follower.core.segment_list[0].base_offset == 90


async def test_a_log_that_goes_on_where_the_leaders_has_ended(pair: Pair) -> None:
    """Without epochs that would tell where they part, as after an unclean election."""
    leader, follower = pair.there.open(), pair.here.open()
    await pair.there.produce(leader, batch(4))
    pair.lead(leader, epoch=3)
    for _ in range(3):
        await pair.here.produce(follower, batch(4), 0)
    follower.epochs.clear()
    follower.core.set_leader_epoch(-1)
    pair.fetchers.follow(Followee(follower, leader_epoch=3), follower)
    await until(lambda: follower.core.log_end_offset == 4)
    await pair.put(0, batch(2), 3)
    await until(lambda: same(leader, follower))


# --- diverging histories -------------------------------------------------------------------------


async def history(logs: Logs, held: PartitionLog, *runs: tuple[int, int]) -> None:
    """(epoch, batches) one after the other; what a batch holds tells whose it is."""
    for epoch, count in runs:
        for _ in range(count):
            offset = held.core.log_end_offset
            size = 20 + 7 * epoch + (hash((offset, epoch)) % 50 if logs.directory else 0)
            await logs.append(held, batch(2, base_offset=offset, epoch=epoch, size=size))


@pytest.mark.parametrize(
    ("leaders", "followers"),
    [
        ([(0, 30)], [(0, 30)]),
        ([(0, 20), (2, 10)], [(0, 25)]),  # the follower has more of epoch 0
        ([(0, 20), (2, 10)], [(0, 20), (1, 12)]),  # a whole epoch too much
        ([(0, 5), (1, 5), (4, 5)], [(0, 5), (1, 9), (2, 3), (3, 8)]),
        ([(3, 15)], [(0, 5), (1, 5), (2, 5)]),  # nothing in common
        ([(0, 5), (2, 4), (4, 4), (6, 9)], [(0, 8), (3, 4), (5, 20)]),
        ([(0, 10), (7, 1)], [(0, 10), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)]),
    ],
)
async def test_what_diverges_is_cut(
    pair: Pair, leaders: list[tuple[int, int]], followers: list[tuple[int, int]]
) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    await history(pair.there, leader, *leaders)
    await history(pair.here, follower, *followers)
    pair.lead(leader, epoch=8)
    pair.fetchers.follow(Followee(follower, leader_epoch=8), follower)
    await pair.put(0, batch(2), 8)
    await caught_up(leader, follower)


async def test_an_epoch_without_records_is_forgotten(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """It led, appended nothing, and another one led after it. No record is cut: nothing is told."""
    leader, follower = pair.there.open(), pair.here.open()
    await history(pair.there, leader, (0, 3))
    await history(pair.here, follower, (0, 3))
    follower.assign_epoch(5)
    pair.lead(leader, epoch=6)
    pair.fetchers.follow(Followee(follower, leader_epoch=6), follower)
    await until(lambda: follower.epochs.entries == [(0, 0)])
    await pair.put(0, batch(2), 6)
    await caught_up(leader, follower)
    assert "log truncated" not in caplog.text


async def test_cutting_committed_records_is_told(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    await history(pair.there, leader, (0, 3))
    await history(pair.here, follower, (0, 9))
    pair.lead(leader, epoch=2)
    partition = Followee(follower, leader_epoch=2)
    partition.high_watermark = 18
    with caplog.at_level(logging.ERROR):
        pair.fetchers.follow(partition, follower)
        await until(lambda: follower.core.log_end_offset == 6)
    await until(lambda: partition.high_watermark == 6)
    assert "committed records are cut off" in caplog.text


# --- restarts, changes of leader -----------------------------------------------------------------


async def test_restarts_of_both(pair: Pair) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    rng = random.Random(3)
    for life in range(6):
        partition = Followee(follower)
        pair.fetchers.follow(partition, follower)
        for _ in range(25):
            await pair.put(0, batch(rng.randrange(1, 4), size=rng.randrange(400)))
        if life % 2:
            await until(lambda core=follower.core: core.log_end_offset > 0)
            pair.leader.drop_connections()
        else:
            await caught_up(leader, follower)
        await pair.fetchers.leave(partition)
        end = follower.core.log_end_offset
        await pair.put(0, batch(5))
        assert follower.core.log_end_offset == end
        await follower.close(clean=life % 3 == 0)
        follower = pair.here.open(clean=life % 3 == 0)
    pair.fetchers.follow(Followee(follower), follower)
    await caught_up(leader, follower)


async def test_a_new_epoch_of_the_leader(pair: Pair) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    partition = Followee(follower)
    pair.fetchers.follow(partition, follower)
    await pair.put(0, batch())
    await caught_up(leader, follower)
    pair.lead(leader, epoch=4)
    await pair.put(0, batch(), 4)
    await pair.put(0, batch(), 4)
    partition.leader_epoch = 4
    pair.fetchers.follow(partition, follower)
    pair.fetchers.follow(partition, follower)  # says nothing new
    await caught_up(leader, follower)
    assert follower.core.leader_epoch == 4


async def test_leaving_waits_for_what_is_in_work(pair: Pair) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    await history(pair.there, leader, (0, 3))
    await history(pair.here, follower, (0, 30))
    await follower.flush()
    pair.lead(leader, epoch=1)
    pair.here.files.held.add("sync_directory")
    partition = Followee(follower, leader_epoch=1)
    pair.fetchers.follow(partition, follower)
    await until(lambda: follower.core.rolling)
    leaving = asyncio.ensure_future(pair.fetchers.leave(partition))
    partition.leader_epoch = 2
    pair.fetchers.follow(partition, follower)  # begins when the truncation has ended
    for _ in range(20):
        await asyncio.sleep(0)
    assert not leaving.done()
    pair.here.files.held.clear()
    pair.here.files.let_go.release(100)
    await leaving
    assert not follower.core.rolling
    assert follower.core.log_end_offset == 6


# --- disks ---------------------------------------------------------------------------------------


async def test_what_has_to_be_durable_is_flushed_before_the_leader_is_told(tmp_path: Path) -> None:
    (tmp_path / "lanes").mkdir()
    pair = Pair(tmp_path)
    leader, follower = pair.there.open(), pair.here.open()
    pair.here.config = pair.here.configure({"flush.messages": "1"})
    follower.set_config(pair.here.config)
    pair.lead(leader)
    pair.fetchers.follow(Followee(follower), follower)
    pair.here.files.held.add("sync_data")
    await pair.put(0, batch(4))
    await until(lambda: follower.core.log_end_offset == 4)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert pair.leader.table(0).describe()[0][2] == 0
    pair.here.files.held.clear()
    pair.here.files.let_go.release(100)
    await until(lambda: pair.leader.table(0).describe()[0][2] == 4)
    assert follower.core.flushed_offset == 4
    await pair.close()


async def test_no_room_waits_and_goes_on(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    for _ in range(40):
        await pair.there.produce(leader, batch(3, size=100))
    pair.here.files.errors["create"] = OSError(errno.ENOSPC, "full")
    pair.fetchers.follow(Followee(follower), follower)
    await until(lambda: "follower waits" in caplog.text)
    assert not follower.offline
    pair.here.files.errors.clear()
    await caught_up(leader, follower)
    assert caplog.text.count("follower waits") == 1


async def test_a_failed_disk_ends_it(pair: Pair) -> None:
    leader, follower, other = pair.there.open(), pair.here.open(), pair.here.open("t", 1)
    second = pair.there.open("t", 1)
    pair.lead(leader, second)
    for _ in range(40):
        await pair.there.produce(leader, batch(3, size=100))
    pair.here.files.errors["create"] = OSError(errno.EIO, "broken")
    pair.fetchers.follow(Followee(follower), follower)
    await until(lambda: follower.offline)
    pair.here.files.errors.clear()
    pair.fetchers.follow(Followee(other), other)
    await pair.put(1, batch())
    await caught_up(second, other)
    assert follower.core.log_end_offset == 0
    pair.fetchers.follow(Followee(follower), follower)  # not while it is offline


# --- trouble -------------------------------------------------------------------------------------


async def test_a_leader_that_does_not_know_yet(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    partition = Followee(follower, leader_epoch=2)
    pair.fetchers.follow(partition, follower)
    await until(lambda: "UNKNOWN_TOPIC_ID" in caplog.text)
    pair.lead(leader, epoch=1)
    await until(lambda: "UNKNOWN_LEADER_EPOCH" in caplog.text)
    pair.lead(leader, epoch=3)
    await until(lambda: "FENCED_LEADER_EPOCH" in caplog.text)
    await pair.put(0, batch(), 3)
    for _ in range(60):
        await asyncio.sleep(0.001)
    assert follower.core.log_end_offset == 0
    assert caplog.text.count("follower waits") == 3
    partition.leader_epoch = 3
    pair.fetchers.follow(partition, follower)
    await caught_up(leader, follower)


async def test_a_leader_that_cannot_tell_its_offsets(pair: Pair) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    for _ in range(40):
        await pair.there.produce(leader, batch(3, size=100))
    await leader.delete_records(60)
    failures = 2

    async def offsets(partition: Followee) -> tuple[int, int]:
        nonlocal failures
        if failures:
            failures -= 1
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return await pair.offsets(partition)

    fetchers = manager(pair.leader.port, pair.config, offsets)
    fetchers.follow(Followee(follower), follower)
    await until(lambda: same(leader, follower))
    assert failures == 0
    await fetchers.close()


async def test_leaving_does_not_wait_for_the_leader(pair: Pair) -> None:
    leader, follower = pair.there.open(), pair.here.open()
    pair.lead(leader)
    for _ in range(40):
        await pair.there.produce(leader, batch(3, size=100))
    await leader.delete_records(60)
    asked = asyncio.Event()

    async def offsets(partition: Followee) -> tuple[int, int]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    fetchers = manager(pair.leader.port, pair.config, offsets)
    partition = Followee(follower, LEADER)
    fetchers.follow(partition, follower)
    await asked.wait()
    await fetchers.leave(partition)
    await fetchers.close()

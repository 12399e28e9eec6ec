"""What a follower leaves out while its node is beyond its quota (KIP-73), against leaders that are
scripted; and a whole copy through the quotas of both sides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.log_harness import batch
from tests.unit.replication.follower_harness import (
    LEADER,
    Config,
    Followee,
    LeaderNode,
    Logs,
    ScriptedLeader,
    content,
    manager,
    until,
)
from tests.unit.replication.test_fetcher import World, data, good, indexes
from tidelog.protocol.codec import encode_response_frame
from tidelog.protocol.messages.fetch import FetchRequest, FetchResponse
from tidelog.replication import throttle
from tidelog.replication.fetcher import FetcherManager
from tidelog.replication.throttle import is_throttled


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for fetchers in made.managers:
        await fetchers.close()
    for leader in made.leaders:
        await leader.close()
    await made.logs.close()


class Quota:
    """A throttle as it is told. `once`: how many bytes make it exceeded; None: it never is."""

    def __init__(self, once: int | None = None) -> None:
        self.once = once
        self.recorded: list[int] = []
        self.waits = 0

    def record(self, size: int) -> None:
        self.recorded.append(size)

    def is_exceeded(self) -> bool:
        return self.once is not None and sum(self.recorded) >= self.once

    def wait_ms(self) -> int:
        self.waits += 1
        return 1


@pytest.mark.parametrize(
    ("replicas", "throttled"),
    [
        ((), False),
        (("*",), True),
        (("3:1",), True),
        (("03:001",), True),
        (("3:2", "1:1"), False),
        (("0:0", "3:2", "3:1"), True),
    ],
)
def test_whose_copying_is_throttled(replicas: tuple[str, ...], throttled: bool) -> None:
    assert is_throttled(replicas, 3, 1) is throttled


def forgotten(request: FetchRequest) -> list[int]:
    return [index for topic in request.forgotten_topics_data for index in topic.partitions]


async def follow(
    world: World, fetchers: FetcherManager, quota: Quota, *indexes: int, unthrottled: int = 0
) -> list[Followee]:
    """All in the first request; `unthrottled` more."""
    made = [await world.partition(index) for index in range(len(indexes) + unthrottled)]
    for partition in made:
        if partition.index in indexes:
            partition.throttle = quota
        fetchers.follow(partition, partition.held)
    return made


async def test_beyond_its_quota_throttled_ones_are_left_out(world: World) -> None:
    """Partition 0 gets something and takes the quota, 1 is throttled and idle, 2 is not."""
    one = bytes(batch(1, base_offset=0))
    quota = Quota(len(one))

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        match len(leader.seen):
            case 1:
                return good(data(0, high_watermark=5, records=one))
            case 2:
                return good(data(2, high_watermark=1, records=one))
            case 3 | 5:
                return good()
        return None if len(leader.seen) > 5 else good()

    leader, port = await world.leader(script)
    fetchers = world.manager(port, replica_fetch_backoff_ms=60_000)
    first_one, *_ = await follow(world, fetchers, quota, 0, 1, unthrottled=1)
    await until(lambda: len(leader.seen) > 5)
    first, second, *others = leader.seen
    assert sorted(indexes(first)) == [0, 1, 2]
    # (0 was to be named anew: as it is left out it has to be forgotten.)
    assert (indexes(second), sorted(forgotten(second))) == ([], [0, 1])
    assert indexes(others[0]) == [2]
    assert not any(set(indexes(request)) & {0, 1} for request in others)
    # Only what is throttled is charged.
    assert quota.recorded == [len(one)]
    (fetcher,) = fetchers.fetchers
    assert sorted(f.partition.index for f in fetcher.throttled.held) == [0, 1]
    # Who was left out comes back when it may; those that got nothing first.
    quota.once = None
    await until(lambda: not fetcher.throttled.held)
    seen = len(leader.seen)
    await until(lambda: len(leader.seen) > seen or set(indexes(leader.seen[-1])) & {0, 1})
    assert first_one.held.core.log_end_offset == 1


async def test_nothing_is_charged_for_the_want_of_a_file(world: World) -> None:
    """A new replica has its first segment before it asks."""
    one = bytes(batch(1, base_offset=0))
    quota = Quota()

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        return good(data(0, high_watermark=5, records=one)) if len(leader.seen) == 1 else None

    leader, port = await world.leader(script)
    fetchers = world.manager(port)
    partition = Followee(world.logs.open("t", 0))
    partition.throttle = quota
    fetchers.follow(partition, partition.held)
    await until(lambda: len(leader.seen) == 2)
    assert partition.held.core.log_end_offset == 1
    assert quota.recorded == [len(one)]


async def answered_once(world: World) -> tuple[Any, Any]:
    """A leader that has one record for its first request and nothing for others, and fetchers."""
    one = bytes(batch(1, base_offset=0))

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        return good(data(0, high_watermark=5, records=one)) if len(leader.seen) == 1 else None

    leader, port = await world.leader(script)
    return leader, world.manager(port)


async def test_all_left_out_means_no_request(world: World) -> None:
    quota = Quota(1)
    leader, fetchers = await answered_once(world)
    await follow(world, fetchers, quota, 0)
    # It is looked again and again whether it may.
    await until(lambda: quota.waits > 5)
    assert len(leader.seen) == 1
    quota.once = None
    await until(lambda: len(leader.seen) == 2)
    (asked,) = [p for topic in leader.seen[1].topics for p in topic.partitions]
    assert asked.fetch_offset == 1


async def test_who_is_in_sync_is_fetched_and_charged(world: World) -> None:
    quota = Quota(0)
    rounds = 5

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        n = len(leader.seen)
        if n > rounds:
            return None
        one = bytes(batch(1, base_offset=n - 1))
        return good(data(0, high_watermark=n, records=one))

    leader, port = await world.leader(script)
    fetchers = world.manager(port)
    # What is known of nobody yet is not in sync: it is asked for because the quota has room.
    quota.once = 1
    (partition,) = await follow(world, fetchers, quota, 0)
    await until(lambda: len(leader.seen) == rounds + 1)
    assert partition.held.core.log_end_offset == len(quota.recorded) == rounds
    assert quota.waits == 0


async def used_up_meanwhile(world: World, quota: Quota) -> tuple[ScriptedLeader, Followee]:
    """The quota is used up while the second request, for a throttled partition, is under way; then
    another partition is to be named.
    """

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        return good() if len(leader.seen) == 1 else None

    leader, port = await world.leader(script)
    fetchers = world.manager(port, replica_fetch_backoff_ms=60_000)
    (partition,) = await follow(world, fetchers, quota, 0)
    await until(lambda: len(leader.seen) == 2)
    quota.once = 0
    beside = await world.partition(1)
    fetchers.follow(beside, beside.held)
    return leader, partition


async def test_what_is_under_way_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request waits for it."""
    monkeypatch.setattr(throttle, "THROTTLE_DRAIN_MS", 60_000)
    quota = Quota()
    leader, partition = await used_up_meanwhile(world, quota)
    one = bytes(batch(1, base_offset=0))
    await leader.send(encode_response_frame(good(data(0, high_watermark=5, records=one)), 18, 2))
    await until(lambda: len(leader.seen) == 3)
    assert (indexes(leader.seen[2]), forgotten(leader.seen[2])) == ([1], [0])
    assert partition.held.core.log_end_offset == 1
    assert quota.recorded == [len(one)]


async def test_what_is_under_way_is_not_waited_for_long(world: World) -> None:
    """Others have to be named."""
    leader, _ = await used_up_meanwhile(world, Quota())
    await until(lambda: len(leader.seen) == 3)
    assert (indexes(leader.seen[2]), forgotten(leader.seen[2])) == ([1], [0])


async def test_what_is_left_out_may_end(world: World) -> None:
    """Its partition is followed no more, or has another leader: nothing is asked for it."""
    one = bytes(batch(1, base_offset=0))
    quota = Quota(1)

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        if len(leader.seen) == 1:
            return good(*(data(i, high_watermark=5, records=one) for i in range(3)))
        return None

    leader, port = await world.leader(script)
    fetchers = world.manager(port)
    gone, moved, stays = await follow(world, fetchers, quota, 0, 1, 2)
    (fetcher,) = fetchers.fetchers
    await until(lambda: len(fetcher.throttled.held) == 3)
    await fetchers.leave(gone)  # type: ignore[arg-type]
    moved.leader_epoch += 1
    assert len(fetcher.throttled.held) == 2
    quota.once = None
    await until(lambda: len(leader.seen) == 2)
    assert indexes(leader.seen[1]) == [stays.index]


async def test_a_throttle_that_is_taken_away_frees_at_once(world: World) -> None:
    quota = Quota(1)
    leader, fetchers = await answered_once(world)
    (partition,) = await follow(world, fetchers, quota, 0)
    (fetcher,) = fetchers.fetchers
    await until(lambda: fetcher.throttled.held)
    partition.throttle = None
    await until(lambda: len(leader.seen) == 2)
    assert fetcher.throttled.held == []
    assert quota.is_exceeded()


class Tides(Quota):
    """Exceeded after so many bytes, until somebody waited for it."""

    def wait_ms(self) -> int:
        self.waits += 1
        asyncio.get_running_loop().call_later(0.002, self.recorded.clear)
        return 3


@pytest.mark.parametrize("sides", ["leader", "follower", "both"])
async def test_a_throttled_copy_is_whole(tmp_path: Path, sides: str) -> None:
    """Real lanes and logs, eight partitions, every quota gone after a few batches."""
    (tmp_path / "lanes").mkdir()
    leader = LeaderNode(tmp_path / "lanes")
    there, here = Logs(tmp_path / "leader"), Logs(tmp_path / "follower")
    logs = [there.open("t", index) for index in range(8)]
    for held in logs:
        for _ in range(40):
            await there.produce(held, batch(3))
    fetchers = manager(
        leader.port, Config(replica_fetch_max_bytes=500, replica_fetch_wait_max_ms=2)
    )
    theirs, ours = Tides(1500), Tides(1500)
    charged = [0, 0]
    for side, quota in enumerate((theirs, ours)):
        quota.record = counting(quota, charged, side)  # type: ignore[method-assign]
    led = leader.lead("t", logs)
    if sides != "follower":
        for partition in led:
            partition.set_throttle(theirs)
    copies = []
    for index in range(8):
        held = here.open("t", index)
        await held.roll(force=True)
        copies.append(held)
        followee = Followee(held, LEADER)
        followee.throttle = ours if sides != "leader" else None
        fetchers.follow(followee, held)

    async def ebb() -> None:
        while True:
            await asyncio.sleep(0.003)
            theirs.recorded.clear()

    ebbing = asyncio.ensure_future(ebb())
    total = sum(len(content(held)) for held in logs)
    await until(lambda: sum(len(content(held)) for held in copies) == total)
    ebbing.cancel()
    assert [content(held) for held in copies] == [content(held) for held in logs]
    # (Also the parts of batches at the ends of answers.)
    if sides != "follower":
        assert charged[0] >= total
    if sides != "leader":
        assert charged[1] >= total
        assert ours.waits > 3
    if sides == "both":
        # Nothing that the leader sent was thrown away.
        assert charged[0] == charged[1]
    await fetchers.close()
    leader.close()
    await here.close()
    await there.close()


def counting(quota: Tides, charged: list[int], side: int) -> object:
    def record(size: int) -> None:
        charged[side] += size
        quota.recorded.append(size)

    return record

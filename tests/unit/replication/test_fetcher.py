"""Fetchers against a leader that is scripted: sessions, connections, waits, what idle ones cost."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.native.log_harness import batch
from tests.unit.replication.follower_harness import (
    LEADER,
    Config,
    Followee,
    Logs,
    Script,
    ScriptedLeader,
    content,
    image_of,
    manager,
    topic_id_of,
    until,
)
from tidelog.limits import REPLICA_RECONNECT_MS
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)
from tidelog.replication import fetcher as fetcher_module
from tidelog.replication.fetcher import (
    FetcherConfig,
    FetcherManager,
    patience_ms,
    reconnect_wait_ms,
)


class World:
    """This node with logs, and leaders as they are scripted."""

    def __init__(self, directory: Path) -> None:
        self.logs = Logs(directory)
        self.leaders: list[ScriptedLeader] = []
        self.managers: list[FetcherManager] = []

    async def leader(self, script: Script) -> tuple[ScriptedLeader, int]:
        made = ScriptedLeader(script)
        self.leaders.append(made)
        return made, await made.start()

    def manager(self, port: int, **config: int) -> FetcherManager:
        made = manager(port, replace(Config(), **config))
        self.managers.append(made)
        return made

    async def followed(
        self, fetchers: FetcherManager, index: int = 0, leader_id: int = LEADER
    ) -> Followee:
        """Its log has a segment already: nothing is fetched twice for the want of one."""
        partition = await self.partition(index, leader_id)
        fetchers.follow(partition, partition.held)
        return partition

    async def partition(self, index: int, leader_id: int = LEADER) -> Followee:
        held = self.logs.open("t", index)
        await held.roll(force=True)
        return Followee(held, leader_id)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for fetchers in made.managers:
        await fetchers.close()
    for leader in made.leaders:
        await leader.close()
    await made.logs.close()


def good(*partitions: PartitionData, session: int = 5, **fields: int) -> FetchResponse:
    topics = [FetchableTopicResponse(topic_id=topic_id_of("t"), partitions=list(partitions))]
    return FetchResponse(session_id=session, responses=topics if partitions else [], **fields)


def data(index: int = 0, **fields: object) -> PartitionData:
    values = {"partition_index": index, "high_watermark": 0, "log_start_offset": 0} | fields
    return PartitionData(**values)  # type: ignore[arg-type]


def indexes(request: FetchRequest) -> list[int]:
    return [p.partition for topic in request.topics for p in topic.partitions]


# --- sessions ------------------------------------------------------------------------------------


async def test_only_news_go_over_the_wire(world: World) -> None:
    """Fifty partitions, of which one moves at a time."""
    count, rounds = 50, 30
    rng = random.Random(2)
    moved: list[int] = []
    ends = [0] * count

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        if request.session_epoch > 0:
            # Only the one that has moved since the last answer is named again.
            assert indexes(request) == moved[-1:]
        if len(moved) == rounds:
            return None
        moved.append(rng.randrange(count))
        ends[moved[-1]] += 1
        one = batch(1, base_offset=ends[moved[-1]] - 1)
        return good(data(moved[-1], high_watermark=1, records=bytes(one)))

    leader, port = await world.leader(script)
    fetchers = world.manager(port)
    partitions = [await world.partition(index) for index in range(count)]
    for partition in partitions:
        fetchers.follow(partition, partition.held)
    await until(lambda: len(leader.seen) == rounds + 1)
    first, *others = leader.seen
    assert sorted(indexes(first)) == list(range(count))
    assert [request.session_epoch for request in others] == list(range(1, rounds + 1))
    assert {request.session_id for request in others} == {5}
    assert [p.held.core.log_end_offset for p in partitions] == ends
    assert sum(p.appends for p in partitions) == rounds  # nobody else was touched
    assert leader.versions == {18}


async def test_a_refused_session_begins_anew_at_once_and_then_rests(world: World) -> None:
    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        return FetchResponse(error_code=70) if len(leader.seen) < 5 else None

    leader, port = await world.leader(script)
    fetchers = world.manager(port)
    await world.followed(fetchers)
    began = asyncio.get_running_loop().time()
    await until(lambda: len(leader.seen) == 5)
    # The second refusal and those after it each cost a rest (of 20 ms).
    assert asyncio.get_running_loop().time() - began >= 0.05
    assert all(indexes(request) == [0] for request in leader.seen)
    assert {request.session_epoch for request in leader.seen} == {0}


# --- answers that lead nowhere -------------------------------------------------------------------


@pytest.mark.parametrize(
    "partition",
    [
        data(error_code=6),
        data(error_code=2),
        data(records=bytes(batch(2))[:-1]),  # never a whole batch
        data(records=bytes(batch(2, base_offset=0)).replace(b"x", b"y")),  # bad CRC
        data(error_code=1),
    ],
)
async def test_none_makes_it_spin(world: World, partition: PartitionData) -> None:
    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        return good(partition)

    leader, port = await world.leader(script)
    fetchers = world.manager(port, replica_fetch_backoff_ms=50)
    fetchers._leader_offsets = offsets_of_nothing
    followed = await world.followed(fetchers)
    began = asyncio.get_running_loop().time()
    await until(lambda: len(leader.seen) >= 10)
    # (Out of range: the leader's offsets are asked for every second time.)
    assert asyncio.get_running_loop().time() - began > 0.1
    assert followed.held.core.log_end_offset == 0


async def offsets_of_nothing(partition: object) -> tuple[int, int]:
    return 0, 0


async def test_a_throttled_answer_is_obeyed(world: World) -> None:
    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        return good(data(), throttle_time_ms=40) if len(leader.seen) < 4 else None

    leader, port = await world.leader(script)
    await world.followed(world.manager(port))
    began = asyncio.get_running_loop().time()
    await until(lambda: len(leader.seen) == 4)
    assert asyncio.get_running_loop().time() - began >= 0.1


# --- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\0\0\0\x04abcd",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x0b\0\0\0\x09\0\0\0\0\0\0\0\0",
    ],
)
async def test_a_bad_answer_ends_the_connection_and_nothing_else(world: World, bad: bytes) -> None:
    one = bytes(batch(2, base_offset=0))

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | bytes | None:
        if len(leader.seen) == 1:
            return bad
        return good(data(records=one, high_watermark=2)) if len(leader.seen) == 2 else None

    leader, port = await world.leader(script)
    other, other_port = await world.leader(
        lambda correlation_id, request: good(data(1, records=one)) if len(other.seen) == 1 else None
    )
    fetchers = world.manager(port)
    fetchers.nodes_changed(image_of({LEADER: port, 9: other_port}))
    followed = await world.followed(fetchers)
    beside = await world.followed(fetchers, 1, 9)
    await until(lambda: followed.held.core.log_end_offset == 2)
    assert (leader.connections, followed.high_watermark) == (2, 2)
    assert leader.seen[1].session_epoch == 0
    await until(lambda: beside.held.core.log_end_offset == 2)
    assert other.connections == 1


async def test_a_leader_that_hangs_up_is_not_called_all_the_time(world: World) -> None:
    leader, port = await world.leader(lambda correlation_id, request: b"")
    fetchers = world.manager(port)
    await world.followed(fetchers)
    began = asyncio.get_running_loop().time()
    await until(lambda: leader.connections == 5)
    least = 0.8 * sum(REPLICA_RECONNECT_MS[:4]) / 1000
    assert asyncio.get_running_loop().time() - began >= 0.9 * least


async def test_a_leader_that_does_not_answer(world: World) -> None:
    leader, port = await world.leader(lambda correlation_id, request: None)
    fetchers = world.manager(port, replica_socket_timeout_ms=50)
    await world.followed(fetchers)
    await until(lambda: leader.connections == 3)
    assert all(indexes(request) == [0] for request in leader.seen)


def test_patience_with_a_silent_leader() -> None:
    config = Config(replica_fetch_wait_max_ms=500, replica_socket_timeout_ms=30_000)
    found = [patience_ms(config, silences) for silences in (0, 1, 2, 3, 4, 5, 10**9)]
    assert found == [2_000, 3_500, 6_500, 12_500, 24_500, 30_000, 30_000]
    short = replace(config, replica_socket_timeout_ms=700)
    assert [patience_ms(short, silences) for silences in (0, 5)] == [700, 700]


async def test_who_only_is_slow_is_waited_for_longer_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def short(config: FetcherConfig, silences: int) -> int:
        asked.append(silences)
        return 40

    monkeypatch.setattr(fetcher_module, "patience_ms", short)
    leader, port = await world.leader(
        lambda correlation_id, request: (
            good(data(records=bytes(batch(2)))) if len(leader.seen) == 3 else None
        )
    )
    fetchers = world.manager(port)
    followed = await world.followed(fetchers)
    await until(lambda: followed.held.core.log_end_offset == 2)
    await until(lambda: leader.connections == 4)  # the next answer is owed, too
    assert asked[:4] == [0, 1, 2, 1]


async def test_a_leader_that_is_not_there_yet(world: World) -> None:
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    fetchers = world.manager(port)
    followed = await world.followed(fetchers)
    await asyncio.sleep(0.001)
    leader, other_port = await world.leader(
        lambda correlation_id, request: (
            good(data(records=bytes(batch(2)))) if len(leader.seen) == 1 else None
        )
    )
    fetchers.nodes_changed(image_of({LEADER: other_port}, epoch=2))
    await until(lambda: followed.held.core.log_end_offset == 2)


async def test_nodes_that_move_fence_and_return(world: World) -> None:
    first, port = await world.leader(lambda correlation_id, request: None)
    second, other_port = await world.leader(lambda correlation_id, request: None)
    fetchers = world.manager(port)
    await world.followed(fetchers)
    await until(lambda: first.seen)
    fetchers.nodes_changed(image_of({LEADER: other_port}, epoch=2))
    await until(lambda: second.seen)
    fetchers.nodes_changed(image_of({LEADER: other_port}, epoch=3))  # another life of it
    await until(lambda: second.connections == 2)
    fetchers.nodes_changed(image_of({LEADER: other_port}, fenced=True, epoch=4))
    fetchers.nodes_changed(MetadataImage())
    for _ in range(30):
        await asyncio.sleep(0.001)
    assert (first.connections, second.connections) == (1, 2)
    fetchers.nodes_changed(image_of({LEADER: port}, epoch=5))
    await until(lambda: first.connections == 2)


# --- what is followed ----------------------------------------------------------------------------


async def test_a_fetcher_goes_with_its_last_partition(world: World) -> None:
    leader, port = await world.leader(lambda correlation_id, request: None)
    fetchers = world.manager(port)
    a, b = await world.followed(fetchers), await world.followed(fetchers, 1)
    await until(lambda: leader.seen)
    await fetchers.leave(a)
    assert len(fetchers.fetchers) == 1
    await fetchers.leave(b)
    await fetchers.leave(b)
    assert fetchers.fetchers == []
    await until(lambda: not leader._writers)  # the connection is closed
    fetchers.follow(a, a.held)
    await until(lambda: leader.connections == 2)


async def test_no_leader_and_oneself_are_not_followed(world: World) -> None:
    _, port = await world.leader(lambda correlation_id, request: None)
    fetchers = world.manager(port)
    partition = await world.followed(fetchers)
    for leader_id in (-1, 2):
        partition.leader_id = leader_id
        fetchers.follow(partition, partition.held)
        assert fetchers.fetchers == []
    partition.leader_id = LEADER
    fetchers.follow(partition, partition.held)
    await fetchers.close()
    fetchers.follow(partition, partition.held)
    assert fetchers.fetchers == []


async def test_an_answer_of_an_earlier_epoch_is_dropped(world: World) -> None:
    """The metadata is newer than what the fetcher was told."""
    released = asyncio.Event()

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        partition.leader_epoch = 1
        released.set()
        return good(data(records=bytes(batch(2))))

    leader, port = await world.leader(script)
    fetchers = world.manager(port)
    partition = await world.followed(fetchers)
    await released.wait()
    for _ in range(30):
        await asyncio.sleep(0.001)
    assert partition.held.core.log_end_offset == 0
    leader.script = lambda correlation_id, request: (
        good(data(records=bytes(batch(2, epoch=1)))) if len(leader.seen) == 2 else None
    )
    fetchers.follow(partition, partition.held)
    await until(lambda: partition.held.core.log_end_offset == 2)
    assert leader.seen[1].topics[0].partitions[0].current_leader_epoch == 1


async def test_a_partition_that_is_added_while_the_leader_waits(world: World) -> None:
    """It is named at once, behind the request that waits."""
    leader, port = await world.leader(
        lambda correlation_id, request: good(data()) if request.session_epoch == 0 else None
    )
    fetchers = world.manager(port)
    await world.followed(fetchers)
    await until(lambda: len(leader.seen) == 2)
    await world.followed(fetchers, 1)
    await until(lambda: len(leader.seen) == 3)
    assert [request.session_epoch for request in leader.seen] == [0, 1, 2]
    assert indexes(leader.seen[2]) == [1]
    assert leader.connections == 1


async def test_many_partitions_over_any_answers(world: World) -> None:
    """Leaders that answer in any order and cut anywhere: what arrives is what they have."""
    rng = random.Random(4)
    batches = {
        index: [bytes(batch(2, base_offset=2 * i, size=40 + i)) for i in range(12)]
        for index in range(10)
    }
    known: dict[int, int] = {}

    def script(correlation_id: int, request: FetchRequest) -> FetchResponse | None:
        if request.session_epoch == 0:
            known.clear()
        for topic in request.topics:
            for asked in topic.partitions:
                known[asked.partition] = asked.fetch_offset
        for topic in request.forgotten_topics_data:
            for index in topic.partitions:
                del known[index]
        news = []
        for index in rng.sample(sorted(known), rng.randrange(1, len(known) + 1)):
            left = b"".join(batches[index][known[index] // 2 :])
            if left:
                news.append(data(index, records=left[: rng.randrange(100, 700)]))
        done = all(offset == 24 for offset in known.values())
        return good(*news) if news or not done else None

    _, port = await world.leader(script)
    fetchers = world.manager(port, replica_fetch_backoff_ms=1)
    partitions = [await world.followed(fetchers, index) for index in range(10)]
    await until(lambda: all(p.held.core.log_end_offset == 24 for p in partitions))
    for partition in partitions:
        assert content(partition.held) == b"".join(batches[partition.index])


def test_reconnect_waits_grow_and_are_bounded() -> None:
    rng = random.Random(1)
    waits = [[reconnect_wait_ms(failures, rng) for _ in range(50)] for failures in range(1, 20)]
    for failures, some in enumerate(waits):
        expected = REPLICA_RECONNECT_MS[min(failures, len(REPLICA_RECONNECT_MS) - 1)]
        assert all(0.8 * expected <= wait <= 1.2 * expected for wait in some)
        assert len(set(some)) > 1

"""Named places and times of a log, as consumers and followers see them."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import FakeLog, Node
from tidelog._native.partition import NOT_LEADER, Partition
from tidelog.controller.requests import NewTopic, ReplicaAssignment
from tidelog.errors import KafkaError
from tidelog.replication.listing_offsets import (
    EARLIEST,
    EARLIEST_LOCAL,
    EARLIEST_PENDING_UPLOAD,
    LATEST,
    LATEST_TIERED,
    MAX_TIMESTAMP,
    READ_COMMITTED,
    ListedOffset,
    is_place,
    last_fetchable_offset,
    offset_of_place,
    offset_of_time,
)


async def world() -> tuple[Partition, FakeLog]:
    """Offsets 10 to 19 of which those below 15 are committed; epochs 0 from 0, 2 from 12."""
    node = Node(nodes=1)
    await node.create(NewTopic("t", 1, 1))
    log = node.log("t")
    node.set_offsets("t", 0, 10, 15)
    log.set_offsets(10, 20)
    log.epochs = [(0, 0), (2, 12)]
    log.times = [(100, 10), (300, 13), (400, 17)]
    return node.replicas.leader("t", 0), log


def test_places() -> None:
    assert [timestamp for timestamp in range(-7, 2) if not is_place(timestamp)] == [-3, 0, 1]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (LATEST, ListedOffset(-1, 15, 0)),
        (EARLIEST, ListedOffset(-1, 10, 0)),
        (EARLIEST_LOCAL, ListedOffset(-1, 10, 0)),
        (LATEST_TIERED, ListedOffset(-1, -1, -1)),
        (EARLIEST_PENDING_UPLOAD, ListedOffset(-1, -1, -1)),
    ],
)
async def test_named_places(place: int, expected: ListedOffset) -> None:
    assert offset_of_place(*await world(), place) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (0, ListedOffset(100, 10, 0)),
        (300, ListedOffset(300, 13, 2)),
        (301, ListedOffset()),  # offset 17 is not committed yet
        (401, ListedOffset()),
        (MAX_TIMESTAMP, ListedOffset()),
    ],
)
async def test_times_for_a_consumer(timestamp: int, expected: ListedOffset) -> None:
    assert await offset_of_time(*await world(), timestamp) == expected  # type: ignore[arg-type]


async def test_times_for_a_follower() -> None:
    partition, log = await world()
    found = await offset_of_time(partition, log, MAX_TIMESTAMP, replica_id=3)  # type: ignore[arg-type]
    assert found == ListedOffset(400, 17, 2)


async def test_an_empty_log_has_no_newest_record() -> None:
    partition, log = await world()
    log.times = []
    assert await offset_of_time(partition, log, MAX_TIMESTAMP) == ListedOffset()  # type: ignore[arg-type]


async def test_ends() -> None:
    partition, _ = await world()
    assert last_fetchable_offset(partition, 0, -1) == 15
    assert last_fetchable_offset(partition, READ_COMMITTED, -1) == 15
    assert last_fetchable_offset(partition, 0, -2) == 15
    assert last_fetchable_offset(partition, 0, 3) == 20


async def test_a_partition_that_is_lost_during_the_search() -> None:
    partition, log = await world()
    partition.close(NOT_LEADER)
    with pytest.raises(KafkaError) as caught:
        await offset_of_time(partition, log, 0)  # type: ignore[arg-type]
    assert caught.value.error_code == 6


async def test_the_end_is_not_known_until_the_new_leader_has_caught_up() -> None:
    """It leads from 20 on, and of what it has 12 is known to be committed (KIP-207)."""
    node = Node(nodes=2)
    assignment = ReplicaAssignment(0, (1, 2))
    await node.create(NewTopic("t", assignments=(assignment,)))
    log = node.log("t")
    log.set_offsets(10, 20)
    log.times = [(100, 10), (400, 17)]
    partition = node.replicas.leader("t", 0)
    partition.open_as_leader(log.core, 12, node.isr.view)
    for replica_id, expected in ((-1, None), (2, 20)):
        if expected is None:
            with pytest.raises(KafkaError) as caught:
                offset_of_place(partition, log, LATEST, replica_id=replica_id)  # type: ignore[arg-type]
            assert caught.value.error_code == 78
            with pytest.raises(KafkaError):
                await offset_of_time(partition, log, 300)  # type: ignore[arg-type]
        else:
            found = offset_of_place(partition, log, LATEST, replica_id=replica_id)  # type: ignore[arg-type]
            assert found.offset == expected
    assert offset_of_place(partition, log, EARLIEST).offset == 10  # type: ignore[arg-type]
    assert (await offset_of_time(partition, log, 50)).offset == 10  # type: ignore[arg-type]
    assert partition.replica_fetched(2, 0, 20, 10) == 0
    assert offset_of_place(partition, log, LATEST).offset == 20  # type: ignore[arg-type]

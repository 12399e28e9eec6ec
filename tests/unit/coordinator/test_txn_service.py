"""The transaction coordinator of a node: a real log behind it, requests as handlers make them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.coordinator.test_group_service import image_with
from tests.unit.coordinator.test_runtime import Replicas
from tests.unit.native.lane_harness import topic_id_of
from tidelog._native import partition as native
from tidelog._native.partition import Partition
from tidelog.clock import ManualClock
from tidelog.config import BrokerConfig
from tidelog.coordinator.txn.decisions import Identity
from tidelog.coordinator.txn.transaction import TopicPartition
from tidelog.coordinator.txn_service import TransactionService
from tidelog.errors import KafkaError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import FeatureRecord
from tidelog.protocol.messages.write_txn_markers import (
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
)

STATE_TOPIC = "__transaction_state"
T0 = TopicPartition("t", 0)


class World(Replicas):
    """One node that leads `__transaction_state`-0 and "t"-0; markers are always acknowledged, but
    not while `held`.
    """

    def __init__(self, directory: Path, version: int = 2) -> None:
        super().__init__(directory)
        self.image = image_with(STATE_TOPIC, "t")
        if version:
            self.image = self.image.apply([FeatureRecord("transaction.version", version)], 2)
        #: What the node works with while `image` is being applied.
        self.former_image: MetadataImage | None = None
        self.clock = ManualClock()
        self.markers: list[Any] = []
        self.held: asyncio.Event | None = None
        self.ids = iter(range(100, 200))
        self.id_error: KafkaError | None = None
        self.partition: Partition | None = None
        self.service = TransactionService(
            self,  # type: ignore[arg-type]
            self.clock,
            image=lambda: self.former_image or self.image,
            config=BrokerConfig.resolve,
            next_producer_id=self.next_id,
            peers=self,
        )

    async def next_id(self) -> int:
        await asyncio.sleep(0)
        if self.id_error is not None:
            raise self.id_error
        return next(self.ids)

    async def request(self, node_id: int, request: Any, api_version: int) -> Any:
        if self.held is not None:
            await self.held.wait()
        self.markers += request.markers
        return WriteTxnMarkersResponse(
            markers=[
                WritableTxnMarkerResult(
                    producer_id=marker.producer_id,
                    topics=[
                        WritableTxnMarkerTopicResult(
                            name=topic.name,
                            partitions=[
                                WritableTxnMarkerPartitionResult(partition_index=i, error_code=0)
                                for i in topic.partition_indexes
                            ],
                        )
                        for topic in marker.topics
                    ],
                )
                for marker in request.markers
            ]
        )

    async def lead_state(self, epoch: int = 3) -> None:
        if self.owner.core.active_segment is None:
            await self.owner.roll()
        self.partition = Partition(STATE_TOPIC.encode(), topic_id_of(STATE_TOPIC), 0, self.progress)
        self.partition.open_as_leader(self.owner.core)
        for listener in self.leadership_listeners:
            listener(self.partition, epoch)

    async def lead_anew(self, epoch: int) -> None:
        """Another node was the leader, and this one is again."""
        assert self.partition is not None
        self.partition.close(native.NOT_LEADER)
        for listener in self.leadership_listeners:
            listener(self.partition, None)
        await self.lead_state(epoch)
        await until(lambda: not self.service.runtime.is_loading())

    def state(self, tid: str = "x") -> str:
        return self.service.describe_transaction(tid).state.label


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.lead_state()
    yield made
    await made.service.close()


async def until(ready: Callable[[], bool]) -> None:
    while not ready():
        await asyncio.sleep(0.001)


async def code_of(awaitable: Any) -> int:
    with pytest.raises(KafkaError) as caught:
        await awaitable
    return caught.value.error_code


async def test_a_transaction_from_begin_to_end(world: World) -> None:
    service = world.service
    producer = await service.init_producer_id("x", 60_000, None)
    assert producer == (100, 0)
    await service.add_partitions("x", producer, [T0], 2)
    assert service.verify_partitions("x", producer, [T0]) == {T0: 0}
    assert world.state() == "Ongoing"
    following = await service.end("x", producer, True, 2)
    assert following == (100, 1)
    await until(lambda: world.state() == "CompleteCommit")
    (marker,) = world.markers
    assert (marker.producer_id, marker.producer_epoch, marker.transaction_result) == (100, 1, True)
    assert (marker.coordinator_epoch, marker.transaction_version) == (3, 2)
    await service.add_partitions("x", following, [T0], 2)
    assert await code_of(service.add_partitions("x", producer, [T0], 2)) == 90
    assert await code_of(service.add_partitions("y", producer, [T0], 2)) == 49


@pytest.mark.parametrize(("version", "epoch"), [(0, 1), (1, 1), (2, 1)])
async def test_a_new_producer_takes_over(tmp_path: Path, version: int, epoch: int) -> None:
    world = World(tmp_path, version)
    await world.lead_state()
    service = world.service
    assert service.transaction_version() == version
    producer = await service.init_producer_id("x", 60_000, None)
    await service.add_partitions("x", producer, [T0], 0)
    world.held = asyncio.Event()
    assert await code_of(service.init_producer_id("x", 60_000, None)) == 51
    assert await code_of(service.init_producer_id("x", 60_000, None)) == 51
    world.held.set()
    await until(lambda: world.state() == "CompleteAbort")
    assert world.markers[0].producer_epoch == epoch
    assert world.markers[0].transaction_version == version
    assert await service.init_producer_id("x", 60_000, None) == (100, 2)
    await service.close()


async def test_the_next_coordinator_goes_on(world: World) -> None:
    service = world.service
    producer = await service.init_producer_id("x", 60_000, None)
    await service.add_partitions("x", producer, [T0], 2)
    world.held = asyncio.Event()
    await service.end("x", producer, False, 2)
    other = await service.init_producer_id("y", 60_000, None)
    await service.add_partitions("y", other, [T0], 2)
    await world.lead_anew(epoch=9)
    assert world.state() == "PrepareAbort"
    assert world.state("y") == "Ongoing"
    world.held.set()
    await until(lambda: world.state() == "CompleteAbort")
    # The one that was under way with the former epoch arrives, too: its node tells them apart.
    assert {marker.coordinator_epoch for marker in world.markers} == {3, 9}
    assert world.state("y") == "Ongoing"


async def test_a_topic_that_is_as_new_as_the_leadership_is_not_taken_for_a_deleted_one(
    world: World,
) -> None:
    service = world.service
    producer = await service.init_producer_id("x", 60_000, None)
    await service.add_partitions("x", producer, [T0], 2)
    world.held = asyncio.Event()
    await service.end("x", producer, True, 2)
    world.former_image = image_with(STATE_TOPIC)
    await world.lead_anew(9)
    world.held.set()
    await until(lambda: world.state() == "CompleteCommit")
    assert 9 in {marker.coordinator_epoch for marker in world.markers}


async def test_a_client_that_goes_leaves_no_transaction_behind(world: World) -> None:
    service = world.service
    producer = await service.init_producer_id("x", 60_000, None)
    await service.add_partitions("x", producer, [T0], 2)
    world.commit = asyncio.Event()
    ending = asyncio.create_task(service.end("x", producer, True, 2))
    await until(lambda: world.state() == "PrepareCommit")
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert world.markers == []
    world.commit.set()
    await until(lambda: world.state() == "CompleteCommit")


async def test_without_producer_ids(world: World) -> None:
    world.id_error = KafkaError(14)
    assert await code_of(world.service.init_producer_id("x", 60_000, None)) == 14
    world.id_error = None
    assert await world.service.init_producer_id("x", 60_000, None) == (100, 0)
    assert await code_of(world.service.init_producer_id("x", 900_001, None)) == 50
    known = Identity(100, 0)
    assert await world.service.init_producer_id("x", 60_000, known) == (100, 1)


@pytest.mark.parametrize("topics", [("t",), ("t", "__consumer_offsets")])
async def test_offsets_have_a_partition(world: World, topics: tuple[str, ...]) -> None:
    world.image = image_with(STATE_TOPIC, *topics)
    producer = await world.service.init_producer_id("x", 60_000, None)
    await world.service.add_offsets("x", producer, "my-group-7")
    (place,) = world.service.describe_transaction("x").partitions
    # Where the topic is still to be made, by the number of partitions that it will have.
    assert place == ("__consumer_offsets", 0 if len(topics) > 1 else 10)


async def test_lists(world: World) -> None:
    service = world.service
    for tid in ("a", "ab", "b"):
        producer = await service.init_producer_id(tid, 60_000, None)
        if tid != "b":
            await service.add_partitions(tid, producer, [T0], 2)
            world.clock.advance(1_000)

    def listed(
        *states: str, ids: tuple[int, ...] = (), duration: int = -1, pattern: str | None = None
    ) -> list[str]:
        found = service.list_transactions(states, ids, duration, pattern)
        return sorted(each.transactional_id for each in found)

    assert listed() == ["a", "ab", "b"]
    assert listed("Ongoing") == ["a", "ab"]
    assert listed("Ongoing", "Asleep") == ["a", "ab"]
    assert listed("Asleep") == []
    assert listed(ids=(100, 102)) == ["a", "b"]
    assert listed("Ongoing", duration=1_000) == ["a"]
    assert listed(pattern="a.*") == ["a", "ab"]
    assert listed(pattern="a") == ["a"]
    assert listed(pattern="") == ["a", "ab", "b"]
    for pattern in ("(", "a" * 5_000, "(?=a)"):
        with pytest.raises(KafkaError) as caught:
            listed(pattern=pattern)
        assert caught.value.error_code == 128


async def test_lists_wait_for_what_is_loaded(world: World) -> None:
    await world.service.init_producer_id("x", 60_000, None)
    assert world.partition is not None
    for listener in world.leadership_listeners:
        listener(world.partition, None)
    await world.lead_state()
    with pytest.raises(KafkaError) as caught:
        world.service.list_transactions((), (), -1, None)
    assert caught.value.error_code == 14
    await until(lambda: not world.service.runtime.is_loading())


async def test_nobody_coordinates_without_the_topic(world: World) -> None:
    world.image = image_with("t")
    assert await code_of(world.service.init_producer_id("x", 60_000, None)) == 16
    with pytest.raises(KafkaError):
        world.service.describe_transaction("x")


async def test_a_changed_config_is_a_new_one(world: World) -> None:
    first = world.service.transaction_config()
    assert (first.max_timeout_ms, first.abort_interval_ms) == (900_000, 10_000)
    assert (first.id_expiration_ms, first.expire_interval_ms) == (604_800_000, 3_600_000)
    world.service.metadata_changed()

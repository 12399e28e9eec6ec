"""The transaction gate: when the coordinator is asked, by whom together, and what becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import NOW_MS
from tests.unit.replication.transactions import Led
from tidelog.clock import ManualClock
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import PartitionRecord, TopicRecord
from tidelog.protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult,
    AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction,
)
from tidelog.protocol.schema import Request, Response
from tidelog.replication.markers import Marker, write_marker
from tidelog.replication.peer_client import PeerUnavailableError
from tidelog.replication.transaction_gate import TransactionGate

STATE_ID = bytes(range(16))


class Peers:
    """The node of the coordinator; `codes` by transactional id."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        #: Partitions that the coordinator does not know.
        self.unknown: set[int] = set()
        self.overall = 0
        self.lost = False
        self.hold: asyncio.Event | None = None
        self.requests: list[tuple[int, list[tuple[str, int, int, bool]]]] = []
        self.partitions: list[list[int]] = []

    async def request(self, node_id: int, request: Request, api_version: int) -> Response:
        assert isinstance(request, AddPartitionsToTxnRequest)
        assert api_version == 5
        self.requests.append(
            (
                node_id,
                [
                    (one.transactional_id, one.producer_id, one.producer_epoch, one.verify_only)
                    for one in request.transactions
                ],
            )
        )
        self.partitions.append(
            [i for one in request.transactions for topic in one.topics for i in topic.partitions]
        )
        if self.hold is not None:
            await self.hold.wait()
        if self.lost:
            raise PeerUnavailableError("gone")
        return AddPartitionsToTxnResponse(
            error_code=self.overall,
            results_by_transaction=[
                AddPartitionsToTxnResult(
                    transactional_id=one.transactional_id,
                    topic_results=[
                        AddPartitionsToTxnTopicResult(
                            name=topic.name,
                            results_by_partition=[
                                AddPartitionsToTxnPartitionResult(
                                    partition_index=index,
                                    partition_error_code=self._code(one, index),
                                )
                                for index in topic.partitions
                            ],
                        )
                        for topic in one.topics
                    ],
                )
                for one in request.transactions
            ]
            if not self.overall
            else [],
        )

    def _code(self, asked: AddPartitionsToTxnTransaction, index: int) -> int:
        """All or nothing, as AddPartitionsToTxn has it."""
        if self.unknown.isdisjoint(i for topic in asked.topics for i in topic.partitions):
            return self.codes.get(asked.transactional_id, 0)
        return 3 if index in self.unknown else 55


def image(leader: int) -> MetadataImage:
    return MetadataImage.from_records(
        [
            TopicRecord(STATE_ID, "__transaction_state"),
            PartitionRecord(STATE_ID, 0, (leader,), (leader,), leader, 0, 0),
        ],
        1,
    )


class World:
    def __init__(self, led: Led) -> None:
        self.led = led
        self.peers = Peers()
        self.image = image(3)
        self.gate = TransactionGate(self.peers, lambda: self.image, lambda key, count: 0)

    async def verify(self, name: str = "tx", version: int = 12, **what: int) -> int:
        asked: Any = {"producer_id": 7, "producer_epoch": 0, "base_sequence": 0} | what
        writer = (self.led.partition, *asked.values())
        if not self.gate.must_ask(writer):
            return 0
        (code,) = await self.gate.verify([writer], name.encode(), version)
        return code


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(await Led(tmp_path).lead())


async def test_a_yes_begins_a_transaction_and_nobody_is_asked_again(world: World) -> None:
    assert await world.led.write(7, 0, 0) == -48
    assert await world.verify() == 0
    assert await world.led.write(7, 0, 0) == 0
    assert await world.verify() == 0
    assert world.peers.requests == [(3, [("tx", 7, 0, False)])]


@pytest.mark.parametrize(
    ("version", "code", "told"),
    [
        (10, 120, 48),
        (11, 120, 120),
        (12, 120, 120),
        (11, 51, 19),
        (12, 51, 51),
        (12, 90, 47),
        (12, 16, 19),
        (12, 14, 19),
        (12, 15, 19),
        (12, 49, 49),
        (9, 48, 48),
    ],
)
async def test_what_a_producer_is_told(world: World, version: int, code: int, told: int) -> None:
    world.peers.codes["tx"] = code
    assert await world.verify(version=version) == told
    assert world.peers.requests[0][1][0][3] == (version < 12)
    assert await world.led.write(7, 0, 0) == -48


async def test_no_coordinator(world: World) -> None:
    world.peers.lost = True
    assert await world.verify() == 19
    world.peers.lost = False
    world.peers.overall = 31
    assert await world.verify() == 48
    world.image = image(-1)
    assert await world.verify() == 19
    world.image = MetadataImage()
    assert await world.verify() == 19


async def test_questions_gather_while_one_is_under_way(world: World) -> None:
    world.peers.hold = asyncio.Event()
    names = ["a", "b", "c", "b"]
    asking = [
        asyncio.ensure_future(world.verify(name, producer_id=i)) for i, name in enumerate(names)
    ]
    while not world.peers.requests:
        await asyncio.sleep(0)
    world.peers.codes["c"] = 53
    world.peers.hold.set()
    assert await asyncio.gather(*asking) == [0, 0, 53, 0]
    together = [[one[0] for one in asked] for _, asked in world.peers.requests]
    assert together == [["a", "b", "c"], ["b"]]


async def asked_beside_a_marker(world: World, version: int, code: int, **what: int) -> int:
    """A marker is written while the coordinator is asked; asked again, it says `code`."""
    world.peers.hold = asyncio.Event()
    asking = asyncio.ensure_future(world.verify(version=version, **what))
    while not world.peers.requests:
        await asyncio.sleep(0)
    led, marker = world.led, Marker(7, 1, False, 1)
    await write_marker(led, led.partition, marker, ManualClock(NOW_MS))  # type: ignore[arg-type]
    world.peers.hold.set()
    world.peers.hold = asyncio.Event()
    while len(world.peers.requests) < 2:
        await asyncio.sleep(0)
    world.peers.codes["tx"] = code
    world.peers.hold.set()
    return await asking


@pytest.mark.parametrize(
    ("version", "code", "told"), [(12, 90, 47), (12, 120, 120), (11, 120, 120), (9, 120, 48)]
)
async def test_a_marker_meanwhile_makes_the_answer_void(
    world: World, version: int, code: int, told: int
) -> None:
    assert await asked_beside_a_marker(world, version, code) == told
    assert await world.led.write(7, 0, 0) == -47


async def test_the_marker_of_the_transaction_before_ends_not_the_next_one(world: World) -> None:
    """A producer of the second generation begins as soon as it is told that it has committed; its
    epoch is that of the markers.
    """
    assert await asked_beside_a_marker(world, 12, 0, producer_epoch=1) == 0
    assert len(world.peers.requests) == 2
    assert await world.led.write(7, 1, 0) > 0


async def test_an_older_epoch_is_not_asked_for(world: World) -> None:
    world.peers.hold = asyncio.Event()
    asking = asyncio.ensure_future(world.verify(producer_epoch=4))
    await asyncio.sleep(0)
    assert await world.verify(producer_epoch=3) == 47
    world.peers.hold.set()
    assert await asking == 0


async def test_a_batch_that_overtook_the_first_one_is_out_of_order(world: World) -> None:
    """The first one failed on its way to the coordinator; the second one must not come first."""
    world.peers.lost = True
    assert await world.verify(base_sequence=0) == 19
    world.peers.lost = False
    assert await world.verify(base_sequence=1) == 0
    assert await world.led.write(7, 0, 1) == -45
    assert await world.led.write(7, 0, 0) == 0
    assert await world.led.write(7, 0, 1) == 1


@pytest.fixture
async def many(tmp_path: Path) -> list[Led]:
    """Partitions 0 to 9."""
    for index in range(10):
        (tmp_path / str(index)).mkdir()
    return [await Led(tmp_path / str(index), index).lead() for index in range(10)]


@pytest.mark.parametrize("version", [11, 12])
async def test_many_partitions_are_one_request(world: World, many: list[Led], version: int) -> None:
    writers = [(led.partition, 7, 0, 0) for led in many]
    assert await world.gate.verify(writers, b"tx", version) == [0] * 10
    assert world.peers.requests == [(3, [("tx", 7, 0, version < 12)])]
    assert world.peers.partitions == [list(range(10))]
    assert [await led.write(7, 0, 0) for led in many] == [0] * 10


async def test_partitions_are_refused_one_by_one(world: World, many: list[Led]) -> None:
    """A coordinator that does not know one of them yet does nothing for the others."""
    world.peers.unknown = {3, 4}
    writers = [(led.partition, 7, 0, 0) for led in many]
    codes = await world.gate.verify(writers, b"tx", 12)
    assert codes == [3 if index in (3, 4) else 0 for index in range(10)]
    assert world.peers.partitions == [list(range(10)), [0, 1, 2, 5, 6, 7, 8, 9]]
    assert [await led.write(7, 0, 0) for led in many[2:6]] == [0, -48, -48, 0]


async def test_partitions_of_several_producers_and_what_is_known(
    world: World, many: list[Led]
) -> None:
    assert await world.verify() == 0
    assert await world.led.write(7, 0, 0) == 0
    world.peers.requests.clear()
    places = [led.partition for led in many[1:4]]
    writers = [(world.led.partition, 7, 0, 1), (places[0], 7, 0, 0), (places[1], 8, 0, 0)]
    writers += [(places[2], 7, 0, 0), (places[2], 7, 0, 1)]
    assert await world.gate.verify(writers, b"tx", 12) == [0] * 5
    assert [asked for _, asked in world.peers.requests] == [
        [("tx", 7, 0, False)],
        [("tx", 8, 0, False)],
    ]
    assert world.peers.partitions[1:] == [[1, 3], [2]]

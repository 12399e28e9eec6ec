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
        self.overall = 0
        self.lost = False
        self.hold: asyncio.Event | None = None
        self.requests: list[tuple[int, list[tuple[str, int, int, bool]]]] = []

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
                                    partition_error_code=self.codes.get(one.transactional_id, 0),
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
        answer = self.gate.verify(
            self.led.partition, name.encode(), *asked.values(), api_version=version
        )
        return answer if isinstance(answer, int) else await answer


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


@pytest.mark.parametrize(("version", "told"), [(12, 120), (9, 48)])
async def test_a_marker_meanwhile_makes_the_answer_void(
    world: World, version: int, told: int
) -> None:
    world.peers.hold = asyncio.Event()
    asking = asyncio.ensure_future(world.verify(version=version))
    while not world.peers.requests:
        await asyncio.sleep(0)
    led, marker = world.led, Marker(7, 1, False, 1)
    await write_marker(led, led.partition, marker, ManualClock(NOW_MS))  # type: ignore[arg-type]
    world.peers.hold.set()
    assert await asking == told
    assert await led.write(7, 0, 0) == -47


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

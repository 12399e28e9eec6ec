"""Markers on their way: grouped by node, sent again until acknowledged, given up at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.unit.coordinator.txn.txn_harness import T0, T1
from tidelog.coordinator.txn import markers as module
from tidelog.coordinator.txn.markers import MarkerSender
from tidelog.coordinator.txn.shard import Prepared
from tidelog.coordinator.txn.transaction import TopicPartition
from tidelog.errors import InvariantError, KafkaError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import PartitionRecord, RemoveTopicRecord, TopicRecord
from tidelog.protocol.messages.heartbeat import HeartbeatResponse
from tidelog.protocol.messages.write_txn_markers import (
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

TOPIC_ID = bytes(range(16))
T2 = TopicPartition("t", 2)


def led_by(*leaders: int, epoch: int = 0) -> list[Any]:
    """Topic "t" with a partition for each leader (-1: none)."""
    return [
        TopicRecord(TOPIC_ID, "t"),
        *(
            PartitionRecord(TOPIC_ID, i, (1, 2), (1, 2), leader, epoch, epoch)
            for i, leader in enumerate(leaders)
        ),
    ]


def prepared(*places: TopicPartition, tid: str = "x", index: int = 7, epoch: int = 1) -> Prepared:
    return Prepared(index, tid, len(tid) + 100, epoch, True, frozenset(places), 2, 5)


class Peers:
    """Other nodes. `codes`: what a partition answers, in turn (0 when there is no more to say)."""

    def __init__(self) -> None:
        self.image = MetadataImage().apply(led_by(1, 2), 1)
        self.asked: list[tuple[int, Any]] = []
        self.codes: dict[TopicPartition, list[int]] = {}
        self.failures: list[Exception] = []
        self.hold: asyncio.Event | None = None
        self.completed: list[Prepared] = []
        self.refusals: list[int] = []
        self.leads = True
        self.sender = MarkerSender(lambda: self.image, self, self.leader_epoch, self.complete)

    def leader_epoch(self, index: int) -> int:
        if not self.leads:
            raise KafkaError(16)
        return 40 + index

    async def complete(self, done: Prepared) -> bool:
        await asyncio.sleep(0)
        if self.refusals:
            raise KafkaError(self.refusals.pop(0))
        self.completed.append(done)
        return True

    async def request(self, node_id: int, request: Any, api_version: int) -> Any:
        assert isinstance(request, WriteTxnMarkersRequest)
        assert api_version == 2
        self.asked.append((node_id, request))
        if self.hold is not None:
            await self.hold.wait()
        if self.failures:
            raise self.failures.pop(0)
        return WriteTxnMarkersResponse(
            markers=[
                WritableTxnMarkerResult(
                    producer_id=marker.producer_id,
                    topics=[
                        WritableTxnMarkerTopicResult(
                            name=topic.name,
                            partitions=[
                                WritableTxnMarkerPartitionResult(
                                    partition_index=i, error_code=self.code(topic.name, i)
                                )
                                for i in topic.partition_indexes
                            ],
                        )
                        for topic in marker.topics
                    ],
                )
                for marker in request.markers
            ]
        )

    def code(self, topic: str, index: int) -> int:
        codes = self.codes.get(TopicPartition(topic, index))
        return codes.pop(0) if codes else 0

    def places(self) -> list[tuple[int, list[int]]]:
        """(node, partitions) of every request."""
        return [
            (
                node,
                [i for m in request.markers for topic in m.topics for i in topic.partition_indexes],
            )
            for node, request in self.asked
        ]


@pytest.fixture
async def peers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peers]:
    monkeypatch.setattr(module, "MARKER_RETRY_MS", (1,))
    made = Peers()
    yield made
    await made.sender.close()
    assert made.sender.under_way == 0


async def until(ready: Callable[[], bool]) -> None:
    while not ready():
        await asyncio.sleep(0.001)


async def test_each_leader_is_told_its_partitions(peers: Peers) -> None:
    peers.sender.send(prepared(T0, T1))
    await until(lambda: bool(peers.completed))
    assert peers.completed == [prepared(T0, T1)]
    assert sorted(peers.places()) == [(1, [0]), (2, [1])]
    (marker,) = peers.asked[0][1].markers
    assert (marker.producer_id, marker.producer_epoch, marker.transaction_result) == (101, 1, True)
    assert (marker.coordinator_epoch, marker.transaction_version) == (47, 2)
    await until(lambda: peers.sender.under_way == 0)


async def test_a_transaction_without_partitions(peers: Peers) -> None:
    peers.sender.send(prepared())
    await until(lambda: bool(peers.completed))
    assert peers.asked == []


async def test_what_comes_meanwhile_goes_together(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MARKER_PARTITIONS_PER_REQUEST_MAX", 3)
    peers.hold = asyncio.Event()
    for length in range(1, 6):
        peers.sender.send(prepared(T0, tid="x" * length))
        await until(lambda: bool(peers.asked))
    peers.hold.set()
    await until(lambda: len(peers.completed) == 5)
    assert [len(request.markers) for _, request in peers.asked] == [1, 3, 1]


@pytest.mark.parametrize("code", [3, 6, 7, 19, 56, 14, 15, 16, -1])
async def test_only_what_failed_is_sent_again(peers: Peers, code: int) -> None:
    peers.image = MetadataImage().apply(led_by(1, 1), 1)
    peers.codes[T1] = [code, code]
    peers.sender.send(prepared(T0, T1))
    await until(lambda: bool(peers.completed))
    assert [(node, sorted(i)) for node, i in peers.places()] == [(1, [0, 1]), (1, [1]), (1, [1])]


@pytest.mark.parametrize("code", [43, 35])
async def test_a_partition_without_transactions_is_done(peers: Peers, code: int) -> None:
    peers.codes[T0] = [code]
    peers.sender.send(prepared(T0))
    await until(lambda: bool(peers.completed))
    assert len(peers.asked) == 1


@pytest.mark.parametrize("error", [OSError("gone"), KafkaError(15), TimeoutError()])
async def test_a_node_that_does_not_answer_is_asked_again(peers: Peers, error: Exception) -> None:
    peers.failures = [error, error]
    peers.sender.send(prepared(T0))
    await until(lambda: bool(peers.completed))
    assert len(peers.asked) == 3


async def test_a_partition_that_is_not_in_the_answer_is_asked_for_again(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [WriteTxnMarkersResponse()]
    request = peers.request

    async def without(node_id: int, message: Any, api_version: int) -> Any:
        whole = await request(node_id, message, api_version)
        return answers.pop() if answers else whole

    monkeypatch.setattr(peers, "request", without)
    peers.sender.send(prepared(T0))
    await until(lambda: bool(peers.completed))
    assert len(peers.asked) == 2


@pytest.mark.parametrize("code", [47, 52])
async def test_somebody_newer_has_been_there(
    peers: Peers, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    peers.codes[T0] = [code]
    peers.codes[T1] = [6] * 1000
    peers.sender.send(prepared(T0, T1))
    await until(lambda: peers.sender.under_way == 0)
    assert peers.completed == []
    assert caplog.messages == [
        f"transaction markers fenced transactional_id=x topic=t partition=0 error_code={code}"
    ]


async def test_a_deleted_topic_needs_no_marker(peers: Peers) -> None:
    peers.sender.send(prepared(TopicPartition("gone", 0), T2))
    await until(lambda: bool(peers.completed))
    assert peers.asked == []


async def test_a_partition_that_moves_is_tried_at_once(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MARKER_RETRY_MS", (3_600_000,))
    peers.image = MetadataImage().apply(led_by(1, -1, 1), 1)
    peers.codes[T0] = [6]
    peers.sender.send(prepared(T0, T1, T2))
    await until(lambda: len(peers.asked) == 1)
    await asyncio.sleep(0)
    peers.sender.metadata_changed()  # for nothing
    assert len(peers.asked) == 1
    # One partition has a new leader, the one without gets one.
    peers.image = peers.image.apply(led_by(2, 2, 1, epoch=1)[1:], 2)
    peers.sender.metadata_changed()
    await until(lambda: bool(peers.completed))
    assert [node for node, _ in peers.asked] == [1, 2]
    assert sorted(peers.places()[1][1]) == [0, 1]


async def test_a_topic_that_is_deleted_meanwhile(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MARKER_RETRY_MS", (3_600_000,))
    peers.codes[T0] = [3]
    peers.sender.send(prepared(T0))
    await until(lambda: bool(peers.asked))
    await asyncio.sleep(0)
    peers.image = peers.image.apply([RemoveTopicRecord(TOPIC_ID)], 2)
    peers.sender.metadata_changed()
    await until(lambda: bool(peers.completed))


async def test_who_coordinates_no_more_stops(peers: Peers) -> None:
    peers.codes = {T0: [6] * 1000, T1: [6] * 1000}
    peers.sender.send(prepared(T0))
    peers.sender.send(prepared(T0, tid="xy", index=8))
    await until(lambda: len(peers.asked) > 4)
    peers.sender.stop(7)
    await asyncio.sleep(0.01)
    before = len(peers.asked)
    await until(lambda: len(peers.asked) > before + 4)
    for _, request in peers.asked[before:]:
        assert [marker.producer_id for marker in request.markers] == [102]
    peers.leads = False
    peers.sender.stop(8)
    peers.sender.send(prepared(T0))
    assert peers.sender.under_way == 0


async def test_an_answer_that_comes_after_the_end_is_not_looked_at(peers: Peers) -> None:
    peers.hold = asyncio.Event()
    peers.sender.send(prepared(T0))
    await until(lambda: bool(peers.asked))
    peers.sender.stop(7)
    # The same transactional id, in its next transaction.
    following = prepared(T0, T1, epoch=2)
    peers.sender.send(following)
    peers.hold.set()
    await until(lambda: bool(peers.completed))
    assert peers.completed == [following]


async def test_the_completion_is_tried_again(peers: Peers) -> None:
    peers.refusals = [15, 15]
    peers.sender.send(prepared(T0))
    await until(lambda: bool(peers.completed))
    peers.refusals = [16]
    peers.sender.send(prepared(T0, tid="other"))
    await until(lambda: peers.sender.under_way == 0)
    assert len(peers.completed) == 1


async def test_an_answer_to_something_else_is_our_own_mistake(peers: Peers) -> None:
    async def other(node_id: int, message: Any, api_version: int) -> Any:
        return HeartbeatResponse()

    sender = MarkerSender(lambda: peers.image, peers, peers.leader_epoch, peers.complete)
    peers.request = other  # type: ignore[method-assign]
    part = module._Part(module._Work(prepared(T0), 0, {T0}), [T0])
    with pytest.raises(InvariantError):
        await sender._ask(1, [part])

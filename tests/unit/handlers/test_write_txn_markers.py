"""WriteTxnMarkers: to each partition its marker, and an answer for each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node, led_partitions, refusal
from tidelog.controller.requests import NewTopic
from tidelog.handlers import write_txn_markers
from tidelog.handlers.api import Handler
from tidelog.handlers.dispatch import Dispatcher
from tidelog.protocol.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
)
from tidelog.replication.markers import Marker
from tidelog.replication.replica_manager import ReplicaManager

HANDLER = Handler(write_txn_markers.API, write_txn_markers.handle, write_txn_markers.error_answer)


def marker(producer_id: int, commit: bool, **topics: list[int]) -> WritableTxnMarker:
    return WritableTxnMarker(
        producer_id=producer_id,
        producer_epoch=3,
        transaction_result=commit,
        coordinator_epoch=5,
        topics=[
            WritableTxnMarkerTopic(name=name, partition_indexes=indexes)
            for name, indexes in topics.items()
        ],
        transaction_version=2,
    )


async def world(monkeypatch: pytest.MonkeyPatch) -> tuple[Node, list[tuple[str, int, Marker]]]:
    written: list[tuple[str, int, Marker]] = []

    async def write(
        replicas: ReplicaManager, partition: Any, wanted: Marker, clock: object
    ) -> bool:
        if partition.index == 1:
            raise refusal(52)
        written.append((partition.topic.decode(), partition.index, wanted))
        return True

    monkeypatch.setattr(write_txn_markers, "write_marker", write)
    node = Node(nodes=1)
    node.dispatcher = Dispatcher(node.services, (HANDLER,))
    await node.create(NewTopic("t", 3), NewTopic("__consumer_offsets", 2))
    assert led_partitions(node, "t") == [0, 1, 2]
    return node, written


def told(answer: Any) -> list[tuple[int, dict[str, dict[int, int]]]]:
    return [
        (
            one.producer_id,
            {
                topic.name: {each.partition_index: each.error_code for each in topic.partitions}
                for topic in one.topics
            },
        )
        for one in answer.markers
    ]


@pytest.mark.parametrize("version", [1, 2])
async def test_each_partition_for_itself(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    node, written = await world(monkeypatch)
    request = WriteTxnMarkersRequest(
        markers=[marker(7, True, t=[0, 1, 9], gone=[0]), marker(8, False, t=[2])]
    )
    assert told(await node.ask(request, version)) == [
        (7, {"t": {0: 0, 1: 52, 9: 3}, "gone": {0: 3}}),
        (8, {"t": {2: 0}}),
    ]
    kind = 2 if version == 2 else 0
    assert written == [
        ("t", 0, Marker(7, 3, True, 5, kind)),
        ("t", 2, Marker(8, 3, False, 5, kind)),
    ]


async def test_offsets_are_the_group_coordinator_s(monkeypatch: pytest.MonkeyPatch) -> None:
    node, written = await world(monkeypatch)

    def complete(index: int) -> None:
        if index == 1:
            raise refusal(6)

    node.groups.answers["complete_transaction"] = complete
    request = WriteTxnMarkersRequest(markers=[marker(7, True, __consumer_offsets=[0, 1])])
    assert told(await node.ask(request, 2)) == [(7, {"__consumer_offsets": {0: 0, 1: 6}})]
    assert written == []
    assert node.groups.asked[0] == ("complete_transaction", 0)


async def test_a_node_asks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    node, written = await world(monkeypatch)
    request = WriteTxnMarkersRequest(markers=[marker(7, True, t=[0])])
    assert told(await node.dispatcher.answer(request, 1)) == [(7, {"t": {0: 0}})]
    assert written == [("t", 0, Marker(7, 3, True, 5, 0))]

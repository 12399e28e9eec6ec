"""`tidelog transactions` as it is typed, with nodes that answer from a table."""

from __future__ import annotations

import json
from typing import Any, Self

import pytest

from tidelog.cli import transactions
from tidelog.cli.app import run
from tidelog.cli.cluster import CommandError
from tidelog.protocol.messages.describe_producers import (
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)
from tidelog.protocol.messages.describe_transactions import (
    DescribeTransactionsResponse,
    TopicData,
)
from tidelog.protocol.messages.describe_transactions import TransactionState as Described
from tidelog.protocol.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from tidelog.protocol.messages.init_producer_id import InitProducerIdResponse
from tidelog.protocol.messages.list_transactions import ListTransactionsResponse, TransactionState
from tidelog.protocol.messages.metadata import (
    MetadataResponse,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from tidelog.protocol.messages.write_txn_markers import (
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
)

Output = pytest.CaptureFixture[str]


class FakeWire:
    """Two nodes. Answers by the request's API; a list is used up one by one."""

    answers: dict[str, Any]
    asked: list[tuple[int, Any]]

    def __init__(self, bootstrap: str) -> None:
        assert bootstrap == "127.0.0.1:9092"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def nodes(self) -> dict[int, tuple[str, int]]:
        return {2: ("h", 2), 1: ("h", 1)}

    def metadata(self, topics: list[str]) -> MetadataResponse:
        partition = MetadataResponsePartition(partition_index=3, leader_id=2)
        return MetadataResponse(
            topics=[MetadataResponseTopic(name=name, partitions=[partition]) for name in topics]
        )

    def ask(self, node_id: int, request: Any, version: int, answer: type) -> Any:
        self.asked.append((node_id, request))
        found = self.answers[request.API.name]
        if isinstance(found, list):
            found = found.pop(0)
        assert isinstance(found, answer)
        return found


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> type[FakeWire]:
    monkeypatch.setattr(transactions, "Wire", FakeWire)
    monkeypatch.setattr(transactions, "_RETRY_S", 0)
    monkeypatch.delenv("TIDELOG_BOOTSTRAP", raising=False)
    FakeWire.answers = {
        "FIND_COORDINATOR": FindCoordinatorResponse(
            coordinators=[Coordinator(key="tx", node_id=2, host="h", port=2)]
        ),
        "DESCRIBE_TRANSACTIONS": DescribeTransactionsResponse(
            transaction_states=[
                Described(
                    transactional_id="tx",
                    transaction_state="Ongoing",
                    transaction_timeout_ms=60_000,
                    transaction_start_time_ms=1,
                    producer_id=9,
                    producer_epoch=4,
                    topics=[TopicData(topic="t", partitions=[3, 1])],
                )
            ]
        ),
    }
    FakeWire.asked = []
    return FakeWire


def test_list(wire: type[FakeWire], capsys: Output) -> None:
    def states(*ids: str) -> ListTransactionsResponse:
        return ListTransactionsResponse(
            transaction_states=[
                TransactionState(transactional_id=one, producer_id=5, transaction_state="Ongoing")
                for one in ids
            ]
        )

    wire.answers["LIST_TRANSACTIONS"] = [states("b"), states("a", "c")]
    arguments = ["--state", "ongoing", "--longer-than", "1.5", "--json"]
    assert run(["transactions", "list", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["transactional_id"], one["coordinator"]) for one in found] == [
        ("a", 2),
        ("b", 1),
        ("c", 2),
    ]
    assert [(node, r.state_filters, r.duration_filter) for node, r in wire.asked] == [
        (1, ["Ongoing"], 1500),
        (2, ["Ongoing"], 1500),
    ]


def test_a_state_that_is_none(wire: type[FakeWire], capsys: Output) -> None:
    assert run(["transactions", "list", "--state", "Busy"]) == 2
    err = capsys.readouterr().err
    assert "--state Busy: one of Empty, Ongoing, PrepareCommit, " in err
    assert not wire.asked
    # Another cluster may not know one.
    wire.answers["LIST_TRANSACTIONS"] = ListTransactionsResponse(unknown_state_filters=["Dead"])
    assert run(["transactions", "list", "--state", "dead"]) == 1
    assert "--state Dead: there is no such state" in capsys.readouterr().err


def test_describe(wire: type[FakeWire], capsys: Output) -> None:
    assert run(["transactions", "describe", "tx"]) == 0
    out = capsys.readouterr().out
    assert "partitions         t-1 t-3\n" in out
    assert "coordinator        2\n" in out
    assert [node for node, _ in wire.asked] == [1, 2]
    wire.answers["DESCRIBE_TRANSACTIONS"].transaction_states[0].error_code = 105
    assert run(["transactions", "describe", "tx"]) == 1
    err = capsys.readouterr().err
    assert "TRANSACTIONAL_ID_NOT_FOUND" in err
    assert err.count("\n") == 1


def test_abort_waits_for_the_end(wire: type[FakeWire], capsys: Output) -> None:
    busy = InitProducerIdResponse(error_code=51)
    wire.answers["INIT_PRODUCER_ID"] = [busy, busy, InitProducerIdResponse(producer_id=9)]
    assert run(["transactions", "abort", "tx"]) == 0
    assert capsys.readouterr().out == "aborted tx\n"
    requests = [request for _, request in wire.asked if request.API.name == "INIT_PRODUCER_ID"]
    assert [request.transaction_timeout_ms for request in requests] == [60_000] * 3


def test_abort_of_what_hangs_in_a_partition(wire: type[FakeWire], capsys: Output) -> None:
    producers = [
        ProducerState(producer_id=5, producer_epoch=1, current_txn_start_offset=-1),
        ProducerState(
            producer_id=6, producer_epoch=2, coordinator_epoch=4, current_txn_start_offset=17
        ),
    ]
    wire.answers["DESCRIBE_PRODUCERS"] = DescribeProducersResponse(
        topics=[
            TopicResponse(
                name="t",
                partitions=[PartitionResponse(partition_index=3, active_producers=producers)],
            )
        ]
    )
    result = WritableTxnMarkerPartitionResult(partition_index=3)
    wire.answers["WRITE_TXN_MARKERS"] = WriteTxnMarkersResponse(
        markers=[
            WritableTxnMarkerResult(
                producer_id=6,
                topics=[WritableTxnMarkerTopicResult(name="t", partitions=[result])],
            )
        ]
    )
    place = ["transactions", "abort", "--topic", "t", "--partition", "3", "--start-offset"]
    assert run([*place, "17"]) == 0
    node, request = wire.asked[-1]
    (marker,) = request.markers
    assert (node, marker.producer_id, marker.producer_epoch) == (2, 6, 2)
    assert (marker.coordinator_epoch, marker.transaction_result) == (4, False)
    assert run([*place, "18"]) == 1
    assert "no transaction begins at offset 18" in capsys.readouterr().err
    result.error_code = 47
    assert run([*place, "17"]) == 1
    assert "INVALID_PRODUCER_EPOCH" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["tx", "--topic", "t"], ["--topic", "t"], ["--start-offset", "4"]]
)
def test_what_to_abort_must_be_clear(wire: type[FakeWire], arguments: list[str]) -> None:
    assert run(["transactions", "abort", *arguments]) == 2
    assert wire.asked == []


def test_a_partition_that_is_not_there(wire: type[FakeWire]) -> None:
    with pytest.raises(CommandError, match=r"t-4: there is no such partition"):
        transactions._abort_in_partition(FakeWire("127.0.0.1:9092"), "t", 4, 0)  # type: ignore[arg-type]

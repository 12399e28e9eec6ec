"""DescribeTransactions: a code for every transactional id."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.coordinator.txn.states import TransactionState
from tidelog.coordinator.txn.transaction import TopicPartition, Transaction
from tidelog.errors import KafkaError
from tidelog.handlers.context import RequestContext
from tidelog.protocol.messages.describe_transactions import DescribeTransactionsRequest

OPEN = Transaction(
    "x",
    5,
    7,
    60_000,
    TransactionState.ONGOING,
    frozenset({TopicPartition("u", 0), TopicPartition("t", 1), TopicPartition("t", 0)}),
    start_timestamp_ms=20,
    last_update_timestamp_ms=30,
)


def describe(transactional_id: str) -> Transaction | KafkaError:
    return OPEN if transactional_id == "x" else refusal(105)


async def test_every_id_has_its_own_answer() -> None:
    node = Node()
    node.transactions.answers["describe_transaction"] = describe
    answer = await node.ask(DescribeTransactionsRequest(transactional_ids=["x", "y", ""]), 0)
    x, y, nobody = answer.transaction_states
    assert (x.error_code, x.transactional_id, x.transaction_state) == (0, "x", "Ongoing")
    assert (x.producer_id, x.producer_epoch, x.transaction_timeout_ms) == (5, 7, 60_000)
    assert x.transaction_start_time_ms == 20
    assert [(t.topic, t.partitions) for t in x.topics] == [("t", [0, 1]), ("u", [0])]
    assert (y.error_code, y.transactional_id, y.transaction_state) == (105, "y", "")
    assert nobody.error_code == 42


async def test_what_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    denied: Any = "u"
    monkeypatch.setattr(
        RequestContext, "authorize", lambda self, operation, kind, name: name != denied
    )
    node = Node()
    node.transactions.answers["describe_transaction"] = describe
    request = DescribeTransactionsRequest(transactional_ids=["x"])
    answer = await node.ask(request, 0)
    assert [t.topic for t in answer.transaction_states[0].topics] == ["t"]
    denied = "x"
    answer = await node.ask(request, 0)
    assert answer.transaction_states[0].error_code == 53

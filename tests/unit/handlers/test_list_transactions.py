"""ListTransactions: filters go to the coordinator, states that do not exist come back."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.coordinator.txn.states import TransactionState
from tidelog.coordinator.txn.transaction import Transaction
from tidelog.handlers.context import RequestContext
from tidelog.protocol.messages.list_transactions import ListTransactionsRequest

FOUND = [
    Transaction("x", 5, 7, 60_000, TransactionState.ONGOING),
    Transaction("y", 6, 0, 60_000, TransactionState.COMPLETE_ABORT),
]


@pytest.mark.parametrize("version", range(3))
async def test_filters(version: int) -> None:
    node = Node()
    node.transactions.answers["list_transactions"] = FOUND
    request = ListTransactionsRequest(state_filters=["Ongoing", "Asleep"], producer_id_filters=[5])
    if version >= 1:
        request.duration_filter = 1000
    if version >= 2:
        request.transactional_id_pattern = "x.*"
    answer = await node.ask(request, version)
    assert answer.unknown_state_filters == ["Asleep"]
    assert [
        (t.transactional_id, t.producer_id, t.transaction_state) for t in answer.transaction_states
    ] == [("x", 5, "Ongoing"), ("y", 6, "CompleteAbort")]
    duration = 1000 if version >= 1 else -1
    pattern = "x.*" if version >= 2 else None
    assert node.transactions.asked == [
        ("list_transactions", {"Ongoing", "Asleep"}, {5}, duration, pattern)
    ]


@pytest.mark.parametrize("code", [14, 128])
async def test_refusals(code: int) -> None:
    node = Node()
    node.transactions.answers["list_transactions"] = refusal(code)
    answer = await node.ask(ListTransactionsRequest(), 2)
    assert (answer.error_code, answer.transaction_states) == (code, [])


async def test_what_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        RequestContext, "authorize", lambda self, operation, kind, name: name != "x"
    )
    node = Node()
    node.transactions.answers["list_transactions"] = FOUND
    answer = await node.ask(ListTransactionsRequest(), 2)
    assert [t.transactional_id for t in answer.transaction_states] == ["y"]

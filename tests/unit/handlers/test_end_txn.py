"""EndTxn: generations by version, what is answered, and the error table."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.coordinator.txn.decisions import NO_IDENTITY, Identity
from tidelog.handlers.context import RequestContext
from tidelog.protocol.messages.end_txn import EndTxnRequest


def ask(transactional_id: str = "x", committed: bool = True) -> EndTxnRequest:
    return EndTxnRequest(
        transactional_id=transactional_id, producer_id=5, producer_epoch=1, committed=committed
    )


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("version", range(6))
async def test_the_coordinator_is_asked(version: int, committed: bool) -> None:
    node = Node()
    node.transactions.answers["end"] = Identity(5, 2) if version >= 5 else NO_IDENTITY
    answer = await node.ask(ask(committed=committed), version)
    assert answer.error_code == 0
    assert (answer.producer_id, answer.producer_epoch) == ((5, 2) if version >= 5 else (-1, -1))
    generation = 2 if version >= 5 else 0
    assert node.transactions.asked == [("end", "x", (5, 1), committed, generation)]


@pytest.mark.parametrize(
    ("refused", "version", "code"), [(90, 1, 47), (90, 2, 90), (48, 5, 48), (51, 0, 51)]
)
async def test_refusals(refused: int, version: int, code: int) -> None:
    node = Node()
    node.transactions.answers["end"] = refusal(refused)
    answer = await node.ask(ask(), version)
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (code, -1, -1)


async def test_without_a_transactional_id() -> None:
    assert (await Node().ask(ask(""), 5)).error_code == 42


async def test_what_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestContext, "authorize", lambda self, operation, kind, name: False)
    assert (await Node().ask(ask(), 5)).error_code == 53

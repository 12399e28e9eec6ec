"""AddOffsetsToTxn: what the coordinator is asked, and the error table."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.handlers.context import RequestContext
from tidelog.protocol.messages.add_offsets_to_txn import AddOffsetsToTxnRequest


def ask(transactional_id: str = "x") -> AddOffsetsToTxnRequest:
    return AddOffsetsToTxnRequest(
        transactional_id=transactional_id, producer_id=5, producer_epoch=1, group_id="g"
    )


@pytest.mark.parametrize("version", range(5))
async def test_the_coordinator_is_asked(version: int) -> None:
    node = Node()
    node.transactions.answers["add_offsets"] = None
    assert (await node.ask(ask(), version)).error_code == 0
    assert node.transactions.asked == [("add_offsets", "x", (5, 1), "g")]


@pytest.mark.parametrize(
    ("refused", "version", "code"), [(90, 1, 47), (90, 2, 90), (49, 4, 49), (16, 4, 16)]
)
async def test_refusals(refused: int, version: int, code: int) -> None:
    node = Node()
    node.transactions.answers["add_offsets"] = refusal(refused)
    assert (await node.ask(ask(), version)).error_code == code


async def test_without_a_transactional_id() -> None:
    assert (await Node().ask(ask(""), 4)).error_code == 42


@pytest.mark.parametrize(("resource", "code"), [(5, 53), (3, 30)])
async def test_what_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch, resource: int, code: int
) -> None:
    monkeypatch.setattr(RequestContext, "authorize", lambda self, operation, kind, name: (
        kind != resource
    ))  # fmt: skip
    assert (await Node().ask(ask(), 4)).error_code == code

"""AlterClientQuotas: what reaches the metadata, and the answer for each entity."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.protocol.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    EntityData,
    EntryData,
    OpData,
)


def entry(names: list[tuple[str, str | None]], **ops: float | None) -> EntryData:
    return EntryData(
        entity=[EntityData(entity_type=kind, entity_name=name) for kind, name in names],
        ops=[OpData(key=k, value=v or 0.0, remove=v is None) for k, v in ops.items()],
    )


def outcomes(answer: Any) -> list[tuple[dict[str, str | None], int]]:
    return [
        ({part.entity_type: part.entity_name for part in each.entity}, each.error_code)
        for each in answer.entries
    ]


@pytest.mark.parametrize("version", [0, 1])
async def test_quotas_are_set_and_removed(version: int) -> None:
    node = Node()
    good = entry([("user", None), ("client-id", "c")], producer_byte_rate=5.0)
    bad = entry([("user", "u")], nope=1.0)
    answer = await node.ask(AlterClientQuotasRequest(entries=[good, bad]), version)
    assert outcomes(answer) == [({"client-id": "c", "user": None}, 0), ({"user": "u"}, 42)]
    assert answer.entries[0].error_message is None
    assert answer.entries[1].error_message
    assert node.image.quotas == {(("client-id", "c"), ("user", None)): {"producer_byte_rate": 5.0}}
    gone = entry([("client-id", "c"), ("user", None)], producer_byte_rate=None)
    await node.ask(AlterClientQuotasRequest(entries=[gone]), version)
    assert node.image.quotas == {}


async def test_validate_only() -> None:
    node = Node()
    good = entry([("user", "u")], producer_byte_rate=5.0)
    answer = await node.ask(AlterClientQuotasRequest(entries=[good], validate_only=True), 1)
    assert outcomes(answer) == [({"user": "u"}, 0)]
    assert node.image.quotas == {}


async def test_a_silent_controller_is_an_error_of_every_entity() -> None:
    node = Node()
    node.silent = True
    entries = [entry([("user", "u"), ("user", "v")]), entry([("ip", None)])]
    answer = await node.ask(AlterClientQuotasRequest(entries=entries), 1)
    assert outcomes(answer) == [({"user": "v"}, 7), ({"ip": None}, 7)]

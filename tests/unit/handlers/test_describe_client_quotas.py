"""DescribeClientQuotas: filters over the wire, and those that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.metadata.records import QuotaRecord
from tidelog.protocol.messages.describe_client_quotas import (
    ComponentData,
    DescribeClientQuotasRequest,
)

USER = (("user", "u"),)
BOTH = (("client-id", None), ("user", "u"))


async def ask(
    *components: tuple[str, int, str | None], strict: bool = False, version: int = 1
) -> Any:
    node = Node()
    node.controller.apply(
        QuotaRecord(USER, "producer_byte_rate", 5.0), QuotaRecord(BOTH, "request_percentage", 1.5)
    )
    parts = [ComponentData(entity_type=a, match_type=b, match=c) for a, b, c in components]
    return await node.ask(DescribeClientQuotasRequest(components=parts, strict=strict), version)


def shown(answer: Any) -> list[Any]:
    assert (answer.error_code, answer.error_message) == (0, "")
    return [
        (
            tuple((part.entity_type, part.entity_name) for part in entry.entity),
            [(value.key, value.value) for value in entry.values],
        )
        for entry in answer.entries
    ]


@pytest.mark.parametrize("version", [0, 1])
async def test_filters(version: int) -> None:
    both = [(USER, [("producer_byte_rate", 5.0)]), (BOTH, [("request_percentage", 1.5)])]
    assert shown(await ask(version=version)) == both
    assert shown(await ask(("user", 0, "u"), version=version)) == both
    assert shown(await ask(("user", 0, "u"), strict=True)) == both[:1]
    assert shown(await ask(("client-id", 1, None))) == both[1:]
    assert shown(await ask(strict=True)) == []


@pytest.mark.parametrize(
    ("components", "code"),
    [
        ([("", 2, None)], 42),
        ([("group", 2, None)], 35),
        ([("user", 2, None), ("user", 0, "u")], 42),
        ([("user", 0, None)], 42),
        ([("user", 1, "u")], 42),
        ([("user", 2, "u")], 42),
        ([("user", 3, None)], 42),
        ([("user", 2, None), ("ip", 2, None)], 42),
    ],
)
async def test_refusals(components: list[tuple[str, int, str | None]], code: int) -> None:
    answer = await ask(*components)
    assert (answer.error_code, answer.entries) == (code, None)
    assert answer.error_message

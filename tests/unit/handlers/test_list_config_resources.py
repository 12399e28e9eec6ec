"""ListConfigResources: by type, and all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.metadata.records import ConfigRecord
from tidelog.protocol.messages.list_config_resources import ListConfigResourcesRequest


async def ask(*kinds: int, version: int = 1) -> Any:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 1, 1))
    node.controller.apply(
        ConfigRecord(32, "g", "consumer.session.timeout.ms", "50000"),
        ConfigRecord(16, "m", "interval.ms", "500"),
    )
    return await node.ask(ListConfigResourcesRequest(resource_types=list(kinds)), version)


def names(answer: Any) -> list[tuple[int, str]]:
    assert answer.error_code == 0
    return [(each.resource_type, each.resource_name) for each in answer.config_resources]


async def test_by_type() -> None:
    everything = [(2, "t"), (4, "1"), (4, "2"), (8, "1"), (8, "2"), (16, "m"), (32, "g")]
    assert names(await ask()) == everything
    assert names(await ask(32, 2, 32)) == [(32, "g"), (2, "t")]


async def test_version_0_lists_client_metrics() -> None:
    answer = await ask(version=0)
    assert [each.resource_name for each in answer.config_resources] == ["m"]


@pytest.mark.parametrize("kind", [0, 1, 99])
async def test_unknown_types(kind: int) -> None:
    answer = await ask(2, kind)
    assert (answer.error_code, answer.config_resources) == (35, [])

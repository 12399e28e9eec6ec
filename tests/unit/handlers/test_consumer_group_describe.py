"""ConsumerGroupDescribe: each group for itself, in every version."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.protocol.messages.consumer_group_describe import (
    ConsumerGroupDescribeRequest,
    DescribedGroup,
)


def describe(group_id: str) -> Any:
    if group_id == "elsewhere":
        return refusal(16)
    return DescribedGroup(group_id=group_id, group_state="Stable")


@pytest.mark.parametrize("version", range(2))
async def test_every_version(version: int) -> None:
    node = Node()
    node.groups.now["describe_consumer"] = describe
    request = ConsumerGroupDescribeRequest(
        group_ids=["g", "elsewhere", ""], include_authorized_operations=True
    )
    answer = await node.ask(request, version)
    found = [(g.group_id, g.error_code, g.group_state) for g in answer.groups]
    assert found == [("g", 0, "Stable"), ("elsewhere", 16, ""), ("", 24, "")]
    assert answer.groups[0].authorized_operations == sum(1 << n for n in (3, 6, 8, 10, 11))
    assert answer.groups[1].authorized_operations == -(1 << 31)

"""DescribeGroups: each group for itself, in every version."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.protocol.messages.describe_groups import DescribedGroup, DescribeGroupsRequest


def describe(group_id: str) -> Any:
    if group_id == "elsewhere":
        return refusal(16)
    return DescribedGroup(group_id=group_id, group_state="Stable", protocol_type="consumer")


@pytest.mark.parametrize("version", range(7))
async def test_every_version(version: int) -> None:
    node = Node()
    node.groups.now["describe_classic"] = describe
    request = DescribeGroupsRequest(
        groups=["g", "elsewhere"], include_authorized_operations=version >= 3
    )
    answer = await node.ask(request, version)
    found = [(g.group_id, g.error_code, g.group_state) for g in answer.groups]
    assert found == [("g", 0, "Stable"), ("elsewhere", 16, "")]
    operations = answer.groups[0].authorized_operations
    assert operations == (sum(1 << n for n in (3, 6, 8, 10, 11)) if version >= 3 else -(1 << 31))

"""ListGroups in every version."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.protocol.messages.list_groups import (
    ListedGroup,
    ListGroupsRequest,
    ListGroupsResponse,
)

LISTED = ListedGroup(
    group_id="g", protocol_type="consumer", group_state="Stable", group_type="classic"
)


@pytest.mark.parametrize("version", range(6))
async def test_every_version(version: int) -> None:
    node = Node()
    asked: list[ListGroupsRequest] = []

    def list_groups(request: ListGroupsRequest) -> Any:
        asked.append(request)
        return ListGroupsResponse(groups=[LISTED])

    node.groups.now["list_groups"] = list_groups
    states = ["Stable"] if version >= 4 else []
    answer = await node.ask(ListGroupsRequest(states_filter=states), version)
    assert asked[0].states_filter == states
    assert [g.group_id for g in answer.groups] == ["g"]
    assert answer.groups[0].group_state == ("Stable" if version >= 4 else "")
    node.groups.now["list_groups"] = lambda request: refusal(14)
    assert (await node.ask(ListGroupsRequest(), version)).error_code == 14

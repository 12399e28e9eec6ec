"""DeleteGroups: a code for every group."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.errors import KafkaError
from tidelog.protocol.messages.delete_groups import DeleteGroupsRequest


def delete(group_id: str) -> KafkaError | None:
    return {"busy": refusal(68), "elsewhere": refusal(16)}.get(group_id)


@pytest.mark.parametrize("version", range(3))
async def test_every_group_has_its_own_answer(version: int) -> None:
    node = Node()
    node.groups.answers["delete_group"] = delete
    answer = await node.ask(
        DeleteGroupsRequest(groups_names=["g", "busy", "elsewhere", "g"]), version
    )
    assert [(r.group_id, r.error_code) for r in answer.results] == [
        ("g", 0),
        ("busy", 68),
        ("elsewhere", 16),
    ]
    assert [group_id for _, group_id in node.groups.asked] == ["g", "busy", "elsewhere"]

"""SyncGroup: passed to the coordinator and back in every version."""

from __future__ import annotations

import pytest

from tests.unit.handlers.group_cases import passed_on, refused
from tests.unit.handlers.worlds import Node
from tidelog.protocol.messages.sync_group import (
    SyncGroupRequest,
    SyncGroupRequestAssignment,
    SyncGroupResponse,
)


@pytest.mark.parametrize("version", range(6))
async def test_every_version(version: int) -> None:
    request = SyncGroupRequest(
        group_id="g",
        generation_id=4,
        member_id="m",
        assignments=[SyncGroupRequestAssignment(member_id="m", assignment=b"xyz")],
    )
    if version >= 5:
        request.protocol_type, request.protocol_name = "consumer", "range"
    node = Node()
    answer = SyncGroupResponse(assignment=b"xyz")
    assert await passed_on(node, "sync_group", request, answer, version) == answer
    found = await refused(node, "sync_group", request, version)
    assert (found.error_code, found.assignment) == (16, b"")


async def test_the_protocol_is_named() -> None:
    """Kafka 4.3.1 refuses a request of version 5 that leaves one of them out."""
    node = Node()
    for names in ({"protocol_type": "consumer"}, {"protocol_name": "range"}, {}):
        found = await node.ask(SyncGroupRequest(group_id="g", member_id="m", **names), 5)
        assert (found.error_code, found.assignment) == (23, b"")
    assert not node.groups.asked

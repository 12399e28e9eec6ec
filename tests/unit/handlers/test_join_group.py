"""JoinGroup: passed to the coordinator and back in every version."""

from __future__ import annotations

import pytest

from tests.unit.handlers.group_cases import passed_on, refused
from tests.unit.handlers.worlds import Node
from tidelog.protocol.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
    JoinGroupResponseMember,
)


@pytest.mark.parametrize("version", range(10))
async def test_every_version(version: int) -> None:
    request = JoinGroupRequest(
        group_id="g",
        session_timeout_ms=10000,
        member_id="m",
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=b"abc")],
    )
    answer = JoinGroupResponse(
        generation_id=4,
        protocol_name="range",
        leader="m",
        member_id="m",
        members=[JoinGroupResponseMember(member_id="m", metadata=b"abc")],
    )
    node = Node()
    assert await passed_on(node, "join_group", request, answer, version) == answer
    found = await refused(node, "join_group", request, version)
    assert (found.error_code, found.generation_id, found.member_id) == (16, -1, "")
    assert found.protocol_name == (None if version >= 7 else "")

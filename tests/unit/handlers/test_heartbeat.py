"""Heartbeat: passed to the coordinator and back in every version."""

from __future__ import annotations

import pytest

from tests.unit.handlers.group_cases import passed_on, refused
from tests.unit.handlers.worlds import Node
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse


@pytest.mark.parametrize("version", range(5))
async def test_every_version(version: int) -> None:
    request = HeartbeatRequest(group_id="g", generation_id=4, member_id="m")
    node = Node()
    answer = HeartbeatResponse(error_code=27)
    assert await passed_on(node, "heartbeat", request, answer, version) == answer
    assert (await refused(node, "heartbeat", request, version)).error_code == 16

"""ConsumerGroupHeartbeat in every version."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node, refusal
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)


@pytest.mark.parametrize("version", range(2))
async def test_every_version(version: int) -> None:
    node = Node()
    node.groups.answers["consumer_heartbeat"] = ConsumerGroupHeartbeatResponse(
        member_id="m", member_epoch=2, heartbeat_interval_ms=5
    )
    request = ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=0)
    answer = await node.ask(request, version)
    assert (answer.member_id, answer.member_epoch, answer.assignment) == ("m", 2, None)
    node.groups.answers["consumer_heartbeat"] = refusal(110)
    answer = await node.ask(request, version)
    assert (answer.error_code, answer.member_id) == (110, None)

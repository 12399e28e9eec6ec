"""LeaveGroup: one form for the coordinator, each version's own for the client."""

from __future__ import annotations

import pytest

from tests.unit.handlers.group_cases import passed_on, refused
from tests.unit.handlers.worlds import Node
from tidelog.protocol.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
    MemberResponse,
)


def member_error(code: int) -> LeaveGroupResponse:
    member = MemberResponse(member_id="m", group_instance_id=None, error_code=code)
    return LeaveGroupResponse(members=[member])


@pytest.mark.parametrize("version", range(3, 6))
async def test_several_members(version: int) -> None:
    members = [MemberIdentity(member_id="m"), MemberIdentity(group_instance_id="i")]
    request = LeaveGroupRequest(group_id="g", members=members)
    node = Node()
    assert await passed_on(node, "leave_group", request, member_error(25), version) == member_error(
        25
    )
    assert (await refused(node, "leave_group", request, version)).error_code == 16


@pytest.mark.parametrize("version", range(3))
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (member_error(0), 0),
        (member_error(25), 25),
        (LeaveGroupResponse(error_code=24), 24),
    ],
)
async def test_one_member(version: int, answer: LeaveGroupResponse, code: int) -> None:
    node = Node()
    node.groups.answers["leave_group"] = answer
    request = LeaveGroupRequest(group_id="g", member_id="m")
    assert await node.ask(request, version) == LeaveGroupResponse(error_code=code)
    ((_, asked),) = node.groups.asked
    assert asked == LeaveGroupRequest(group_id="g", members=[MemberIdentity(member_id="m")])
    assert (await refused(node, "leave_group", request, version)).error_code == 16

"""DescribeGroups and ListGroups: what a shard tells about its groups. Pure, changes nothing."""

from __future__ import annotations

from collections.abc import Collection

from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.registry import GroupRegistry
from tidelog.coordinator.group.states import GroupState
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_groups import DescribedGroup, DescribedGroupMember
from tidelog.protocol.messages.list_groups import ListedGroup

#: DescribeGroups tells from this version on that a group is unknown (KIP-1043).
_GROUP_ID_NOT_FOUND_FROM = 6


def list_groups(
    registry: GroupRegistry, states: Collection[str], types: Collection[str]
) -> list[ListedGroup]:
    """The groups in one of the states and of one of the types; an empty filter passes all. Case
    does not matter, nor do blanks around a state.
    """
    wanted_states = {state.strip().lower() for state in states}
    wanted_types = {name.lower() for name in types}
    return [
        ListedGroup(
            group_id=group.group_id,
            protocol_type=group.listed_protocol_type,
            group_state=group.state_name,
            group_type=group.type_name,
        )
        for group in registry.groups()
        if (not wanted_states or group.state_name.lower() in wanted_states)
        and (not wanted_types or group.type_name in wanted_types)
    ]


def describe_classic(registry: GroupRegistry, group_id: str, version: int) -> DescribedGroup:
    """A classic group. One that does not exist is "Dead", and an error from version 6 on."""
    group = registry.classic.get(group_id)
    if group is None:
        reason = f"Group {group_id} not found."
        if registry.find(group_id) is not None:
            reason = f"Group {group_id} is not a classic group."
        told = version >= _GROUP_ID_NOT_FOUND_FROM
        return DescribedGroup(
            error_code=ErrorCode.GROUP_ID_NOT_FOUND if told else ErrorCode.NONE,
            error_message=reason if told else None,
            group_id=group_id,
            group_state=GroupState.DEAD.value,
        )
    is_stable = group.is_in(GroupState.STABLE)
    return DescribedGroup(
        group_id=group_id,
        group_state=group.state_name,
        protocol_type=group.protocol_type or "",
        protocol_data=(group.protocol_name or "") if is_stable else "",
        members=_classic_members(group, is_stable=is_stable),
    )


def _classic_members(group: ClassicGroup, *, is_stable: bool) -> list[DescribedGroupMember]:
    """Outside of STABLE no metadata: which protocol's it would be is not settled. An assignment is
    shown until the next one.
    """
    return [
        DescribedGroupMember(
            member_id=member.member_id,
            group_instance_id=member.group_instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            member_metadata=(member.metadata_for(group.protocol_name or "") if is_stable else b""),
            member_assignment=member.assignment,
        )
        for member in group.members.values()
    ]

"""DescribeGroups, ConsumerGroupDescribe and ListGroups: what a shard tells about its groups.

Pure, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from tidelog.coordinator.group.assignors import TopicPartition
from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.consumer_group import preferred_assignor
from tidelog.coordinator.group.consumer_member import ConsumerMember
from tidelog.coordinator.group.consumer_records import by_topic
from tidelog.coordinator.group.registry import GroupRegistry
from tidelog.coordinator.group.states import GroupState
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages import consumer_group_describe as consumer
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


#: member_type in ConsumerGroupDescribe (KIP-1099), by whether it speaks the classic protocol.
_MEMBER_TYPES = {True: 0, False: 1}


def describe_consumer(
    registry: GroupRegistry, group_id: str, topics: Mapping[bytes, str], default_assignor: str
) -> consumer.DescribedGroup:
    """A consumer group; `topics`: names by id. What belongs to deleted topics is left out."""
    group = registry.consumer.get(group_id)
    if group is None:
        reason = f"Group {group_id} not found."
        if registry.find(group_id) is not None:
            reason = f"Group {group_id} is not a consumer group."
        return consumer.DescribedGroup(
            group_id=group_id, error_code=ErrorCode.GROUP_ID_NOT_FOUND, error_message=reason
        )
    return consumer.DescribedGroup(
        group_id=group_id,
        group_state=group.state_name,
        group_epoch=group.epoch,
        assignment_epoch=group.target_epoch,
        assignor_name=preferred_assignor(group.members.values(), default_assignor),
        members=[
            _consumer_member(member, group.target.get(member.member_id, ()), topics)
            for member in group.members.values()
        ],
    )


def _consumer_member(
    member: ConsumerMember, target: Iterable[TopicPartition], topics: Mapping[bytes, str]
) -> consumer.Member:
    return consumer.Member(
        member_id=member.member_id,
        instance_id=member.instance_id,
        rack_id=member.rack_id,
        member_epoch=member.epoch,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=sorted(member.topic_names),
        subscribed_topic_regex=member.topic_regex or "",
        assignment=_assignment(member.assigned, topics),
        target_assignment=_assignment(target, topics),
        member_type=_MEMBER_TYPES[member.classic is not None],
    )


def _assignment(
    partitions: Iterable[TopicPartition], topics: Mapping[bytes, str]
) -> consumer.Assignment:
    return consumer.Assignment(
        topic_partitions=[
            consumer.TopicPartitions(
                topic_id=topic_id, topic_name=topics[topic_id], partitions=indexes
            )
            for topic_id, indexes in by_topic(partitions)
            if topic_id in topics
        ]
    )

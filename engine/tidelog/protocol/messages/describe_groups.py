"""DescribeGroups (key 15): state and members of classic groups.

v1  throttle_time_ms
v3  authorized operations (KIP-430)
v4  group_instance_id (KIP-345)
v6  GROUP_ID_NOT_FOUND with an error_message (KIP-1043)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    STRING,
    Request,
    Response,
    Struct,
    array,
    boolean,
    bytes_,
    int16,
    int32,
    string,
)


class DescribeGroupsRequest(Request, api=ApiKey.DESCRIBE_GROUPS):
    groups: list[str] = array(STRING)
    include_authorized_operations: bool = boolean("3+")


class DescribedGroupMember(Struct):
    member_id: str = string()
    group_instance_id: str | None = string("4+", nullable="4+", default=None, ignorable=True)
    client_id: str = string()
    client_host: str = string()
    member_metadata: bytes = bytes_()
    member_assignment: bytes = bytes_()


class DescribedGroup(Struct):
    error_code: int = int16()
    error_message: str | None = string("6+", nullable="6+", default=None)
    group_id: str = string()
    group_state: str = string()
    protocol_type: str = string()
    protocol_data: str = string()
    members: list[DescribedGroupMember] = array(DescribedGroupMember)
    authorized_operations: int = int32("3+", default=-0x80000000)


class DescribeGroupsResponse(Response, api=ApiKey.DESCRIBE_GROUPS):
    throttle_time_ms: int = int32("1+", ignorable=True)
    groups: list[DescribedGroup] = array(DescribedGroup)

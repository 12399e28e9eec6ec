"""ListGroups (key 16): the groups that this node coordinates.

v1  throttle_time_ms
v4  filter by state (KIP-518)
v5  filter by type (KIP-848)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import STRING, Request, Response, Struct, array, int16, int32, string


class ListGroupsRequest(Request, api=ApiKey.LIST_GROUPS):
    """An empty filter lets everything pass."""

    states_filter: list[str] = array(STRING, "4+")
    types_filter: list[str] = array(STRING, "5+")


class ListedGroup(Struct):
    group_id: str = string()
    protocol_type: str = string()
    group_state: str = string("4+", ignorable=True)
    group_type: str = string("5+", ignorable=True)


class ListGroupsResponse(Response, api=ApiKey.LIST_GROUPS):
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    groups: list[ListedGroup] = array(ListedGroup)

"""ListGroups (key 16)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import STRING, Request, Response, Struct, array, int16, int32, string


class ListGroupsRequest(Request, api=ApiKey.LIST_GROUPS):
    """ListGroups: the question."""

    states_filter: list[str] = array(STRING, "4+")
    types_filter: list[str] = array(STRING, "5+")


class ListedGroup(Struct):
    group_id: str = string()
    protocol_type: str = string()
    group_state: str = string("4+", ignorable=True)
    group_type: str = string("5+", ignorable=True)


class ListGroupsResponse(Response, api=ApiKey.LIST_GROUPS):
    """ListGroups: the answer."""

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    groups: list[ListedGroup] = array(ListedGroup)

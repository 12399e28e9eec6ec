"""DeleteGroups (key 42): deletes empty groups (KIP-229)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import STRING, Request, Response, Struct, array, int16, int32, string


class DeleteGroupsRequest(Request, api=ApiKey.DELETE_GROUPS):
    groups_names: list[str] = array(STRING)


class DeletableGroupResult(Struct):
    group_id: str = string()
    error_code: int = int16()


class DeleteGroupsResponse(Response, api=ApiKey.DELETE_GROUPS):
    throttle_time_ms: int = int32()
    results: list[DeletableGroupResult] = array(DeletableGroupResult)

"""ListConfigResources (key 74): names of resources that have configs (KIP-1142).

v0  client metrics only
v1  resource_types
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    INT8,
    Request,
    Response,
    Struct,
    array,
    int8,
    int16,
    int32,
    string,
)


class ListConfigResourcesRequest(Request, api=ApiKey.LIST_CONFIG_RESOURCES):
    """No resource_types means all."""

    resource_types: list[int] = array(INT8, "1+")


class ConfigResource(Struct):
    resource_name: str = string()
    resource_type: int = int8("1+", default=16, ignorable=True)


class ListConfigResourcesResponse(Response, api=ApiKey.LIST_CONFIG_RESOURCES):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    config_resources: list[ConfigResource] = array(ConfigResource)

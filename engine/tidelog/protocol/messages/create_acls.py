"""CreateAcls (key 30): creates ACLs.

v1  pattern types (KIP-290)
v3  user resources (KIP-373)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, Struct, array, int8, int16, int32, string


class AclCreation(Struct):
    resource_type: int = int8()
    resource_name: str = string()
    resource_pattern_type: int = int8(default=3)
    principal: str = string()
    host: str = string()
    operation: int = int8()
    permission_type: int = int8()


class CreateAclsRequest(Request, api=ApiKey.CREATE_ACLS):
    """Resource and pattern types, operations and permissions are Kafka's numbers."""

    creations: list[AclCreation] = array(AclCreation)


class AclCreationResult(Struct):
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")


class CreateAclsResponse(Response, api=ApiKey.CREATE_ACLS):
    throttle_time_ms: int = int32()
    results: list[AclCreationResult] = array(AclCreationResult)

"""FindCoordinator (key 10): who coordinates a group, transactional id or share partition.

v1  key_type, error_message, throttle_time_ms
v4  several keys at once (KIP-699)
v5  TRANSACTION_ABORTABLE (KIP-890)
v6  share groups (KIP-932)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    STRING,
    Request,
    Response,
    Struct,
    array,
    int8,
    int16,
    int32,
    string,
)


class FindCoordinatorRequest(Request, api=ApiKey.FIND_COORDINATOR):
    """key_type: 0 group, 1 transactional id, 2 share partition ("group:topicId:partition")."""

    key: str = string("0-3")
    key_type: int = int8("1+")
    coordinator_keys: list[str] = array(STRING, "4+")


class Coordinator(Struct):
    key: str = string()
    node_id: int = int32()
    host: str = string()
    port: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="4+", ignorable=True)


class FindCoordinatorResponse(Response, api=ApiKey.FIND_COORDINATOR):
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16("0-3")
    error_message: str | None = string("1-3", nullable="1-3", ignorable=True)
    node_id: int = int32("0-3")
    host: str = string("0-3")
    port: int = int32("0-3")
    coordinators: list[Coordinator] = array(Coordinator, "4+")

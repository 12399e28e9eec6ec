"""Heartbeat (key 12): keeps a member of a classic group alive.

v1  throttle_time_ms
v3  group_instance_id (KIP-345)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, int16, int32, string


class HeartbeatRequest(Request, api=ApiKey.HEARTBEAT):
    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = string("3+", nullable="3+", default=None)


class HeartbeatResponse(Response, api=ApiKey.HEARTBEAT):
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()

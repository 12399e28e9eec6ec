"""PushTelemetry (key 72): a client's metrics, in OpenTelemetry's format (KIP-714)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, boolean, bytes_, int8, int16, int32, uuid


class PushTelemetryRequest(Request, api=ApiKey.PUSH_TELEMETRY):
    client_instance_id: bytes = uuid()
    subscription_id: int = int32()
    terminating: bool = boolean()
    compression_type: int = int8()
    metrics: bytes = bytes_()


class PushTelemetryResponse(Response, api=ApiKey.PUSH_TELEMETRY):
    throttle_time_ms: int = int32()
    error_code: int = int16()

"""GetTelemetrySubscriptions (key 71): which metrics a client shall push (KIP-714)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    INT8,
    STRING,
    Request,
    Response,
    array,
    boolean,
    int16,
    int32,
    uuid,
)


class GetTelemetrySubscriptionsRequest(Request, api=ApiKey.GET_TELEMETRY_SUBSCRIPTIONS):
    client_instance_id: bytes = uuid()


class GetTelemetrySubscriptionsResponse(Response, api=ApiKey.GET_TELEMETRY_SUBSCRIPTIONS):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    client_instance_id: bytes = uuid()
    subscription_id: int = int32()
    accepted_compression_types: list[int] = array(INT8)
    push_interval_ms: int = int32()
    telemetry_max_bytes: int = int32()
    delta_temporality: bool = boolean()
    requested_metrics: list[str] = array(STRING)

"""UnregisterBroker (key 64): forgets a broker for good (KIP-631)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, int16, int32, string


class UnregisterBrokerRequest(Request, api=ApiKey.UNREGISTER_BROKER):
    broker_id: int = int32()


class UnregisterBrokerResponse(Response, api=ApiKey.UNREGISTER_BROKER):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")

"""RenewDelegationToken (key 39): extends the life of a delegation token (KIP-48)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, bytes_, int16, int32, int64


class RenewDelegationTokenRequest(Request, api=ApiKey.RENEW_DELEGATION_TOKEN):
    hmac: bytes = bytes_()
    renew_period_ms: int = int64()


class RenewDelegationTokenResponse(Response, api=ApiKey.RENEW_DELEGATION_TOKEN):
    error_code: int = int16()
    expiry_timestamp_ms: int = int64()
    throttle_time_ms: int = int32()

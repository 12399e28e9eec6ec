"""SaslAuthenticate (key 36): carries one SASL token (KIP-152).

v1  session_lifetime_ms (KIP-368)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, bytes_, int16, int64, string


class SaslAuthenticateRequest(Request, api=ApiKey.SASL_AUTHENTICATE):
    auth_bytes: bytes = bytes_()


class SaslAuthenticateResponse(Response, api=ApiKey.SASL_AUTHENTICATE):
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")
    auth_bytes: bytes = bytes_()
    session_lifetime_ms: int = int64("1+", ignorable=True)

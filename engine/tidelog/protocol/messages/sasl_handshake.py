"""SaslHandshake (key 17): chooses a SASL mechanism.

v1  the tokens that follow travel in SaslAuthenticate (KIP-152)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import STRING, Request, Response, array, int16, string


class SaslHandshakeRequest(Request, api=ApiKey.SASL_HANDSHAKE):
    mechanism: str = string()


class SaslHandshakeResponse(Response, api=ApiKey.SASL_HANDSHAKE):
    error_code: int = int16()
    mechanisms: list[str] = array(STRING)

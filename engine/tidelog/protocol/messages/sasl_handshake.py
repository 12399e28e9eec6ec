"""SaslHandshake (key 17)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import STRING, Request, Response, array, int16, string


class SaslHandshakeRequest(Request, api=ApiKey.SASL_HANDSHAKE):
    """SaslHandshake: the question."""

    mechanism: str = string()


class SaslHandshakeResponse(Response, api=ApiKey.SASL_HANDSHAKE):
    """SaslHandshake: the answer."""

    error_code: int = int16()
    mechanisms: list[str] = array(STRING)

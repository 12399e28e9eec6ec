"""Request and response headers, and reading the first bytes of a frame.

Pure; belongs to no task. A frame is: int32 size, header, body. What is called a frame below has
lost its size already (tidelog.protocol.frames does that).
"""

from struct import Struct as Packed
from typing import Final, NamedTuple

from tidelog._native import codec_decoder, codec_encoder
from tidelog.errors import MalformedMessageError, UnsupportedVersionError
from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Message, int16, int32, plan, string

_KEY_AND_VERSION: Final = Packed(">hh")
_KEYS: Final = {int(key): key for key in ApiKey}  # four times as fast as the enum's own look-up


class RequestHeader(Message, versions="1-2", flexible="2+"):
    """Before every request. Version 2 adds tagged fields, but leaves client_id as it was, so that a
    broker can read it from a version that it does not know."""

    request_api_key: int = int16()
    request_api_version: int = int16()
    correlation_id: int = int32()
    client_id: str | None = string("1+", nullable="1+", ignorable=True, flexible="none")


class ResponseHeader(Message, versions="0-1", flexible="1+"):
    """Before every response."""

    correlation_id: int = int32()


class ParsedHeader(NamedTuple):
    """A request's header; its body starts at body_offset of the frame."""

    api_key: ApiKey
    api_version: int
    correlation_id: int
    client_id: str | None
    body_offset: int


def parse_request_header(frame: bytes | bytearray | memoryview) -> ParsedHeader:
    """Reads the header at the start of a request frame.

    The version is not checked against the supported ones: whoever answers decides what to do with
    it. Raises UnsupportedVersionError for an API key without a row in ApiKey (its header cannot be
    read), and MalformedMessageError.
    """
    if len(frame) < _KEY_AND_VERSION.size:
        raise MalformedMessageError(f"a frame of {len(frame)} bytes has no header")
    number, version = _KEY_AND_VERSION.unpack_from(frame)
    key = _KEYS.get(number)
    if key is None:
        raise UnsupportedVersionError(f"API key {number} is unknown")
    header: RequestHeader
    header, end = codec_decoder.decode(
        plan(RequestHeader, key.request_header_version(version)), frame
    )
    return ParsedHeader(key, version, header.correlation_id, header.client_id, end)


def encode_request_header(
    key: ApiKey, version: int, correlation_id: int, client_id: str | None
) -> bytes:
    """The header of a request, in the header version that this API version has."""
    header = RequestHeader(
        request_api_key=key,
        request_api_version=version,
        correlation_id=correlation_id,
        client_id=client_id,
    )
    return codec_encoder.encode(plan(RequestHeader, key.request_header_version(version)), header)

"""Messages to bytes and back: what handlers, tests and inter-node code call.

    request = decode_request(ApiKey.METADATA, 12, body)        # a MetadataRequest
    answer = MetadataResponse(topics=[MetadataResponseTopic(name="a", error_code=3)])
    frame = encode_response_frame(answer, 12, correlation_id)  # size, header, body: ready to send

Message classes stand in tidelog.protocol.messages, one module per API, with Kafka's names in
snake_case: `from tidelog.protocol.messages.metadata import MetadataRequest, MetadataResponse`.
Every field of a constructor is optional and has Kafka's default. A decoded message has a value in
every field: those that the version lacks hold their default.

Decoding raises MalformedMessageError and nothing else for bad bytes (UnsupportedVersionError for a
version without a table); encoding raises MessageEncodeError, which is always our own mistake, or
TextTooLongError, which is not. Enums from int (ErrorCode) may be given wherever an integer is
expected.

Belongs to no task; keeps no state but compiled tables, each made when it is first used.
"""

from functools import cache
from importlib import import_module
from typing import TypeVar, cast

from tidelog._native import codec_decoder, codec_encoder
from tidelog.errors import InvariantError, MalformedMessageError
from tidelog.limits import REQUEST_ELEMENTS_MAX
from tidelog.protocol.api import ApiKey
from tidelog.protocol.headers import ResponseHeader, encode_request_header
from tidelog.protocol.schema import ApiMessage, Message, Request, Response, plan

M = TypeVar("M", bound=Message)
Buffer = bytes | bytearray | memoryview


@cache
def request_class(key: ApiKey) -> type[Request]:
    """The request of an API. Imports its table when it is first asked for."""
    return cast(type[Request], _class_of(key, Request))


@cache
def response_class(key: ApiKey) -> type[Response]:
    """The response of an API. Imports its table when it is first asked for."""
    return cast(type[Response], _class_of(key, Response))


def _class_of(key: ApiKey, base: type[ApiMessage]) -> type[ApiMessage]:
    module = import_module(f"tidelog.protocol.messages.{key.name.lower()}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    ]
    if len(found) != 1:
        raise InvariantError(f"{module.__name__} has {len(found)} classes of {base.__name__}")
    return found[0]


def decode(
    cls: type[M], version: int, buffer: Buffer, offset: int = 0, *, keep_unknown: bool = False
) -> M:
    """Decodes the message that reaches from `offset` to the end of the buffer.

    Unknown tagged fields are skipped, or with keep_unknown kept (`message.unknown_tagged_fields`)
    and written again by `encode`. Trailing bytes raise MalformedMessageError too.
    """
    message, end = codec_decoder.decode(plan(cls, version), buffer, offset, keep_unknown)
    if end != len(buffer):
        raise MalformedMessageError(
            f"{cls.__name__} v{version}: {len(buffer) - end} bytes behind its end"
        )
    return cast(M, message)


def decode_prefix(
    cls: type[M], version: int, buffer: Buffer, offset: int = 0, *, keep_unknown: bool = False
) -> tuple[M, int]:
    """Like decode, but something may follow; also returns the offset behind the message."""
    return cast(
        tuple[M, int], codec_decoder.decode(plan(cls, version), buffer, offset, keep_unknown)
    )


def decode_foreign(cls: type[M], version: int, buffer: Buffer, offset: int) -> M:
    """A message of somebody who may mean harm; what follows it is ignored.

    Raises MalformedMessageError also for one of more than REQUEST_ELEMENTS_MAX elements.
    """
    found, _ = codec_decoder.decode(plan(cls, version), buffer, offset, False, REQUEST_ELEMENTS_MAX)
    return cast(M, found)


def encode(message: Message, version: int) -> bytes:
    """The message alone, without size and header."""
    return codec_encoder.encode(plan(type(message), version), message)


def decode_request(key: ApiKey, version: int, buffer: Buffer, offset: int = 0) -> Request:
    """Decodes the body of a request. Bytes behind it are ignored, as Kafka does."""
    return decode_prefix(request_class(key), version, buffer, offset)[0]


def encode_request_frame(
    message: Request, version: int, correlation_id: int, client_id: str | None = None
) -> bytes:
    """A whole request: size, header, body."""
    header = encode_request_header(message.API, version, correlation_id, client_id)
    return codec_encoder.encode_frame(plan(type(message), version), message, header)


def encode_response_frame(message: Response, version: int, correlation_id: int) -> bytes:
    """A whole response: size, header, body."""
    compiled = plan(type(message), version)
    flexible_header = compiled.flexible and message.API is not ApiKey.API_VERSIONS
    return codec_encoder.encode_response_frame(compiled, message, correlation_id, flexible_header)


def decode_response(key: ApiKey, version: int, frame: Buffer) -> tuple[int, Response]:
    """Decodes header and body of a response frame (without its size).

    Returns the correlation id and the message.
    """
    header: ResponseHeader
    header_plan = plan(ResponseHeader, key.response_header_version(version))
    header, offset = codec_decoder.decode(header_plan, frame)
    return header.correlation_id, decode(response_class(key), version, frame, offset)

"""Fuzz target: every request, response and record struct in every version.

Input: one byte for the kind, then
- a request: its header and body, as they stand in a frame behind the size,
- a response: API key and version (2 bytes each), then its body,
- another struct (headers, values of internal topics): its number and version (1 byte each), then
  its bytes.

Must hold: the native codec and its plain twin read the same message and stop at the same byte, or
both refuse; no other error than MalformedMessageError and UnsupportedVersionError; what was read is
written again, by both alike, and reads the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.oracle.protocol import twin
from tests.oracle.protocol.entropy import Entropy
from tests.oracle.protocol.messages import ALL_VERSIONS, BUILDER, OTHER_CLASSES
from tidelog.errors import MalformedMessageError, UnsupportedVersionError
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import (
    decode,
    decode_prefix,
    decode_request,
    encode,
    request_class,
    response_class,
)
from tidelog.protocol.headers import RequestHeader, encode_request_header, parse_request_header
from tidelog.protocol.schema import Message, Request, Response

REQUEST, RESPONSE, OTHER = 0, 1, 2
MAX_INPUT_BYTES = 4096

_KEYS = {int(key): key for key in ApiKey}


def run(data: bytes) -> None:
    """One input."""
    if not data:
        return
    kind, rest = data[0] % 3, data[1:]
    if kind == REQUEST:
        _request(rest)
    elif kind == RESPONSE and len(rest) >= 4:
        key = _KEYS.get(int.from_bytes(rest[:2], "big"))
        if key is not None:
            version = int.from_bytes(rest[2:4], "big", signed=True)
            _message(response_class(key), version, rest[4:])
    elif kind == OTHER and len(rest) >= 2:
        cls = OTHER_CLASSES[rest[0] % len(OTHER_CLASSES)]
        _message(cls, cls.VERSIONS.low + rest[1] % 16, rest[2:])


def seeds() -> Iterator[tuple[str, bytes]]:
    """A filled and an empty message of every class in its first and last version."""
    for cls, version in ALL_VERSIONS:
        if version not in (cls.VERSIONS.low, cls.VERSIONS.high):
            continue
        rng = random.Random(f"{cls.__name__} {version}")
        message = BUILDER.build(cls, version, Entropy(rng.randbytes(300)))
        yield f"{cls.__name__}-{version}", as_input(cls, version, encode(message, version))


def as_input(cls: type[Message], version: int, body: bytes) -> bytes:
    """The input that has `body` read as that message."""
    if issubclass(cls, Request):
        return bytes([REQUEST]) + encode_request_header(cls.API, version, 7, "fuzz") + body
    if issubclass(cls, Response):
        head = int(cls.API).to_bytes(2, "big") + version.to_bytes(2, "big", signed=True)
        return bytes([RESPONSE]) + head + body
    number = OTHER_CLASSES.index(cls)
    return bytes([OTHER, number, version - cls.VERSIONS.low]) + body


def _request(frame: bytes) -> None:
    try:
        header = parse_request_header(frame)
    except (MalformedMessageError, UnsupportedVersionError):
        return
    version = header.api_key.request_header_version(header.api_version)
    _message(RequestHeader, version, frame)
    _message(request_class(header.api_key), header.api_version, frame[header.body_offset :])
    try:
        decode_request(header.api_key, header.api_version, frame, header.body_offset)
    except (MalformedMessageError, UnsupportedVersionError):
        pass


def _message(cls: type[Message], version: int, body: bytes) -> None:
    if not cls.VERSIONS.has(version):
        try:
            decode_prefix(cls, version, body)
        except UnsupportedVersionError:
            return
        raise AssertionError(f"{cls.__name__} was read in version {version}")
    flexible = twin.is_flexible(cls, version)
    try:
        expected, expected_end = twin.decode(cls, version, body, flexible)
    except MalformedMessageError:
        try:
            found, _ = decode_prefix(cls, version, body, keep_unknown=True)
        except MalformedMessageError:
            return
        raise AssertionError(f"only the native codec reads {found!r}") from None
    found, end = decode_prefix(cls, version, body, keep_unknown=True)
    assert end == expected_end, (end, expected_end)
    assert repr(found) == repr(expected)
    assert decode_prefix(cls, version, body)[1] == end
    written = encode(found, version)
    assert written == twin.encode(found, version, flexible)
    assert repr(decode(cls, version, written, keep_unknown=True)) == repr(found)

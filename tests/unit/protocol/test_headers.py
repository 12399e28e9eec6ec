"""Request headers: both versions, versions from the future, and what is none."""

import pytest

from tidelog.errors import MalformedMessageError, UnsupportedVersionError
from tidelog.protocol.api import ApiKey
from tidelog.protocol.headers import encode_request_header, parse_request_header

OLD = bytes.fromhex("0003 0008 00000007 0002 6d65")
FLEXIBLE = bytes.fromhex("0003 0009 00000007 0002 6d65 00")


@pytest.mark.parametrize(("version", "data"), [(8, OLD), (9, FLEXIBLE)])
def test_byte_for_byte(version: int, data: bytes) -> None:
    assert encode_request_header(ApiKey.METADATA, version, 7, "me") == data
    assert parse_request_header(data + b"body") == (ApiKey.METADATA, version, 7, "me", len(data))


def test_no_client_id() -> None:
    data = bytes.fromhex("0003 0009 00000007 ffff 00")
    assert encode_request_header(ApiKey.METADATA, 9, 7, None) == data
    assert parse_request_header(data).client_id is None


def test_tagged_fields_of_a_header_are_skipped() -> None:
    data = FLEXIBLE[:-1] + bytes.fromhex("01 05 02 aabb")
    assert parse_request_header(data + b"!").body_offset == len(data)


def test_a_version_from_the_future_is_readable() -> None:
    data = bytes.fromhex("0012 03e7 00000007 0002 6d65 00")
    assert parse_request_header(data)[:4] == (ApiKey.API_VERSIONS, 999, 7, "me")


def test_a_client_id_of_ill_formed_text_does_not_cost_the_connection() -> None:
    assert parse_request_header(OLD[:-2] + b"\xe9x").client_id == "\ufffdx"


@pytest.mark.parametrize("key", ["0004", "005d", "ffff", "7fff"])
def test_unknown_keys(key: str) -> None:
    with pytest.raises(UnsupportedVersionError, match="unknown"):
        parse_request_header(bytes.fromhex(key) + OLD[2:])


@pytest.mark.parametrize("data", [OLD, FLEXIBLE])
def test_truncated_at_every_position(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(MalformedMessageError):
            parse_request_header(memoryview(data)[:length])

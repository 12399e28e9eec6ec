"""The front of the codec: whole requests and responses."""

import pytest

from tidelog.errors import MalformedMessageError, MessageEncodeError, UnsupportedVersionError
from tidelog.protocol import codec
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.headers import parse_request_header
from tidelog.protocol.messages.api_versions import ApiVersion, ApiVersionsResponse
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic

REQUEST = HeartbeatRequest(group_id="g", generation_id=1, member_id="m")


def test_a_request_there_and_back() -> None:
    frame = codec.encode_request_frame(REQUEST, 4, 9, "client")
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    header = parse_request_header(frame[4:])
    assert header[:4] == (ApiKey.HEARTBEAT, 4, 9, "client")
    body = memoryview(frame)[4:]
    assert codec.decode_request(ApiKey.HEARTBEAT, 4, body, header.body_offset) == REQUEST


@pytest.mark.parametrize("version", [0, 4])
def test_a_response_there_and_back(version: int) -> None:
    answer = HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)
    frame = codec.encode_response_frame(answer, version, 9)
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    assert codec.decode_response(ApiKey.HEARTBEAT, version, frame[4:]) == (9, answer)


def test_api_versions_has_a_header_without_tagged_fields() -> None:
    answer = ApiVersionsResponse(api_keys=[ApiVersion(api_key=18, min_version=0, max_version=4)])
    frame = codec.encode_response_frame(answer, 4, 1)
    assert frame[4:8] == b"\x00\x00\x00\x01"
    assert frame[8:] == codec.encode(answer, 4)
    assert codec.decode_response(ApiKey.API_VERSIONS, 4, frame[4:]) == (1, answer)


def test_versions_without_a_table() -> None:
    for version in (-1, 5):
        with pytest.raises(UnsupportedVersionError, match=f"no version {version}"):
            codec.decode_request(ApiKey.HEARTBEAT, version, b"")
        with pytest.raises(UnsupportedVersionError):
            codec.encode(REQUEST, version)


def test_trailing_bytes() -> None:
    data = codec.encode(REQUEST, 4)
    assert codec.decode_prefix(HeartbeatRequest, 4, data + b"?") == (REQUEST, len(data))
    with pytest.raises(MalformedMessageError, match="1 bytes behind its end"):
        codec.decode(HeartbeatRequest, 4, data + b"?")
    # A broker does not mind: Kafka 4.3 reads such requests.
    assert codec.decode_request(ApiKey.HEARTBEAT, 4, data + b"?") == REQUEST


def test_unknown_tagged_fields() -> None:
    data = codec.encode(REQUEST, 4)[:-1] + b"\x01\x09\x01x"
    assert codec.decode(HeartbeatRequest, 4, data) == REQUEST
    kept = codec.decode(HeartbeatRequest, 4, data, keep_unknown=True)
    assert kept.unknown_tagged_fields == ((9, b"x"),)
    assert codec.encode(kept, 4) == data


def test_a_topic_id_does_not_get_lost_in_a_version_without_it() -> None:
    request = MetadataRequest(topics=[MetadataRequestTopic(name=None)])
    with pytest.raises(MessageEncodeError, match="name is None"):
        codec.encode(request, 9)

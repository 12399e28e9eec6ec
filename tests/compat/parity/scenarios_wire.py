"""Frames, versions and features: what a broker does with requests that it cannot take."""

from __future__ import annotations

import struct

from tests.compat.parity.session import Closed, Connection, Observation, Session, observe, scenario
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_response
from tidelog.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from tidelog.protocol.messages.describe_cluster import DescribeClusterRequest
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic


def outcome(connection: Connection, data: bytes) -> Observation:
    """What comes back for raw bytes: an answer, nothing, or closed."""
    try:
        connection.send_bytes(data)
        connection.frame()
        return "answered"
    except Closed:
        return "closed"
    except TimeoutError:
        return "no answer"
    finally:
        connection.close()


def header(key: int, version: int, *, flexible: bool = False) -> bytes:
    tags = b"\0" if flexible else b""
    return struct.pack(">hhih", key, version, 77, -1) + tags


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@scenario
def api_versions(s: Session) -> None:
    """Versions 0..4 and the features; the list of APIs is compared apart from this."""
    for version in range(5):
        request = ApiVersionsRequest(client_software_name="parity", client_software_version="1.0")
        answer = s.call(request, version, ApiVersionsResponse)
        answer.api_keys = []
        answer.finalized_features_epoch = min(answer.finalized_features_epoch, 0)
        answer.supported_features.sort(key=lambda f: f.name)
        answer.finalized_features.sort(key=lambda f: f.name)
        s.note(f"v{version}", observe(answer, version))
    for name, software in (("bad", "-bad"), ("empty", ""), ("spaces", "a b")):
        request = ApiVersionsRequest(client_software_name=software, client_software_version="1")
        answer = s.call(request, 3, ApiVersionsResponse)
        s.note(f"{name} software name", [answer.error_code, bool(answer.api_keys)])


@scenario
def api_versions_unsupported(s: Session) -> None:
    """An unknown version of ApiVersions is answered in version 0."""
    for version in (5, 99, 32767, -1):
        connection = s.connect()
        try:
            connection.send_bytes(framed(header(18, version, flexible=True) + b"\x01\x01\x00"))
            correlation, answer = decode_response(ApiKey.API_VERSIONS, 0, connection.frame())
            assert isinstance(answer, ApiVersionsResponse)
            keys = [(k.api_key, k.min_version, k.max_version) for k in answer.api_keys]
            s.note(f"v{version}", [correlation, answer.error_code, keys])
        except Closed:
            s.note(f"v{version}", "closed")
        finally:
            connection.close()


@scenario
def unsupported_requests(s: Session) -> None:
    """Keys and versions that the broker does not have."""
    for name, key, version in (
        ("unknown key", 4242, 0),
        ("negative key", -1, 0),
        ("removed key 4", 4, 0),
        ("controller's key 52", 52, 0),
        ("Produce v0", 0, 0),
        ("Produce v2", 0, 2),
        ("Produce v99", 0, 99),
        ("Fetch v3", 1, 3),
        ("Fetch v99", 1, 99),
        ("Metadata v99", 3, 99),
        ("ListOffsets v0", 2, 0),
        ("JoinGroup v99", 11, 99),
        ("OffsetFetch v0", 9, 0),
        ("CreateTopics v1", 19, 1),
        ("negative version", 3, -1),
    ):
        s.note(name, outcome(s.connect(), framed(header(key, version) + bytes(16))))


@scenario
def bad_frames(s: Session) -> None:
    """Sizes and bodies that are no request."""
    for name, data in (
        ("negative size", struct.pack(">i", -1)),
        ("smallest size", struct.pack(">i", -(2**31))),
        ("oversized", struct.pack(">i", 104857601)),
        ("size zero", framed(b"")),
        ("three bytes", framed(b"\0\0\0")),
        ("header cut", framed(struct.pack(">hhi", 3, 1, 5))),
        ("client id cut", framed(struct.pack(">hhih", 3, 1, 5, 10) + b"abc")),
        ("body cut", framed(header(3, 1) + b"\0\0")),
        ("hostile array", framed(header(3, 1) + struct.pack(">i", 2**31 - 1))),
        ("negative array", framed(header(3, 1) + struct.pack(">i", -2))),
        ("hostile string", framed(header(3, 1) + struct.pack(">ih", 1, 32767))),
        ("negative string", framed(header(3, 1) + struct.pack(">ih", 1, -1))),
        ("not UTF-8", framed(header(3, 1) + struct.pack(">ih", 1, 2) + b"\xff\xfe")),
        ("hostile compact array", framed(header(3, 9, flexible=True) + b"\xff\xff\xff\xff\x0f")),
        ("varint too long", framed(header(3, 9, flexible=True) + b"\xff" * 6)),
        ("http", b"GET / HTTP/1.1\r\n\r\n"),
    ):
        s.note(name, outcome(s.connect(), data))
    # More bytes than the message has: the rest is not looked at.
    trailing = framed(header(3, 1) + struct.pack(">i", 0) + b"rest")
    s.note("trailing bytes", outcome(s.connect(), trailing))
    unknown_tags = header(60, 0)[:-2] + b"\xff\xff" + b"\x01\x05\x02ab" + b"\0" + b"\x01\x63\x01x"
    s.note("unknown tagged fields", outcome(s.connect(), framed(unknown_tags)))


@scenario
def null_client_id(s: Session) -> None:
    """Requests without a client id, and with an empty one."""
    for name, client_id in (("null", None), ("empty", "")):
        connection = s.connect()
        message = MetadataRequest(topics=[])
        connection.send(message, 12, client_id)
        s.note(name, observe(connection.answer(message, 12), 12))
        connection.close()


@scenario
def pipelining(s: Session) -> None:
    """Answers leave in the order of the requests."""
    connection = s.connect()
    sent = [connection.send(MetadataRequest(topics=[]), v) for v in (1, 12, 5, 9)]
    got = [int.from_bytes(connection.frame()[:4], "big") for _ in sent]
    s.note("in order", got == sent)
    connection.close()


@scenario
def metadata(s: Session) -> None:
    """Metadata of nothing, of a topic, of unknown topics by name and id."""
    topic_id = s.create("meta", 3)
    for version in range(14):
        empty = s.ask(f"no topics v{version}", MetadataRequest(topics=[]), version)
        assert empty is not None or version == 0
        known = MetadataRequest(topics=[MetadataRequestTopic(name="meta")])
        answer = s.ask(f"a topic v{version}", known, version)
        assert answer is not None
        missing = MetadataRequest(
            topics=[MetadataRequestTopic(name="no-such")], allow_auto_topic_creation=False
        )
        if version >= 4:
            s.ask(f"missing v{version}", missing, version)
    for version in (10, 11, 12, 13):
        by_id = MetadataRequest(topics=[MetadataRequestTopic(topic_id=topic_id, name=None)])
        unknown = MetadataRequest(topics=[MetadataRequestTopic(topic_id=b"\1" * 16, name=None)])
        s.ask(f"by id v{version}", by_id, version)
        s.ask(f"unknown id v{version}", unknown, version)
    for name in ("bad name!", "", ".", "..", "a" * 250):
        request = MetadataRequest(
            topics=[MetadataRequestTopic(name=name)], allow_auto_topic_creation=False
        )
        s.ask(f"bad name {name[:10]!r}", request, 12)
        request = MetadataRequest(topics=[MetadataRequestTopic(name=name)])
        s.ask(f"bad name {name[:10]!r} creating", request, 12)
    both = MetadataRequest(
        topics=[MetadataRequestTopic(name="meta")],
        include_topic_authorized_operations=True,
        include_cluster_authorized_operations=True,
    )
    s.ask("authorized operations v8", both, 8)
    s.ask("authorized operations v10", both, 10)
    both.include_cluster_authorized_operations = False
    s.ask("authorized operations v12", both, 12)


@scenario
def metadata_creates(s: Session) -> None:
    """Asking for a missing topic creates it."""
    request = MetadataRequest(topics=[MetadataRequestTopic(name="made-by-metadata")])
    s.ask("first", request, 12)
    s.wait_served("made-by-metadata")
    s.ask("then", request, 12)


@scenario
def describe_cluster(s: Session) -> None:
    for version in range(3):
        s.ask(f"v{version}", DescribeClusterRequest(), version)
    operations = DescribeClusterRequest(include_cluster_authorized_operations=True)
    s.ask("authorized operations", operations, 2)
    s.ask("controllers", DescribeClusterRequest(endpoint_type=2), 2)
    s.ask("endpoint type 5", DescribeClusterRequest(endpoint_type=5), 2)

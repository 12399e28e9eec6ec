"""The dispatcher: what is answered, what closes the connection, what ends the worker."""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.errors import (
    InvariantError,
    KafkaError,
    MalformedMessageError,
    PeerError,
    StorageError,
    TextTooLongError,
    UnsupportedVersionError,
)
from tidelog.handlers.api import Api, Encoded, Handler
from tidelog.handlers.dispatch import Dispatcher
from tidelog.handlers.registry import HANDLERS
from tidelog.limits import REQUEST_ELEMENTS_MAX
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import (
    decode_response,
    encode,
    encode_request_frame,
    request_class,
    response_class,
)
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_groups import (
    DescribedGroup,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse


def frame_of(key: int, version: int, *, flexible: bool = True, body: bytes = b"") -> bytes:
    header = struct.pack(">hhih", key, version, 1, -1)
    return header + (b"\0" if flexible else b"") + body


@pytest.mark.parametrize(
    ("key", "version"),
    [
        (3, 14),  # Metadata beyond the last version
        (3, -1),
        (2, 0),  # ListOffsets before the first
        (22, 6),  # InitProducerId 6: parsed, but not served
        (29, 1),  # DescribeAcls: known, not implemented
        (0, 3),  # Produce belongs to the native lane
        (4, 0),  # LeaderAndIsr: gone
        (999, 0),
        (-5, 0),
    ],
)
def test_what_is_not_served_closes_the_connection(key: int, version: int) -> None:
    node = Node()
    with pytest.raises(UnsupportedVersionError):
        node.dispatcher.dispatch(frame_of(key, version, body=bytes(30)), node.connection)


def test_texts_that_grow_beyond_what_can_be_written_close_the_connection() -> None:
    """They ended the worker once: 30,000 bytes that are no UTF-8 are 90,000 when they are."""
    node = Node()
    names = struct.pack(">ih", 1, 30_000) + b"\xff" * 30_000
    with pytest.raises(MalformedMessageError):
        node.dispatcher.dispatch(frame_of(3, 1, flexible=False, body=names), node.connection)

    def echo(request: Any, context: Any) -> Any:
        return DescribeGroupsResponse(groups=[DescribedGroup(group_id=request.groups[0] + "?")])

    api = Api(ApiKey.DESCRIBE_GROUPS, 0, 5)
    dispatcher = Dispatcher(
        node.services, [Handler(api, echo, lambda request, *_: echo(request, None))]
    )
    request = DescribeGroupsRequest(groups=["x" * 0x7FFF])
    with pytest.raises(TextTooLongError):
        dispatcher.dispatch(encode_request_frame(request, 3, 1)[4:], node.connection)
    assert issubclass(TextTooLongError, PeerError)


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_cut_request_closes_the_connection(cut: int) -> None:
    node = Node()
    request = HeartbeatRequest(group_id="g", member_id="m", generation_id=3)
    frame = encode_request_frame(request, 4, 9, "client")[4:]
    if cut >= len(frame):
        return
    with pytest.raises(MalformedMessageError):
        node.dispatcher.dispatch(frame[:-cut], node.connection)


def test_a_request_that_would_grow_when_it_is_decoded_closes_the_connection() -> None:
    """Two bytes for each empty name, and a hundred for each object."""
    node = Node()
    names = REQUEST_ELEMENTS_MAX + 1
    count = bytes(
        ((names + 1) >> shift) & 0x7F | (0x80 if shift < 14 else 0) for shift in (0, 7, 14)
    )
    body = count + b"\x01\0" * names + bytes(30)
    with pytest.raises(MalformedMessageError, match="too many elements"):
        node.dispatcher.dispatch(frame_of(3, 9, body=body), node.connection)


@pytest.mark.parametrize("extra", [b"\0", b"\0\1\2"])
async def test_bytes_behind_a_request_are_ignored(extra: bytes) -> None:
    node = Node()
    node.groups.answers["heartbeat"] = HeartbeatResponse(error_code=25)
    frame = encode_request_frame(HeartbeatRequest(), 4, 9)[4:] + extra
    answer = node.dispatcher.dispatch(frame, node.connection)
    assert not isinstance(answer, bytes)
    _, decoded = decode_response(ApiKey.HEARTBEAT, 4, (await answer)[4:])
    assert decoded == HeartbeatResponse(error_code=25)


def dispatcher_with(node: Node, handle: Any) -> Dispatcher:
    def error_answer(request: Any, code: int, message: Any, version: int) -> HeartbeatResponse:
        return HeartbeatResponse(error_code=code)

    api = Api(ApiKey.HEARTBEAT, 0, 4)
    return Dispatcher(node.services, [Handler(api, handle, error_answer)])


async def answered(node: Node, handle: Any, version: int = 4) -> HeartbeatResponse:
    frame = encode_request_frame(HeartbeatRequest(), version, 77, "c")[4:]
    answer = dispatcher_with(node, handle).dispatch(frame, node.connection)
    if not isinstance(answer, bytes):
        answer = await answer
    correlation_id, decoded = decode_response(ApiKey.HEARTBEAT, version, answer[4:])
    assert correlation_id == 77
    assert isinstance(decoded, HeartbeatResponse)
    return decoded


def raising(error: Exception, *, later: bool) -> Any:
    async def wait(request: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    def at_once(request: Any, context: Any) -> Any:
        raise error

    return wait if later else at_once


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KafkaError(ErrorCode.NOT_COORDINATOR), 16),
        (StorageError("disk"), 56),
        (KeyError("ours, but nothing that endangers the state"), -1),
    ],
)
async def test_exceptions_become_error_answers(
    error: Exception, code: int, later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = await answered(Node(), raising(error, later=later))
    assert answer.error_code == code
    lines = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(lines) == (1 if code in (-1, 56) else 0)


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("error", [InvariantError("ours"), PeerError("theirs")])
async def test_exceptions_that_are_not_answered(error: Exception, later: bool) -> None:
    with pytest.raises(type(error)):
        await answered(Node(), raising(error, later=later))


async def test_a_bad_answer_ends_the_worker() -> None:
    with pytest.raises(InvariantError):
        await answered(Node(), lambda request, context: HeartbeatResponse(error_code=1 << 40))


@pytest.mark.parametrize("version", [0, 3, 4])
async def test_encoded_answers_get_the_right_header(version: int) -> None:
    body = encode(HeartbeatResponse(error_code=27), version)
    answer = await answered(Node(), lambda request, context: Encoded(body), version)
    assert answer.error_code == 27


async def test_the_frame_may_be_reused_after_dispatch() -> None:
    node, seen = Node(), []

    async def handle(request: HeartbeatRequest, context: Any) -> HeartbeatResponse:
        await asyncio.sleep(0)
        seen.append((request.group_id, request.member_id, context.client_id))
        return HeartbeatResponse()

    request = HeartbeatRequest(group_id="group", member_id="member")
    buffer = bytearray(encode_request_frame(request, 4, 5, "client")[4:])
    answer = dispatcher_with(node, handle).dispatch(memoryview(buffer), node.connection)
    buffer[:] = bytes(len(buffer))
    assert not isinstance(answer, bytes)
    await answer
    assert seen == [("group", "member", "client")]


SERVED = [
    (handler, version)
    for handler in HANDLERS
    if handler.error_answer is not None
    for version in range(handler.api.min_version, handler.api.max_version + 1)
]


@pytest.mark.parametrize(
    ("handler", "version"), SERVED, ids=[f"{h.api.key.name}-{v}" for h, v in SERVED]
)
def test_every_api_can_refuse_an_empty_request_in_every_version(
    handler: Handler, version: int
) -> None:
    assert handler.error_answer is not None
    request = request_class(handler.api.key)()
    answer = handler.error_answer(request, ErrorCode.UNKNOWN_SERVER_ERROR, None, version)
    assert type(answer) is response_class(handler.api.key)
    encode(answer, version)


@pytest.mark.parametrize("later", [False, True])
async def test_error_codes_are_counted_by_api(later: bool) -> None:
    node = Node()
    dispatcher = dispatcher_with(node, raising(KafkaError(ErrorCode.NOT_COORDINATOR), later=later))
    frame = encode_request_frame(HeartbeatRequest(), 4, 77, "c")[4:]
    for _ in range(2):
        answer = dispatcher.dispatch(frame, node.connection)
        if not isinstance(answer, bytes):
            await answer
    assert dispatcher.errors == {(ApiKey.HEARTBEAT, 16): 2}

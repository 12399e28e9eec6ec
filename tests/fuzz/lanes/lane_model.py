"""A stream of bytes to a connection of a node in miniature, and what must come of it.

The model is the table codec, which has oracles of its own: it says where frames begin, which of
them are requests, and what their answers have to be about. Time does not pass: what waits is woken
at the next turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.native.lane_harness import Client, Node, batch
from tests.unit.native.test_produce_lane import produce
from tidelog.errors import MalformedMessageError
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_request, decode_response, encode_request_frame
from tidelog.protocol.frames import FrameSplitter, frame
from tidelog.protocol.headers import ParsedHeader, parse_request_header

REQUEST_SIZE_MAX = 1 << 16
TOPICS = {"t": 2, "remote": 1}
#: Turns of the loop after a piece, for all of it to be received; then until nothing is in work.
TURNS = 20
BUSY_TURNS = 500
CLOSE_TURNS = 500
#: Shared memory, where there is any: files cost no disk.
MEMORY = Path("/dev/shm")


class TimelessLoop(asyncio.SelectorEventLoop):
    """A loop whose timers are all due at once."""

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return super().call_later(0, callback, *args, context=context)


@dataclass
class Outcome:
    """What a connection did: the frames it sent, why it was closed."""

    answers: list[bytes] = field(default_factory=list)
    reason: str | None = None


def exchange(pieces: Sequence[bytes], *, scratch_size: int = 1 << 18) -> Outcome:
    """Sends the pieces, ends the stream and takes what comes back; nothing may be left behind."""
    folder = tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)
    try:
        with asyncio.Runner(loop_factory=TimelessLoop) as runner:
            return runner.run(_exchange(Path(folder), pieces, scratch_size))
    finally:
        shutil.rmtree(folder)


async def _exchange(folder: Path, pieces: Sequence[bytes], scratch_size: int) -> Outcome:
    node = Node(folder, request_size_max=REQUEST_SIZE_MAX, scratch_size=scratch_size)
    failures: list[Any] = []
    node.loop.set_exception_handler(lambda _, context: failures.append(context))
    node.topic("t", TOPICS["t"], segment_bytes=4096)
    node.topic("remote", leader=False)
    client = node.connect()
    received = bytearray()
    await _settle(client, encode_request_frame(produce(batch([b"a", b"b"])), 9, 1), received, TURNS)
    received.clear()
    for piece in pieces:
        await _settle(client, piece, received, TURNS)
    with contextlib.suppress(OSError):
        client.socket.shutdown(1)
    for _ in range(CLOSE_TURNS):
        if client.connection.closed and not len(node.tasks):
            break
        await _settle(client, b"", received, 1)
    await _settle(client, b"", received, 1)
    client.socket.close()
    assert len(node.closed) == 1, node.closed
    assert node.closed[0] != "internal error", failures
    assert failures == []
    assert (node.reactor.total_bytes, len(node.tasks)) == (0, 0)
    for topic in TOPICS:
        for partition in node.table.get(topic.encode()).partitions:  # type: ignore[union-attr]
            assert (partition.waiting_fetches, partition.waiting_produces) == (0, 0)
    splitter = FrameSplitter(1 << 30)
    splitter.feed(received)
    answers = list(iter(splitter.next_frame, None))
    assert splitter.pending_bytes == 0, "half an answer"
    return Outcome(answers, node.closed[0])


async def _settle(client: Client, data: bytes, received: bytearray, turns: int) -> None:
    with contextlib.suppress(OSError):
        if data:
            await client.loop.sock_sendall(client.socket, data)
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(BUSY_TURNS):
        if client.connection.closed or client.connection.idle:
            break
        await asyncio.sleep(0)
    with contextlib.suppress(OSError):
        while data := client.socket.recv(1 << 16):
            received += data


def check(stream: bytes, outcome: Outcome) -> None:
    """Compares what came of the stream with what the tables say of it."""
    answers = iter(outcome.answers)
    splitter = FrameSplitter(REQUEST_SIZE_MAX)
    splitter.feed(stream)
    closed = False
    try:
        while not closed and (request := splitter.next_frame()) is not None:
            closed = _check_frame(request, answers, outcome)
    except MalformedMessageError:
        assert (outcome.reason or "").startswith("a frame of"), outcome.reason
        closed = True
    assert next(answers, None) is None, "more answers than requests"
    if not closed:
        assert outcome.reason is None, outcome.reason


def _check_frame(request: bytes, answers: Iterator[bytes], outcome: Outcome) -> bool:
    """One frame and its answer. True: it ended the connection."""
    if len(request) < 4:
        assert outcome.reason == "a frame without a request header"
        return True
    key, version = (int.from_bytes(request[at : at + 2], "big", signed=True) for at in (0, 2))
    if key not in (ApiKey.PRODUCE, ApiKey.FETCH) or not ApiKey(key).versions.has(version):
        assert next(answers, None) == request  # the harness echoes what is not its own
        return False
    try:
        header = parse_request_header(request)
        message = decode_request(header.api_key, version, request, header.body_offset)
    except MalformedMessageError as error:
        assert (outcome.reason or "").startswith("malformed"), (outcome.reason, error)
        return True
    if key == ApiKey.PRODUCE and message.acks == 0:  # type: ignore[attr-defined]
        # An error has no other way to be told. (Which batches are in order is not the matter here.)
        return outcome.reason == "acks=0 produce failed" and not _peek(answers)
    answer = next(answers, None)
    if answer is None:
        # It waited when a later request ended the connection.
        assert outcome.reason is not None, "no answer"
    else:
        _check_answer(header, message, answer)
    return False


def _peek(answers: Iterator[bytes]) -> bool:
    return answers.__length_hint__() > 0  # type: ignore[attr-defined]


def _check_answer(header: ParsedHeader, message: Any, answer: bytes) -> None:
    correlation_id, found = decode_response(header.api_key, header.api_version, answer)
    assert correlation_id == header.correlation_id
    if header.api_key == ApiKey.PRODUCE:
        named = [(_name(t), [p.index for p in t.partition_data]) for t in message.topic_data]
        answered = [(_name(t), [p.index for p in t.partition_responses]) for t in found.responses]
        assert answered == named
    elif message.session_epoch == -1 or header.api_version < 7:
        asked = [(t.topic, t.topic_id, p.partition) for t in message.topics for p in t.partitions]
        answered = [
            (t.topic, t.topic_id, p.partition_index) for t in found.responses for p in t.partitions
        ]
        assert answered == asked


def _name(topic: Any) -> Any:
    return topic.name, topic.topic_id


def lane_frame(key: ApiKey, version: int, body: bytes, client_id: str | None = None) -> bytes:
    """A frame whose header is right."""
    flexible = key.request_header_version(version) >= 2
    head = int(key).to_bytes(2, "big") + version.to_bytes(2, "big") + (77).to_bytes(4, "big")
    text = b"\xff\xff" if client_id is None else len(client_id).to_bytes(2, "big")
    return frame(head + text + (client_id or "").encode() + (b"\0" if flexible else b"") + body)

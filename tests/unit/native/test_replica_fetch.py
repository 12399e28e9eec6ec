"""The follower's end of Fetch, against our own codec: requests, sessions, answers byte by byte."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from tests.unit.native.log_harness import batch, new_core, roll
from tidelog._native.log import STATUS_NEEDS_ROLL, LogCore
from tidelog._native.replica_fetch import (
    RECEIVED_ANSWER,
    RECEIVED_END,
    RECEIVED_PART,
    FetchedPart,
    ReplicaFetch,
)
from tidelog.errors import InvariantError, MalformedMessageError
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_request, encode_response_frame
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.headers import parse_request_header
from tidelog.protocol.messages.fetch import (
    AbortedTransaction,
    EpochEndOffset,
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionData,
    SnapshotId,
)

NOW = 1_700_000_000_000
T, U = bytes(15) + b"\1", bytes(15) + b"\2"


def exchange(version: int = 18, **settings: int) -> ReplicaFetch:
    return ReplicaFetch(
        **{  # type: ignore[arg-type]
            "api_version": version,
            "client_id": b"tidelog-node-2-fetcher-0",
            "node_id": 2,
            "node_epoch": 1 << 40,
            "max_wait_ms": 500,
            "min_bytes": 1,
            "max_bytes": 10 << 20,
            "partition_max_bytes": 1 << 20,
            "answer_bytes_max": 20 << 20,
        }
        | settings
    )


@pytest.fixture
def core(tmp_path: Path) -> LogCore:
    return new_core(tmp_path)


def followed(
    made: ReplicaFetch, core: LogCore, *places: tuple[bytes, int], epoch: int = 4
) -> list[FetchedPart]:
    parts = [FetchedPart(topic_id, index, core, epoch) for topic_id, index in places]
    for part in parts:
        made.add(part)
        made.ask(part, 10 + part.index, 3, 1, 9)
    return parts


def sent(made: ReplicaFetch) -> FetchRequest:
    frame = made.next_request()
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    header = parse_request_header(frame[4:])
    assert header.api_key == ApiKey.FETCH
    assert header.client_id == "tidelog-node-2-fetcher-0"
    assert header.correlation_id == made.sent & 0x7FFFFFFF
    request = decode_request(header.api_key, header.api_version, frame[4:], header.body_offset)
    assert isinstance(request, FetchRequest)
    return request


def data(index: int, **fields: object) -> PartitionData:
    values = {"partition_index": index, "high_watermark": 5, "log_start_offset": 0} | fields
    return PartitionData(**values)  # type: ignore[arg-type]


def answer(
    *topics: tuple[bytes, list[PartitionData]], session: int = 700, error: int = 0, **fields: int
) -> FetchResponse:
    return FetchResponse(
        session_id=session,
        error_code=error,
        responses=[
            FetchableTopicResponse(topic_id=topic_id, partitions=partitions)
            for topic_id, partitions in topics
        ],
        **fields,
    )


def feed(made: ReplicaFetch, frame: bytes, step: int = 1 << 30) -> bool:
    """Gives it the bytes, so many at a time."""
    done, complete = 0, False
    while done < len(frame):
        assert not complete
        room = made.room()
        n = min(len(room), step, len(frame) - done)
        room[:n] = frame[done : done + n]
        complete = made.received(n)
        done += n
    return complete


def taken(made: ReplicaFetch, response: FetchResponse, version: int = 18) -> list[FetchedPart]:
    frame = encode_response_frame(response, version, (made.answered + 1) & 0x7FFFFFFF)
    assert feed(made, frame)
    return made.take_answer()


def named(request: FetchRequest) -> list[tuple[bytes, int]]:
    return [(topic.topic_id, p.partition) for topic in request.topics for p in topic.partitions]


def forgotten(request: FetchRequest) -> list[tuple[bytes, int]]:
    return [
        (topic.topic_id, index)
        for topic in request.forgotten_topics_data
        for index in topic.partitions
    ]


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [15, 16, 17, 18])
def test_a_full_request(core: LogCore, version: int) -> None:
    made = exchange(version)
    followed(made, core, (T, 0), (T, 300), (U, 1))
    request = sent(made)
    assert (request.max_wait_ms, request.min_bytes, request.max_bytes) == (0, 1, 10 << 20)
    assert (request.isolation_level, request.session_id, request.session_epoch) == (0, 0, 0)
    assert (request.replica_state.replica_id, request.replica_state.replica_epoch) == (2, 1 << 40)
    assert request.rack_id == ""
    assert named(request) == [(T, 0), (T, 300), (U, 1)]
    assert forgotten(request) == []
    part = request.topics[0].partitions[1]
    assert (part.current_leader_epoch, part.fetch_offset) == (4, 310)
    assert (part.last_fetched_epoch, part.log_start_offset) == (3, 1)
    assert part.partition_max_bytes == 1 << 20
    assert part.high_watermark == (9 if version >= 18 else 2**63 - 1)


def test_many_partitions(core: LogCore) -> None:
    made = exchange()
    places = [(i.to_bytes(16), j) for i in range(100) for j in range(30)]
    followed(made, core, *places)
    assert named(sent(made)) == places


@pytest.mark.parametrize("version", [14, 19])
def test_versions_that_followers_do_not_speak(version: int) -> None:
    with pytest.raises(InvariantError):
        exchange(version)


def test_an_incremental_session(core: LogCore) -> None:
    made = exchange()
    a, b, c = followed(made, core, (T, 0), (T, 1), (U, 0))
    sent(made)
    assert not made.may_send
    assert taken(made, answer((T, [data(0), data(1)]), (U, [data(0)]))) == [a, b, c]
    made.done()
    request = sent(made)
    assert (request.session_id, request.session_epoch, request.max_wait_ms) == (700, 1, 500)
    assert (named(request), forgotten(request)) == ([], [])
    assert taken(made, answer((T, [data(1)]))) == [b]
    made.done()
    made.ask(b, 12, 3, 1, 9)
    made.pause(a)
    request = sent(made)
    assert (request.session_epoch, named(request), forgotten(request)) == (2, [(T, 1)], [(T, 0)])
    taken(made, answer())
    made.done()
    made.remove(c)
    made.ask(a, 20, 3, 1, 9)
    made.ask(a, 21, 3, 1, 9)
    request = sent(made)
    assert (named(request), forgotten(request)) == ([(T, 0)], [(U, 0)])
    assert request.topics[0].partitions[0].fetch_offset == 21
    assert made.parts() == [a, b]


def test_what_was_not_told_is_not_forgotten(core: LogCore) -> None:
    made = exchange()
    a, b, c = followed(made, core, (T, 0), (T, 1), (T, 2))
    made.pause(a)
    made.remove(b)
    assert named(sent(made)) == [(T, 2)]
    taken(made, answer((T, [data(2)])))
    made.done()
    made.pause(c)
    assert not made.may_send  # nothing is to be fetched
    made.ask(c, 30, 3, 1, 9)
    request = sent(made)
    assert (named(request), forgotten(request)) == ([(T, 2)], [])
    with pytest.raises(InvariantError):
        made.ask(b, 1, 1, 1, 1)
    with pytest.raises(InvariantError):
        made.next_request()


def test_another_life_of_a_partition_takes_the_place_of_the_first(core: LogCore) -> None:
    made = exchange()
    (old,) = followed(made, core, (T, 0))
    sent(made)
    (new,) = followed(made, core, (T, 0), epoch=5)
    assert taken(made, answer((T, [data(0, error_code=74)]))) == []  # it was said of the old one
    made.done()
    request = sent(made)
    assert request.topics[0].partitions[0].current_leader_epoch == 5
    assert forgotten(request) == []
    assert taken(made, answer((T, [data(0)]))) == [new]
    assert old.error_code == 0


def test_news_hurry_behind_a_request_that_waits(core: LogCore) -> None:
    made = exchange()
    a, b = followed(made, core, (T, 0), (T, 1))
    sent(made)
    made.ask(a, 1, 1, 1, 1)
    assert not made.may_send  # the session is not there yet
    taken(made, answer((T, [data(0), data(1)])))
    made.done()
    sent(made)
    made.ask(a, 2, 1, 1, 1)
    assert made.may_send
    made.ask(b, 3, 1, 1, 1)
    request = sent(made)
    assert (request.session_epoch, named(request)) == (2, [(T, 0), (T, 1)])
    made.ask(b, 4, 1, 1, 1)
    assert not made.may_send  # two are under way
    # The first answer knows nothing of what the second request said, nor the second one of b's.
    first = encode_response_frame(answer((T, [data(0), data(1)])), 18, 2)
    second = encode_response_frame(answer((T, [data(0), data(1)])), 18, 3)
    assert feed(made, first + second)
    assert made.take_answer() == []
    assert made.done()  # the second one is here too
    assert made.take_answer() == [a]
    assert not made.done()


# --- sessions that end ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "session"),
    [
        (ErrorCode.FETCH_SESSION_ID_NOT_FOUND, 0),
        (ErrorCode.INVALID_FETCH_SESSION_EPOCH, 700),
        (ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR, 700),
        (ErrorCode.UNKNOWN_SERVER_ERROR, 700),
    ],
)
def test_a_refused_session_begins_anew(core: LogCore, code: ErrorCode, session: int) -> None:
    made = exchange()
    a, b = followed(made, core, (T, 0), (U, 1))
    sent(made)
    taken(made, answer((T, [data(0)]), (U, [data(1)])))
    made.done()
    made.pause(b)
    sent(made)
    assert taken(made, answer(error=code, session=0)) == []
    assert made.error_code == code
    made.done()
    request = sent(made)
    assert (request.session_id, request.session_epoch) == (session, 0)
    assert (named(request), forgotten(request)) == ([(T, 0)], [])
    assert taken(made, answer((T, [data(0)]), session=900)) == [a]
    made.done()
    request = sent(made)
    assert (request.session_id, request.session_epoch) == (900, 1)


def test_a_leader_without_room_for_sessions(core: LogCore) -> None:
    made = exchange()
    followed(made, core, (T, 0))
    for wait_ms in (0, 500, 500):
        request = sent(made)
        assert (request.session_id, request.session_epoch, request.max_wait_ms) == (0, 0, wait_ms)
        assert named(request) == [(T, 0)]
        assert len(taken(made, answer((T, [data(0)]), session=0))) == 1
        made.done()


def test_a_session_that_the_leader_ends(core: LogCore) -> None:
    made = exchange()
    followed(made, core, (T, 0))
    sent(made)
    taken(made, answer((T, [data(0)])))
    made.done()
    sent(made)
    taken(made, answer(session=0))
    made.done()
    request = sent(made)
    assert (request.session_id, request.session_epoch, named(request)) == (0, 0, [(T, 0)])


def test_a_new_connection(core: LogCore) -> None:
    made = exchange()
    (part,) = followed(made, core, (T, 0))
    sent(made)
    taken(made, answer((T, [data(0)])))
    made.done()
    sent(made)
    feed(made, encode_response_frame(answer(), 18, 2)[:-3])
    made.reset()
    request = sent(made)
    assert (request.session_id, request.session_epoch, named(request)) == (700, 0, [(T, 0)])
    assert made.sent == 3
    assert taken(made, answer((T, [data(0)]))) == [part]


# --- answers -------------------------------------------------------------------------------------


def full_answer(records: bytes) -> FetchResponse:
    return FetchResponse(
        throttle_time_ms=33,
        session_id=700,
        responses=[
            FetchableTopicResponse(
                topic_id=T,
                partitions=[
                    data(
                        0,
                        records=records,
                        last_stable_offset=3,
                        log_start_offset=2,
                        aborted_transactions=[AbortedTransaction(producer_id=1, first_offset=2)],
                    ),
                    data(7, diverging_epoch=EpochEndOffset(epoch=2, end_offset=88)),
                ],
            ),
            FetchableTopicResponse(
                topic_id=U,
                partitions=[
                    data(
                        1,
                        error_code=6,
                        high_watermark=-1,
                        records=b"",
                        current_leader=LeaderIdAndEpoch(leader_id=3, leader_epoch=9),
                        snapshot_id=SnapshotId(end_offset=1, epoch=1),
                    ),
                    data(99),
                ],
            ),
            FetchableTopicResponse(topic_id=bytes(16), partitions=[data(0)]),
        ],
        node_endpoints=[NodeEndpoint(node_id=3, host="h", port=9, rack=None)],
    )


@pytest.mark.parametrize("version", [16, 17, 18])
@pytest.mark.parametrize("step", [1, 3, 50, 1 << 20])
def test_an_answer(core: LogCore, version: int, step: int) -> None:
    made = exchange(version)
    a, b, c = followed(made, core, (T, 0), (T, 7), (U, 1))
    sent(made)
    records = bytes(batch(3, base_offset=0)) + bytes(batch(1, base_offset=3))
    frame = encode_response_frame(full_answer(records), version, 1)
    assert feed(made, frame, step)
    assert made.take_answer() == [a, b, c]
    assert (made.throttle_time_ms, made.error_code, made.session_id) == (33, 0, 700)
    assert made.bytes_received == len(frame)
    assert (a.error_code, a.high_watermark, a.log_start_offset) == (0, 5, 2)
    assert (a.diverging_epoch, a.leader_id, a.records_size) == (-1, -1, len(records))
    assert frame[a.records_position :][: a.records_size] == records
    assert (b.diverging_epoch, b.diverging_end_offset, b.records_size) == (2, 88, 0)
    assert (c.error_code, c.high_watermark, c.leader_id, c.leader_epoch) == (6, -1, 3, 9)
    assert made.append(a, NOW) == 0
    assert (core.log_end_offset, a.records_size) == (4, 0)
    assert made.append(b, NOW) == 0
    assert not made.done()


def test_an_answer_in_which_anything_is_cut_or_changed(core: LogCore) -> None:
    """Nothing but MalformedMessageError, or an answer: never a read beyond what was received."""
    whole = encode_response_frame(full_answer(bytes(batch(3))), 18, 1)
    rng = random.Random(11)
    outcomes = {True: 0, False: 0}
    for attempt in range(6000):
        body = bytearray(whole[4:])
        if attempt < len(body):
            del body[attempt:]
        else:
            for _ in range(rng.randrange(1, 4)):
                body[rng.randrange(len(body))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        made = exchange()
        followed(made, core, (T, 0), (T, 7), (U, 1))
        sent(made)
        feed(made, len(body).to_bytes(4) + body)
        try:
            found = made.take_answer()
        except MalformedMessageError:
            outcomes[False] += 1
            continue
        outcomes[True] += 1
        for part in found:
            end = part.records_position + part.records_size
            assert 0 <= part.records_position <= end <= len(body) + 4
    assert outcomes[False] > 1000 < outcomes[True]


@pytest.mark.parametrize(
    ("response", "correlation_id"),
    [
        (answer((T, [data(0)])), 2),
        (answer((T, [data(0), data(0)])), 1),  # a partition twice
        (answer((T, [data(0)]), (U, [data(0)]), (T, [data(0)])), 1),
    ],
)
def test_answers_to_something_else(
    core: LogCore, response: FetchResponse, correlation_id: int
) -> None:
    made = exchange()
    followed(made, core, (T, 0))
    sent(made)
    feed(made, encode_response_frame(response, 18, correlation_id))
    with pytest.raises(MalformedMessageError):
        made.take_answer()


def test_bytes_behind_an_answer(core: LogCore) -> None:
    made = exchange()
    followed(made, core, (T, 0))
    sent(made)
    frame = encode_response_frame(answer((T, [data(0)])), 18, 1)
    feed(made, (len(frame) - 3).to_bytes(4) + frame[4:] + b"x")
    with pytest.raises(MalformedMessageError):
        made.take_answer()


@pytest.mark.parametrize("size", [-1, 5001, 2**31 - 1])
def test_sizes_that_no_answer_has(core: LogCore, size: int) -> None:
    made = exchange(answer_bytes_max=5000)
    followed(made, core, (T, 0))
    sent(made)
    made.room()[:4] = size.to_bytes(4, signed=True)
    with pytest.raises(MalformedMessageError):
        made.received(4)
    assert made.buffer_bytes <= 64 * 1024


def test_an_answer_that_nobody_waits_for(core: LogCore) -> None:
    made = exchange()
    made.room()[:4] = bytes(4)
    with pytest.raises(MalformedMessageError):
        made.received(4)


# --- the buffer ----------------------------------------------------------------------------------


def test_memory_comes_with_the_bytes_and_goes(core: LogCore) -> None:
    made = exchange(max_bytes=100_000, answer_bytes_max=20 << 20)
    followed(made, core, (T, 0))
    sent(made)
    frame = encode_response_frame(answer((T, [data(0, records=bytes(8 << 20))])), 18, 1)
    made.room()[:4] = frame[:4]
    made.received(4)
    assert made.buffer_bytes == 64 * 1024  # a declared size alone costs nothing
    assert feed(made, frame[4:])
    assert made.buffer_bytes >= len(frame)
    made.take_answer()
    made.done()
    assert made.buffer_bytes == 0


def test_receiving_from_a_socket(core: LogCore) -> None:
    made = exchange()
    (part,) = followed(made, core, (T, 0))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        sent(made)
        assert made.receive(ours.fileno()) == RECEIVED_PART
        frame = encode_response_frame(answer((T, [data(0, records=bytes(50_000))])), 18, 1)
        theirs.send(frame[:100])
        assert made.receive(ours.fileno()) == RECEIVED_PART
        theirs.send(frame[100:])
        assert made.receive(ours.fileno()) == RECEIVED_ANSWER
        assert made.take_answer() == [part]
        made.done()
        theirs.close()
        assert made.receive(ours.fileno()) == RECEIVED_END
    with pytest.raises(OSError, match="Bad file descriptor"):
        made.receive(ours.fileno() if ours.fileno() >= 0 else 9999)


# --- appending -----------------------------------------------------------------------------------


def with_records(core: LogCore, records: bytes) -> tuple[ReplicaFetch, FetchedPart]:
    made = exchange()
    (part,) = followed(made, core, (T, 0))
    sent(made)
    taken(made, answer((T, [data(0, records=records)])))
    return made, part


def test_a_batch_that_is_not_whole_is_left_out(core: LogCore) -> None:
    second = bytes(batch(2, base_offset=2))
    made, part = with_records(core, bytes(batch(2)) + second[:-1])
    assert made.append(part, NOW) == 0
    assert core.log_end_offset == 2
    assert part.records_size == len(second) - 1


def test_rolls_between_batches(tmp_path: Path) -> None:
    size = len(batch(2))
    core = new_core(tmp_path, segment_bytes=2 * size)
    made, part = with_records(core, b"".join(bytes(batch(2, base_offset=2 * i)) for i in range(5)))
    assert made.append(part, NOW) == STATUS_NEEDS_ROLL
    assert core.log_end_offset == 4
    roll(core, tmp_path)
    assert made.append(part, NOW) == STATUS_NEEDS_ROLL
    roll(core, tmp_path)
    assert made.append(part, NOW) == 0
    assert core.log_end_offset == 10


def test_what_the_log_refuses(core: LogCore) -> None:
    bad = batch(2, base_offset=2)
    bad[-1] ^= 1
    made, part = with_records(core, bytes(batch(2)) + bytes(bad))
    assert made.append(part, NOW) == -ErrorCode.CORRUPT_MESSAGE
    assert core.log_end_offset == 0
    made, part = with_records(core, bytes(batch(4, base_offset=10)))
    assert made.append(part, NOW) == 0
    made, part = with_records(core, bytes(batch(4, base_offset=12)))
    assert made.append(part, NOW) == -ErrorCode.OFFSET_OUT_OF_RANGE
    assert (part.refused_base_offset, part.refused_last_offset) == (12, 15)
    core.fence()
    made, part = with_records(core, bytes(batch(4, base_offset=14)))
    assert made.append(part, NOW) == -ErrorCode.KAFKA_STORAGE_ERROR


def test_only_what_the_answer_names_is_appended(core: LogCore) -> None:
    made = exchange()
    a, b = followed(made, core, (T, 0), (T, 1))
    sent(made)
    taken(made, answer((T, [data(0)])))
    assert made.append(a, NOW) == 0
    with pytest.raises(InvariantError):
        made.append(b, NOW)

"""The load generator: histogram, answer checks (kio is the oracle), arguments, producing."""

import struct
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.native.loadgen_peer import (
    NOW_MS,
    Answer,
    correlation,
    framed,
    kio_fetch_response,
    kio_produce_response,
    peer,
    plain_template,
    produce_ok,
    read_produce_request,
    stamped,
)
from tidelog._native.crc32c import crc32c_of
from tidelog._native.loadgen import (
    FENCE_CORRELATION_ID,
    Histogram,
    LoadError,
    LoadGenerator,
    parse_fetch_response,
    parse_produce_response,
    walk_batches,
)
from tidelog.benchmarks.batches import encode_batch, sized_batch
from tidelog.benchmarks.requests import (
    Cursor,
    Template,
    fence_request,
    fetch_request,
    produce_request,
)


@given(st.lists(st.integers(0, 1 << 45), min_size=1, max_size=200), st.floats(0, 100))
@settings(max_examples=100)
def test_percentile_is_within_a_bucket_of_the_exact_one(values: list[int], percent: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    ordered = sorted(values)
    rank = max(1, int(percent / 100 * len(values) + 0.5))
    exact = ordered[min(rank, len(values)) - 1]
    found = histogram.percentile(percent)
    assert exact <= found or exact >= 1 << 40
    assert found <= max(exact * (1 + 1 / 128) + 1, 0) or found >= 1 << 40
    assert (histogram.count, histogram.min, histogram.max) == (len(values), ordered[0], ordered[-1])
    assert histogram.mean == pytest.approx(sum(values) / len(values))


def test_every_value_lies_in_its_bucket_and_buckets_are_narrow() -> None:
    for value in [0, 1, 127, 128, 255, 256, 257, 1000, 12345, (1 << 40) - 1]:
        histogram = Histogram()
        histogram.record(value)
        [(low, high, count)] = histogram.buckets()
        assert low <= value <= high
        assert count == 1
        assert high - low <= low / 128


def test_merge_adds_up_and_an_empty_histogram_has_zeros() -> None:
    one, other, empty = Histogram(), Histogram(), Histogram()
    one.record(10)
    other.record(1_000_000)
    one.merge(other)
    one.merge(empty)
    assert (one.count, one.min, one.max) == (2, 10, 1_000_000)
    assert (empty.count, empty.min, empty.max, empty.mean, empty.percentile(50)) == (0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="between 0 and 100"):
        one.percentile(101)


@pytest.mark.parametrize("version", range(3, 14))
def test_produce_answers_of_every_version(version: int) -> None:
    parts = [[(0, 0, 17), (5, 3, -1)], [(2, 0, 1 << 40)]]
    data = kio_produce_response(version, parts, throttle_ms=250)
    assert parse_produce_response(data, version) == ([p for topic in parts for p in topic], 250)
    for cut in range(len(data)):
        with pytest.raises(ValueError, match="malformed"):
            parse_produce_response(data[:cut], version)
    with pytest.raises(ValueError, match="malformed"):
        parse_produce_response(data + b"\0", version)


@pytest.mark.parametrize("version", range(4, 19))
def test_fetch_answers_of_every_version(version: int) -> None:
    parts: list[list[tuple[int, int, int, bytes | None]]]
    parts = [[(0, 0, 17, b"records"), (5, 1, -1, b"")], [(2, 0, 1 << 40, b"x" * 300)]]
    data = kio_fetch_response(version, parts)
    start = 5 if version >= 5 else -1
    expected = [(p, error, hw, start, r) for topic in parts for p, error, hw, r in topic]
    assert parse_fetch_response(data, version) == (0, expected)
    for cut in range(len(data)):
        with pytest.raises(ValueError, match="malformed"):
            parse_fetch_response(data[:cut], version)
    with pytest.raises(ValueError, match="malformed"):
        parse_fetch_response(data + b"\0", version)


def test_answers_without_topics_and_with_an_error_for_all() -> None:
    assert parse_produce_response(kio_produce_response(9, []), 9) == ([], 0)
    assert parse_produce_response(kio_produce_response(9, [[], [(1, 0, 2)]]), 9)[0] == [(1, 0, 2)]
    assert parse_fetch_response(kio_fetch_response(12, [], error_code=71), 12) == (71, [])


@given(st.binary(max_size=200), st.integers(3, 18))
@settings(max_examples=300)
def test_noise_is_refused_or_read_but_never_read_beyond(data: bytes, version: int) -> None:
    for parse, lowest, highest in ((parse_produce_response, 3, 13), (parse_fetch_response, 4, 18)):
        try:
            parse(data, min(max(version, lowest), highest))
        except ValueError:
            continue
    try:
        walk_batches(data)
    except ValueError:
        pass


def test_walk_counts_whole_batches_and_ignores_a_cut_one() -> None:
    three = encode_batch([b"a", b"b", b"c"], NOW_MS)
    one = encode_batch([b"d"], NOW_MS)
    log = stamped(three, 10) + stamped(one, 13)
    assert walk_batches(log, verify_crc=True) == (14, 2, 4, len(log))
    assert walk_batches(log[:-1]) == (13, 1, 3, len(three.data))
    assert walk_batches(log[:60]) == (-1, 0, 0, 0)
    marker = bytearray(stamped(one, 14))
    marker[22] |= 0x20  # a control batch
    assert walk_batches(log + bytes(marker)) == (15, 3, 4, len(log) + len(marker))
    broken = bytearray(log)
    broken[70] ^= 1
    with pytest.raises(ValueError, match="CRC"):
        walk_batches(bytes(broken), verify_crc=True)
    broken[16] = 1
    with pytest.raises(ValueError, match="not a batch"):
        walk_batches(bytes(broken))


@pytest.mark.parametrize("in_flight", [1, 3, 64])
@pytest.mark.parametrize("size", [255, 5000, 200_000])
def test_produce_is_pipelined_in_order_and_unchanged(in_flight: int, size: int) -> None:
    template = plain_template(size)
    count = 150 if size < 100_000 else 20
    with peer(produce_ok) as broker:
        generator = LoadGenerator("produce", 9, in_flight=in_flight)
        generator.add_connection(broker.connect().fileno(), [template])
        counts = generator.run(max_requests=count)
        more = generator.run(max_requests=1)
    assert counts["requests"] == count
    assert counts["latency"].count == count
    assert counts["record_bytes"] == count * size
    assert counts["bytes_sent"] == count * len(template.frame)
    assert counts["last_base_offset"] == count - 1
    assert counts["records"] == count * template.payload_records
    assert more["requests"] == 1
    for index, frame in enumerate(broker.frames):
        assert correlation(frame) == struct.pack(">i", index)
        assert frame[8:] == template.frame[12:]


def test_templates_take_turns_and_connections_are_independent() -> None:
    def answer(index: int, frame: bytes) -> bytes:
        _, request = read_produce_request(frame)
        partitions = [(p.index, 0, index) for p in request.topic_data[0].partition_data]
        return framed(correlation(frame) + kio_produce_response(9, [partitions]))

    batch = sized_batch(255, NOW_MS)
    first = [
        produce_request(9, {"t": {0: batch}}),
        produce_request(9, {"t": {1: sized_batch(9000, NOW_MS), 2: batch}}),
    ]
    with peer(answer) as broker:
        generator = LoadGenerator("produce", 9, in_flight=4)
        generator.add_connection(broker.connect().fileno(), first)
        generator.add_connection(broker.connect().fileno(), [plain_template(300, partition=7)])
        counts = generator.run(max_requests=101)
    assert counts["requests"] == 101
    order: dict[bool, list[list[int]]] = {True: [], False: []}
    for frame in broker.frames:
        _, request = read_produce_request(frame)
        partitions = [p.index for p in request.topic_data[0].partition_data]
        order[partitions == [7]].append(partitions)
    assert order[False] == [[[0], [1, 2]][i % 2] for i in range(len(order[False]))]
    assert counts["batches"] == sum(len(p) for both in order.values() for p in both)
    assert order[True]


def test_a_run_ends_in_time_and_leaves_nothing_in_flight() -> None:
    with peer(produce_ok) as broker:
        generator = LoadGenerator("produce", 9, in_flight=8)
        generator.add_connection(broker.connect().fileno(), [plain_template()])
        counts = generator.run(seconds=0.05)
        assert counts["requests"] == len(broker.frames) > 0
        assert counts["elapsed_ns"] >= 50_000_000


@pytest.mark.parametrize("acks", [0, 1])
@pytest.mark.parametrize("connections", [1, 3])
def test_a_run_of_several_slices(acks: int, connections: int) -> None:
    def answer(index: int, frame: bytes) -> bytes:
        if frame[:2] == b"\0\0" and acks == 0:
            return b""
        return produce_ok(index, frame)

    template = produce_request(9, {"t": {0: sized_batch(255, NOW_MS)}}, acks=acks)
    with peer(answer) as broker:
        generator = LoadGenerator("produce", 9, in_flight=4, acks0=acks == 0)
        for _ in range(connections):
            generator.add_connection(broker.connect().fileno(), [template], fence_request())
        counts = generator.run(seconds=0.2)
    fences = connections if acks == 0 else 0
    assert counts["requests"] == len(broker.frames) - fences > 0


def test_stop_ends_a_run_from_another_thread() -> None:
    seen = threading.Event()

    def answer(index: int, frame: bytes) -> bytes:
        if index == 20:
            seen.set()
        return produce_ok(index, frame)

    with peer(answer) as broker:
        generator = LoadGenerator("produce", 9)
        generator.add_connection(broker.connect().fileno(), [plain_template()])

        def stop_when_seen() -> None:
            seen.wait(20)
            generator.stop()

        stopper = threading.Thread(target=stop_when_seen)
        stopper.start()
        counts = generator.run(seconds=50)
        stopper.join()
    assert 20 < counts["requests"] == len(broker.frames)


def test_idempotent_batches_get_their_sequences_and_a_right_crc() -> None:
    first = 2**31 - 5  # the sequence wraps to 0 on the way
    batch = encode_batch(
        [b"x", b"y", b"z"], NOW_MS, producer_id=9, producer_epoch=2, base_sequence=first
    )
    other = sized_batch(6000, NOW_MS, producer_id=9, producer_epoch=2, base_sequence=0)

    def answer(index: int, frame: bytes) -> bytes:
        return framed(correlation(frame) + kio_produce_response(9, [[(0, 0, 0), (1, 0, 0)]]))

    with peer(answer) as broker:
        generator = LoadGenerator("produce", 9, in_flight=5)
        template = produce_request(9, {"t": {0: batch, 1: other}})
        generator.add_connection(broker.connect().fileno(), [template])
        generator.run(max_requests=7)
        generator.run(max_requests=6)
    expected = {0: first, 1: 0}
    for frame in broker.frames:
        _, request = read_produce_request(frame)
        for part, record_count in zip(
            request.topic_data[0].partition_data, (3, other.record_count), strict=True
        ):
            data = bytes(part.records)
            assert struct.unpack_from(">i", data, 53) == (expected[part.index],)
            assert struct.unpack_from(">I", data, 17) == (crc32c_of(data[21:]),)
            expected[part.index] = (expected[part.index] + record_count) % 2**31


def test_acks_0_ends_with_the_fence() -> None:
    def answer(index: int, frame: bytes) -> bytes:
        if frame[:2] == b"\0\0":
            return b""
        return framed(correlation(frame) + b"\0\0" + b"\0" * 4)

    batch = sized_batch(255, NOW_MS)
    template = produce_request(9, {"t": {0: batch}}, acks=0)
    with peer(answer) as broker:
        for connections in (1, 2):
            generator = LoadGenerator("produce", 9, in_flight=16, acks0=True)
            for _ in range(connections):
                generator.add_connection(broker.connect().fileno(), [template], fence_request())
            before = len(broker.frames)
            for _ in range(2):
                counts = generator.run(max_requests=400)
                assert counts["requests"] == counts["latency"].count == 400
                assert counts["record_bytes"] == 400 * 255
            frames = broker.frames[before:]
            fences = [
                f for f in frames if correlation(f) == struct.pack(">i", FENCE_CORRELATION_ID)
            ]
            assert len(frames) == 800 + 2 * connections
            assert len(fences) == 2 * connections


def broken(answer: Answer, reason: str, in_flight: int = 1) -> LoadError:
    with peer(answer) as broker:
        generator = LoadGenerator("produce", 9, in_flight=in_flight, max_response_bytes=1000)
        generator.add_connection(broker.connect().fileno(), [plain_template()])
        with pytest.raises(LoadError) as caught:
            generator.run(max_requests=20)
        with pytest.raises(RuntimeError, match="failed"):
            generator.run(max_requests=1)
    assert caught.value.reason == reason
    return caught.value


def at(index: int, wrong: Callable[[bytes], bytes | None]) -> Answer:
    """Right answers but for request `index`."""
    return lambda i, frame: wrong(frame) if i == index else produce_ok(i, frame)


def test_wrong_answers_end_the_run() -> None:
    ok = kio_produce_response(9, [[(0, 0, 50)]])
    error = broken(
        at(3, lambda f: framed(correlation(f) + kio_produce_response(9, [[(4, 6, -1)]]))), "broker"
    )
    assert (error.kafka_error, error.request) == (6, 3)
    assert "partition 4" in str(error)
    broken(at(5, lambda f: framed(b"\0\0\0\x63" + ok)), "correlation", in_flight=4)
    broken(at(2, lambda f: None), "closed")
    broken(at(2, lambda f: framed(correlation(f) + ok[:-3])), "malformed")
    broken(at(2, lambda f: framed(correlation(f) + ok + b"more")), "malformed")
    broken(at(2, lambda f: struct.pack(">i", 1001)), "size")
    broken(at(2, lambda f: struct.pack(">i", -1)), "size")
    broken(at(2, lambda f: struct.pack(">i", 3)), "size")
    two = kio_produce_response(9, [[(0, 0, 50), (1, 0, 50)]])
    broken(at(2, lambda f: framed(correlation(f) + two)), "partitions")
    broken(at(2, lambda f: framed(correlation(f) + kio_produce_response(9, []))), "partitions")
    again = kio_produce_response(9, [[(0, 0, 0)]])
    broken(at(2, lambda f: framed(correlation(f) + again)), "offset")
    # one answer too many, to a request that was never sent
    broken(at(0, lambda f: produce_ok(0, f) + framed(b"\0\0\0\x01" + ok)), "correlation")


def test_a_silent_broker_is_given_up() -> None:
    with peer(lambda index, frame: b"") as broker:
        generator = LoadGenerator("produce", 9, stall_seconds=1)
        generator.add_connection(broker.connect().fileno(), [plain_template()])
        with pytest.raises(LoadError) as caught:
            generator.run(max_requests=1)
    assert caught.value.reason == "stalled"


def test_raw_requests_check_only_the_error_code() -> None:
    frame = fence_request()
    template = Template(frame, expected_partitions=0)
    codes = [0, 0, 35]

    def answer(index: int, frame: bytes) -> bytes:
        return framed(correlation(frame) + b"abcd" + struct.pack(">h", codes[index]))

    with peer(answer) as broker:
        generator = LoadGenerator("raw", 0, error_position=4)
        generator.add_connection(broker.connect().fileno(), [template])
        assert generator.run(max_requests=2)["requests"] == 2
        with pytest.raises(LoadError, match="35"):
            generator.run(max_requests=1)


def test_arguments_are_checked() -> None:
    for bad in (
        {"in_flight": 0},
        {"in_flight": 1 << 20},
        {"max_response_bytes": 3},
        {"stall_seconds": 0},
        {"discard": True},
    ):
        with pytest.raises(ValueError, match=r"must lie|at least|discard"):
            LoadGenerator("produce", 9, **bad)
    with pytest.raises(KeyError):
        LoadGenerator("consume", 9)  # type: ignore[arg-type]
    for kind, version in (("produce", 2), ("produce", 14), ("fetch", 3), ("fetch", 19)):
        with pytest.raises(ValueError, match="known in versions"):
            LoadGenerator(kind, version)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="acks=0"):
        LoadGenerator("fetch", 12, acks0=True)


def test_templates_are_checked() -> None:
    template = plain_template()
    placed = template.batches[0]
    generator = LoadGenerator("produce", 9)
    with pytest.raises(RuntimeError, match="no connection"):
        generator.run(max_requests=1)
    outside = replace(placed, position=len(template.frame), base_sequence=0)
    for bad, message in (
        (replace(template, frame=template.frame + b"x"), "own length"),
        (replace(template, batches=[outside]), "within its frame"),
        (replace(template, cursors=[Cursor(len(template.frame) - 4, 0, 0, 1)]), "within its frame"),
        (replace(template, cursors=[Cursor(20, 0, 5, 1)]), "start <= end"),
    ):
        with pytest.raises(ValueError, match=message):
            generator.add_connection(0, [bad])
    with pytest.raises(ValueError, match="at least one template"):
        generator.add_connection(0, [])
    with pytest.raises(ValueError, match="fence"):
        LoadGenerator("produce", 9, acks0=True).add_connection(0, [template])
    with pytest.raises(ValueError, match="one template"):
        LoadGenerator("fetch", 12).add_connection(0, [template])
    both = fetch_request(12, {"t": {0: (0, 1), 1: (0, 1)}}, max_bytes=1, partition_max_bytes=1)
    with pytest.raises(ValueError, match="one partition"):
        LoadGenerator("fetch", 12, discard=True).add_connection(0, [both])

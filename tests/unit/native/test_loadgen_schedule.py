"""The load generator at a fixed rate: what is due when, latencies from then on, end to end."""

import threading
import time

import pytest

from tests.unit.native.loadgen_peer import (
    NOW_MS,
    Log,
    peer,
    plain_template,
    produce_ok,
)
from tests.unit.native.test_loadgen_fetch import fetch_answer
from tidelog._native.loadgen import LoadGenerator
from tidelog.benchmarks.batches import sized_batch
from tidelog.benchmarks.requests import fence_request, fetch_request, produce_request

MS = 1_000_000


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("acks", [0, 1])
def test_as_many_requests_as_are_due(connections: int, acks: int) -> None:
    def answer(index: int, frame: bytes) -> bytes:
        return b"" if acks == 0 and frame[:2] == b"\0\0" else produce_ok(index, frame)

    template = produce_request(9, {"t": {0: sized_batch(255, NOW_MS)}}, acks=acks)
    with peer(answer) as broker:
        generator = LoadGenerator("produce", 9, in_flight=8, acks0=acks == 0)
        for number in range(connections):
            generator.add_connection(
                broker.connect().fileno(),
                [template],
                fence_request(),
                interval_ns=10 * MS,
                offset_ns=number * MS,
            )
        counts = generator.run(seconds=0.2, start_at_ns=time.monotonic_ns() + 20 * MS)
    assert counts["requests"] + counts["unsent"] == 20 * connections
    assert counts["latency"].count == counts["requests"] == generator.progress[0]
    assert counts["elapsed_ns"] >= (190 + connections - 1) * MS


def test_a_request_that_had_to_wait_counts_from_when_it_was_due() -> None:
    held = threading.Event()

    def answer(index: int, frame: bytes) -> bytes:
        if index == 0:
            held.wait(20)
        return produce_ok(index, frame)

    with peer(answer) as broker:
        generator = LoadGenerator("produce", 9, in_flight=1)
        generator.add_connection(broker.connect().fileno(), [plain_template()], interval_ns=10 * MS)
        started_ns = time.monotonic_ns()
        timer = threading.Timer(0.1, held.set)
        timer.start()
        counts = generator.run(max_requests=8, start_at_ns=started_ns)
        timer.join()
    latencies = counts["latency"]
    # The first answer is held for a tenth of a second; each one behind it waited 10 ms less.
    assert counts["requests"] == 8
    assert counts["unsent"] == 0
    assert latencies.max >= 95 * MS
    assert latencies.percentile(40) >= 50 * MS
    assert latencies.mean >= 50 * MS


@pytest.mark.parametrize(("grace_ns", "sent"), [(0, 2), (20_000 * MS, 20)])
def test_what_was_due_and_never_sent_is_counted(grace_ns: int, sent: int) -> None:
    held = threading.Event()

    def answer(index: int, frame: bytes) -> bytes:
        held.wait(20)
        return produce_ok(index, frame)

    with peer(answer) as broker:
        generator = LoadGenerator("produce", 9, in_flight=2)
        generator.add_connection(broker.connect().fileno(), [plain_template()], interval_ns=5 * MS)
        timer = threading.Timer(0.2, held.set)
        timer.start()
        counts = generator.run(seconds=0.1, grace_ns=grace_ns)
        timer.join()
    assert (counts["requests"], counts["unsent"]) == (sent, 20 - sent)
    assert counts["latency"].count == sent


def test_delays_of_fetched_batches_count_from_when_each_was_due() -> None:
    log = Log(12)
    template = fetch_request(
        12, {"t": {0: (0, log.end)}}, max_bytes=1 << 20, partition_max_bytes=1 << 20
    )
    with peer(fetch_answer({0: log}, [])) as broker:
        generator = LoadGenerator("fetch", 12, fetch_mode="tail")
        generator.add_connection(
            broker.connect().fileno(), [template], schedules=[(5 * MS, 10 * MS, 3)]
        )
        # Batch n was due n * 10 ms after the first one, which was due a second ago.
        counts = generator.run(max_requests=1, start_at_ns=time.monotonic_ns() - 1005 * MS)
    delays = counts["delays"]
    assert delays.count == 12
    assert delays.max >= 1000 * MS
    assert delays.max - delays.min == pytest.approx(11 * 10 * MS, rel=0.01)


def test_schedules_are_checked() -> None:
    template = plain_template()
    fetch = fetch_request(12, {"t": {0: (0, 9)}}, max_bytes=99, partition_max_bytes=99)
    generator = LoadGenerator("produce", 9)
    generator.add_connection(0, [template], interval_ns=5)
    with pytest.raises(ValueError, match="all connections have an interval"):
        generator.add_connection(0, [template])
    for schedules in ([(0, 0, 1)], [(0, 1, 0)], [(-1, 1, 1)], [(0, 1, 1)] * 2):
        with pytest.raises(ValueError, match="schedule"):
            LoadGenerator("fetch", 12).add_connection(0, [fetch], schedules=schedules)
    with pytest.raises(ValueError, match="schedule"):
        LoadGenerator("fetch", 12, discard=True).add_connection(0, [fetch], schedules=[(0, 1, 1)])

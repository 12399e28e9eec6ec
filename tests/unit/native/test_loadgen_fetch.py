"""The load generator fetching from scripted peers: cursors, wrapping, discarding, checking."""

from typing import Any

import pytest
from kio.serial import entity_reader

from tests.unit.native.loadgen_peer import (
    Answer,
    Log,
    correlation,
    framed,
    kio_fetch_response,
    peer,
)
from tidelog._native.loadgen import (
    LoadError,
    LoadGenerator,
    walk_batches,
)
from tidelog.benchmarks.requests import fetch_request


def fetch_answer(logs: dict[int, Log], offsets: list[tuple[int, int]]) -> Answer:
    """Answers from `logs`; appends (partition, fetch offset) to `offsets`."""
    from kio.schema.fetch.v12.request import FetchRequest
    from kio.schema.request_header.v2.header import RequestHeader

    def answer(index: int, frame: bytes) -> bytes:
        _, size = entity_reader(RequestHeader)(frame, 0)
        request, length = entity_reader(FetchRequest)(frame, size)
        assert size + length == len(frame)
        parts: list[tuple[int, int, int, bytes | None]] = []
        for part in request.topics[0].partitions:
            offsets.append((part.partition, part.fetch_offset))
            log = logs[part.partition]
            records = log.read(part.fetch_offset, part.partition_max_bytes)
            parts.append((part.partition, 0, log.end, records))
        return framed(correlation(frame) + kio_fetch_response(12, [parts]))

    return answer


def fetch_counts(
    logs: dict[int, Log], requests: int, max_bytes: int, **options: Any
) -> tuple[Any, list[tuple[int, int]]]:
    offsets: list[tuple[int, int]] = []
    template = fetch_request(
        12,
        {"t": {p: (0, log.end) for p, log in logs.items()}},
        max_bytes=1 << 20,
        partition_max_bytes=max_bytes,
    )
    with peer(fetch_answer(logs, offsets)) as broker:
        generator = LoadGenerator("fetch", 12, **options)
        generator.add_connection(broker.connect().fileno(), [template])
        counts = generator.run(max_requests=requests)
    return counts, offsets


@pytest.mark.parametrize("options", [{}, {"discard": True}, {"verify_crc": True}])
@pytest.mark.parametrize("max_bytes", [1, 5000, 7000, 20_000, 1 << 20])
def test_a_stream_reads_every_batch_once_and_wraps(options: dict[str, Any], max_bytes: int) -> None:
    log = Log(12)
    # How a reader goes through it: what whole batches each answer holds.
    expected, offset, wraps, batches = [], 0, 0, 0
    for _ in range(30):
        expected.append((0, offset))
        next_offset, whole, _, _ = walk_batches(log.read(offset, max_bytes))
        batches += whole
        offset = next_offset
        if offset >= log.end:
            offset, wraps = 0, wraps + 1
    counts, offsets = fetch_counts({0: log}, 30, max_bytes, **options)
    assert offsets == expected
    assert (counts["batches"], counts["wraps"], counts["empty_responses"]) == (batches, wraps, 0)
    assert counts["requests"] == 30


@pytest.mark.parametrize("discard", [False, True])
def test_small_batches_in_large_answers(discard: bool) -> None:
    """Headers everywhere in the answer, also across the boundary of what is received at first."""
    log = Log(400, records=1, size=1)
    counts, offsets = fetch_counts({0: log}, 3, 1 << 20, discard=discard)
    assert counts["record_bytes"] == 3 * sum(map(len, log.data))
    assert counts["batches"] == 3 * 400
    assert offsets == [(0, 0)] * 3


def test_fixed_reads_the_same_offset_again() -> None:
    counts, offsets = fetch_counts({0: Log(5)}, 6, 5000, fetch_mode="fixed")
    assert offsets == [(0, 0)] * 6
    assert counts["wraps"] == 0


def test_tail_stays_at_the_end() -> None:
    log = Log(4)
    counts, offsets = fetch_counts({0: log}, 5, 1 << 20, fetch_mode="tail")
    assert offsets == [(0, 0)] + [(0, log.end)] * 4
    assert counts["empty_responses"] == 4


def test_slots_and_partitions_have_offsets_of_their_own() -> None:
    logs = {0: Log(6), 3: Log(9)}
    counts, offsets = fetch_counts(logs, 4, 1, in_flight=2)
    # Slot 0 starts at the start, slot 1 in the middle of each range; one batch (3 records) each.
    assert offsets == [(0, 0), (3, 0), (0, 9), (3, 13), (0, 3), (3, 3), (0, 12), (3, 15)]
    assert counts["batches"] == 8


def test_a_log_without_records_is_an_error() -> None:
    log = Log(1)
    log.data, log.bases, log.end = [], [], 0
    with pytest.raises(LoadError, match="nothing to fetch"):
        fetch_counts({0: log}, 10, 1000)


def test_a_corrupt_batch_is_found_when_asked() -> None:
    log = Log(3)
    log.data[1] = log.data[1][:-1] + b"?"
    fetch_counts({0: log}, 3, 1)
    with pytest.raises(LoadError) as caught:
        fetch_counts({0: log}, 3, 1, verify_crc=True)
    assert caught.value.reason == "crc"
    log.data[1] = log.data[1][:16] + b"\x01" + log.data[1][17:]
    for discard in (False, True):
        big = Log(40)
        big.data[20] = big.data[20][:16] + b"\x01" + big.data[20][17:]
        with pytest.raises(LoadError) as caught:
            fetch_counts({0: big}, 1, 1 << 20, discard=discard)
        assert caught.value.reason == "batch"

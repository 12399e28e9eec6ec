"""Storage's hot calls on real files: index look-up, segment append, a whole produce into a log.

Appends run in rounds of a fixed number of batches on a fresh segment each, so that neither the
index nor the disk fills however fast the code is; a time is that of a whole round.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tidelog._native.log import STATUS_APPENDED, LogCore
from tidelog._native.producer_state import ProducerStates
from tidelog._native.segment import Segment
from tidelog.benchmarks.batches import sized_batch
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.segment_files import SegmentSettings, create_segment

NOW_MS = 1_700_000_000_000
PRODUCE_VERSION = 9
BATCHES_A_ROUND = {255: 4000, 16_384: 1000, 1_000_000: 50}
NO_OFFSET = bytes(8)  # what a client sends as base offset; the log has stamped the buffer before


@pytest.fixture
def new_segment(tmp_path: Path) -> Callable[[], Segment]:
    numbers = itertools.count()

    def make() -> Segment:
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        return create_segment(SYSTEM_FILES, str(directory), 0, SegmentSettings(), NOW_MS)

    return make


def new_log(segment: Segment) -> LogCore:
    core = LogCore(ProducerStates())
    core.configure()
    core.install([segment], log_start_offset=0, log_end_offset=0, recovery_point=0, leader_epoch=0)
    return core


def drop(segment: Segment) -> None:
    """Frees the space at once: hundreds of rounds would otherwise keep gigabytes."""
    path = Path(segment.log_path)
    segment.close()
    path.unlink()


@pytest.mark.benchmark(group="python")
@pytest.mark.parametrize("entries", [10, 10_000, 1_000_000])
def test_offset_index_find(
    benchmark: BenchmarkFixture, new_segment: Callable[[], Segment], entries: int
) -> None:
    index = new_segment().offset_index
    for number in range(entries):
        index.add(number * 7 + 1, number * 1600)
    targets = itertools.cycle([entries * 7 * part // 97 for part in range(1, 97)])
    offset, position = benchmark(lambda: index.find(next(targets)))
    assert position == (offset - 1) // 7 * 1600


@pytest.mark.benchmark(group="python")
def test_time_index_find(benchmark: BenchmarkFixture, new_segment: Callable[[], Segment]) -> None:
    index = new_segment().time_index
    for number in range(10_000):
        index.add(NOW_MS + number * 3, number * 7 + 1)
    timestamp, _ = benchmark(index.find, NOW_MS + 15_001)
    assert timestamp == NOW_MS + 15_000


@pytest.mark.benchmark(group="disk")
@pytest.mark.parametrize("size", BATCHES_A_ROUND)
def test_segment_append(
    benchmark: BenchmarkFixture, new_segment: Callable[[], Segment], size: int
) -> None:
    """Writing and indexing, to a new segment."""
    batch = sized_batch(size, NOW_MS)
    count = BATCHES_A_ROUND[size]
    last: list[Segment] = []

    def before() -> tuple[tuple[Segment], dict[str, object]]:
        while last:
            drop(last.pop())
        last.append(new_segment())
        return (last[0],), {}

    def append(segment: Segment) -> None:
        for number in range(count):
            segment.append_batch(batch.data, (number + 1) * batch.record_count - 1, NOW_MS, NOW_MS)

    benchmark.pedantic(append, setup=before, rounds=8, warmup_rounds=2)  # type: ignore[no-untyped-call]
    assert last[0].size == size * count


@pytest.mark.benchmark(group="disk")
@pytest.mark.parametrize("size", BATCHES_A_ROUND)
@pytest.mark.parametrize("idempotent", [False, True])
def test_log_produce(
    benchmark: BenchmarkFixture,
    new_segment: Callable[[], Segment],
    size: int,
    idempotent: bool,
) -> None:
    """Check, producer state, stamp, write and index, into an empty log."""
    count = BATCHES_A_ROUND[size]
    record_count = sized_batch(size, NOW_MS).record_count
    batches = [
        bytearray(
            sized_batch(
                size,
                NOW_MS,
                producer_id=7 if idempotent else -1,
                producer_epoch=0 if idempotent else -1,
                base_sequence=number * record_count if idempotent else -1,
            ).data
        )
        for number in range(count if idempotent else 1)
    ]
    last: list[tuple[LogCore, Segment]] = []

    def before() -> tuple[tuple[LogCore], dict[str, object]]:
        while last:
            drop(last.pop()[1])
        segment = new_segment()
        last.append((new_log(segment), segment))
        return (last[0][0],), {}

    def produce(core: LogCore) -> None:
        for number in range(count):
            data = batches[number % len(batches)]
            data[:8] = NO_OFFSET
            assert core.produce(data, 0, PRODUCE_VERSION, NOW_MS)[0] == STATUS_APPENDED

    benchmark.pedantic(produce, setup=before, rounds=8, warmup_rounds=2)  # type: ignore[no-untyped-call]
    assert last[0][0].log_end_offset == count * record_count


@pytest.mark.benchmark(group="python")
@pytest.mark.parametrize("size", [255, 16_384])
def test_read_region(
    benchmark: BenchmarkFixture, new_segment: Callable[[], Segment], size: int
) -> None:
    """Look-up of a fetch of 1 MiB somewhere in a log of 100 MB: index search and scan."""
    core = new_log(new_segment())
    batch = sized_batch(size, NOW_MS)
    data = bytearray(batch.data)
    while core.size_bytes < 100_000_000:
        data[:8] = NO_OFFSET
        assert core.produce(data, 0, PRODUCE_VERSION, NOW_MS)[0] == STATUS_APPENDED
    end = core.log_end_offset
    offsets = itertools.cycle([end * part // 97 for part in range(96)])
    found = benchmark(lambda: core.read_region(next(offsets), 1 << 20, end))
    assert found[1] is not None

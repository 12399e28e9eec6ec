"""Sequence check and update of an idempotent batch, among few and many known producers."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tidelog._native.batch import BatchHeader, parse
from tidelog._native.producer_state import ProducerStates
from tidelog.benchmarks.batches import encode_batch

pytestmark = pytest.mark.benchmark(group="native")

NOW_MS = 1_700_000_000_000
NO_ERROR = 0


def header_of(producer_id: int, base_sequence: int) -> BatchHeader:
    batch = encode_batch(
        [b"v"], NOW_MS, producer_id=producer_id, producer_epoch=0, base_sequence=base_sequence
    )
    header = parse(batch.data)
    assert header is not None
    return header


@pytest.mark.parametrize("producers", [1, 10_000])
def test_check_and_update(benchmark: BenchmarkFixture, producers: int) -> None:
    states = ProducerStates()
    for producer_id in range(producers):
        states.update_header(header_of(producer_id, 0), producer_id, NOW_MS)
    # Sequences of one producer run on from 1; after the last of these they would be a gap, so the
    # state is put back there: one more update in a hundred.
    first = header_of(0, 0)
    following = [header_of(0, sequence) for sequence in range(1, 100)]

    def hundred() -> None:
        for header in following:
            assert states.check_header(header)[0] == NO_ERROR
            states.update_header(header, producers, NOW_MS)
        states.update_header(first, producers, NOW_MS)

    benchmark(hundred)
    assert len(states) == producers

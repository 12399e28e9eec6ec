"""Checks of a produced record batch (header, CRC, record framing), and decoding of its records."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tidelog._native import batch, records

pytestmark = pytest.mark.benchmark(group="native")

NOW_MS = 1_700_000_000_000
LIMITS: batch.Limits = (1 << 30, 1 << 62, 1 << 62, False, False, -1)
PRODUCE_VERSION = 9


def make_batch(count: int, value_bytes: int) -> bytearray:
    """A batch of `count` equal records, as an ordinary producer sends it."""
    value = b"v" * value_bytes
    data = records.encode_records([(NOW_MS, None, value, ())] * count, NOW_MS, 61)
    records.put_header(data, 0, -1, 0, count - 1, NOW_MS, NOW_MS, -1, -1, -1, count)
    return data


@pytest.mark.parametrize(("count", "value_bytes"), [(1, 180), (16, 1000), (1000, 1000)])
def test_check(benchmark: BenchmarkFixture, count: int, value_bytes: int) -> None:
    data = make_batch(count, value_bytes)
    error, header, *_ = benchmark(batch.check, data, PRODUCE_VERSION, NOW_MS, LIMITS)
    assert error == 0
    assert header.records_count == count


def test_decode_records(benchmark: BenchmarkFixture) -> None:
    data = make_batch(1000, 100)
    header = batch.parse(data)
    assert header is not None
    assert len(benchmark(records.decode_records, bytes(data[61:]), header)) == 1000

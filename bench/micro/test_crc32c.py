"""CRC-32C over payloads of the sizes that record batches have."""

from __future__ import annotations

import os

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tidelog._native.crc32c import crc32c

pytestmark = pytest.mark.benchmark(group="native")


@pytest.mark.parametrize("size", [255, 16 << 10, 1 << 20])
def test_crc32c(benchmark: BenchmarkFixture, size: int) -> None:
    data = os.urandom(size)
    benchmark.extra_info["bytes"] = size
    # The checksum of two halves in turn is that of the whole.
    assert benchmark(crc32c, data) == crc32c(data[size // 2 :], crc32c(data[: size // 2]))

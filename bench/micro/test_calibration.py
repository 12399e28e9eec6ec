"""What this machine does at this moment, without a line of Tidelog; the rest is told as multiples.

`python`: a loop of the interpreter. `native`: compiled code in the cache (zlib's CRC-32). `disk`:
writes of 16 KiB to a new file, as far as the page cache.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

WRITES = 200


@pytest.mark.benchmark(group="calibration")
def test_python(benchmark: BenchmarkFixture) -> None:
    def loop() -> int:
        found: dict[int, list[int]] = {}
        for number in range(200):
            found.setdefault(number % 7, []).append(number)
        return sum(map(len, found.values()))

    assert benchmark(loop) == 200


@pytest.mark.benchmark(group="calibration")
def test_native(benchmark: BenchmarkFixture) -> None:
    data = bytes(range(256)) * 64
    assert benchmark(zlib.crc32, data) == zlib.crc32(data[256:], zlib.crc32(data[:256]))


@pytest.mark.benchmark(group="calibration")
def test_disk(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    data = bytes(16_384)
    path = tmp_path / "file"

    def before() -> None:
        path.unlink(missing_ok=True)

    def write() -> None:
        file = os.open(path, os.O_CREAT | os.O_WRONLY)
        for number in range(WRITES):
            os.pwrite(file, data, number * len(data))
        os.close(file)

    benchmark.pedantic(write, setup=before, rounds=8, warmup_rounds=2)  # type: ignore[no-untyped-call]
    assert path.stat().st_size == WRITES * len(data)

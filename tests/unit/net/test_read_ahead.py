"""Warming of cold ranges."""

from __future__ import annotations

import asyncio
import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidelog.net.read_ahead import ReadAhead, read_range


def test_reads_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 700_000)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert read_range(fd, 0, 700_000) == 700_000
        assert read_range(fd, 600_000, 700_000) == 100_000
        assert read_range(fd, 10, 0) == 0
    finally:
        os.close(fd)


@pytest.mark.parametrize("broken", [False, True])
async def test_calls_back_on_the_loop_though_the_reading_fails(
    tmp_path: Path, broken: bool
) -> None:
    loop = asyncio.get_running_loop()
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1000)
    fd = os.open(path, os.O_WRONLY if broken else os.O_RDONLY)
    called = loop.create_future()
    with ThreadPoolExecutor(1) as executor:
        gc.collect()  # of other tests' sockets: not while descriptors are counted
        before = len(os.listdir("/proc/self/fd"))
        ReadAhead(loop, executor).warm(fd, 0, 1000, lambda: called.set_result(None))
        await asyncio.wait_for(called, 10)
        assert len(os.listdir("/proc/self/fd")) == before
    os.close(fd)


async def test_without_a_descriptor_or_a_helper_it_calls_back_all_the_same(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor(1)
    path = tmp_path / "f"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        executor.shutdown()
        for fd in (-1, file.fileno()):
            called = loop.create_future()
            ReadAhead(loop, executor).warm(fd, 0, 1, lambda done=called: done.set_result(None))
            await asyncio.wait_for(called, 10)

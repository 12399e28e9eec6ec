"""Warming of cold ranges."""

from __future__ import annotations

import asyncio
import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidelog.net.read_ahead import ReadAhead, Windows, read_range

SLICE = 256 * 1024
FILE = (1, 7)


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


def test_a_reader_that_goes_on_has_more_and_more_begun_ahead_of_it() -> None:
    windows = Windows()
    ahead, at = [], 0
    begun = 0
    for _ in range(200):
        begin, end = windows.next(FILE, at, at + SLICE)
        assert begin >= begun  # nothing twice
        if begin < end:
            assert begin == begun  # no gap
            begun = end
            ahead.append(end - (at + SLICE))
        assert begun >= at + SLICE
        at += SLICE
    assert ahead[0] == 0
    assert ahead[1] < ahead[2] < ahead[3]
    assert max(ahead) == ahead[-1] == 8 << 20
    assert len(ahead) < 60  # not in crumbs


def test_one_who_jumps_has_nothing_begun_ahead_of_it() -> None:
    windows = Windows()
    for at in (500 << 20, 0, 900 << 20, 300 << 20):
        assert windows.next(FILE, at, at + SLICE) == (at, at + SLICE)


def test_one_who_begins_again_gets_everything_again() -> None:
    windows = Windows()
    for at in range(0, 100 * SLICE, SLICE):
        windows.next(FILE, at, at + SLICE)
    assert windows.next(FILE, 0, SLICE) == (0, SLICE)


def test_few_files_are_remembered() -> None:
    windows = Windows()
    windows.next(FILE, 0, SLICE)
    for inode in range(1000, 2000):
        windows.next((1, inode), 0, SLICE)
    assert windows.next(FILE, SLICE, 2 * SLICE) == (SLICE, 2 * SLICE)


async def test_without_proc_it_reads_through_the_same_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1000)
    file_open = os.open

    def refuse(name: str, flags: int) -> int:
        if str(name).startswith("/proc/"):
            raise FileNotFoundError(name)
        return file_open(name, flags)

    read = []
    pread = os.preadv
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "preadv", lambda *args: read.append(pread(*args)) or read[-1])
    loop = asyncio.get_running_loop()
    called = loop.create_future()
    with path.open("rb") as file, ThreadPoolExecutor(1) as executor:
        ReadAhead(loop, executor).warm(file.fileno(), 0, 1000, lambda: called.set_result(None))
        await asyncio.wait_for(called, 10)
    assert sum(read) == 1000


def test_a_reader_whose_pages_are_there_has_the_next_ones_begun() -> None:
    windows = Windows()
    for at in range(0, 40 * SLICE, SLICE):  # the window is as large as it gets
        _, end = windows.next(FILE, at, at + SLICE)
        begun = max(end, SLICE)
    at = begun - (4 << 20)
    begin, end = windows.next(FILE, at, at)
    assert (begin, end) == (begun, at + (8 << 20))
    assert windows.next(FILE, at + SLICE, at + SLICE) == (end, end)


async def test_nobody_waits_for_what_is_only_begun(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 3_000_000)
    with path.open("rb") as file, ThreadPoolExecutor(1) as executor:
        before = len(os.listdir("/proc/self/fd"))
        ReadAhead(asyncio.get_running_loop(), executor).warm(file.fileno(), 0, 0, None)
        executor.shutdown()
        assert len(os.listdir("/proc/self/fd")) == before

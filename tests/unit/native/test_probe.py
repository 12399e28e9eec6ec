"""The native loops of `tidelog profile`: what they do to a file and over a socket, counted."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidelog._native.probe import MAX_WINDOW_BYTES, MAX_WRITERS, FileLoop, Stream, group_commit
from tidelog.benchmarks.histogram import Histogram
from tidelog.profiling.peer import configured

NO_LIMIT = 1 << 40
LONG_S = 30.0


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_writes_fill_the_span_and_end_there(file: int) -> None:
    loop = FileLoop(file, size=1000, span=10_500, writing=True)
    found = loop.run(seconds=LONG_S, max_bytes=NO_LIMIT)
    assert (found["calls"], found["bytes"]) == (10, 10_000)
    assert os.fstat(file).st_size == 10_000
    data = os.pread(file, 20_000, 0)
    assert data[:1000] == data[9000:]
    assert len(set(data[:1000])) > 100  # nothing that a file system could leave out
    assert found["elapsed_ns"] > 0


def test_bytes_are_a_limit_and_the_next_run_goes_on(file: int) -> None:
    loop = FileLoop(file, size=1000, span=1 << 20, writing=True)
    assert loop.run(seconds=LONG_S, max_bytes=3500)["calls"] == 3
    assert loop.run(seconds=LONG_S, max_bytes=2000)["calls"] == 2
    assert os.fstat(file).st_size == 5000


def test_time_is_a_limit(file: int) -> None:
    os.ftruncate(file, 8192)
    loop = FileLoop(file, size=4096, span=8192, writing=False, wrap=True)
    found = loop.run(seconds=0.01, max_bytes=NO_LIMIT)
    assert found["calls"] > 2


@pytest.mark.parametrize("sync", ["data", "file"])
def test_syncs_are_counted_and_timed(file: int, sync: Any) -> None:
    loop = FileLoop(file, size=512, span=1 << 20, writing=True, sync=sync, timed=True)
    found = loop.run(seconds=LONG_S, max_bytes=512 * 5)
    assert found["calls"] == 5
    assert Histogram.from_buckets(*found["latency"]).count == 5


def test_random_calls_stay_within_the_span(file: int) -> None:
    os.ftruncate(file, 100 * 512)
    loop = FileLoop(file, size=512, span=64 * 512, writing=True, random=True, timed=True)
    found = loop.run(seconds=LONG_S, max_bytes=512 * 400)
    assert found["calls"] == 400
    blocks = [os.pread(file, 512, n * 512) for n in range(100)]
    assert sum(any(block) for block in blocks[:64]) > 50
    assert not any(map(any, blocks[64:]))


def test_what_the_system_refuses_is_told(file: int) -> None:
    os.ftruncate(file, 700)
    with pytest.raises(OSError) as told:
        FileLoop(file, size=512, span=1024, writing=False).run(seconds=LONG_S, max_bytes=NO_LIMIT)
    assert told.value.errno == errno.EIO  # the file is shorter than it was said
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError) as told:
            FileLoop(full, size=512, span=1024, writing=True).run(seconds=1, max_bytes=NO_LIMIT)
        assert told.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as told:
            group_commit(full, size=512, writers=4, seconds=LONG_S, max_bytes=NO_LIMIT)
        assert told.value.errno == errno.ENOSPC
    finally:
        os.close(full)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"size": 1 << 30}, {"span": 511}, {"sync": "often"}]
)
def test_wrong_loops(file: int, wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        FileLoop(file, **({"size": 512, "span": 512, "writing": True} | wrong))


def test_writers_share_syncs(file: int) -> None:
    found = group_commit(file, size=100, writers=8, seconds=LONG_S, max_bytes=100 * 200)
    assert found["writes"] == 200
    assert os.fstat(file).st_size == 200 * 100
    assert 200 / 8 <= found["syncs"] <= 200
    assert Histogram.from_buckets(*found["latency"]).count == 200


def test_everybody_writes_once_however_late(file: int) -> None:
    found = group_commit(file, size=100, writers=5, seconds=0.0, max_bytes=NO_LIMIT)
    assert found["writes"] == 5


def test_one_writer_syncs_for_itself(file: int) -> None:
    found = group_commit(file, size=100, writers=1, seconds=LONG_S, max_bytes=100 * 7)
    assert (found["writes"], found["syncs"]) == (7, 7)
    for wrong in (0, MAX_WRITERS + 1):
        with pytest.raises(ValueError):
            group_commit(file, size=100, writers=wrong, seconds=1, max_bytes=1000)


def test_signals_are_seen(file: int) -> None:
    os.ftruncate(file, 4096)
    loop = FileLoop(file, size=4096, span=4096, writing=False, wrap=True)
    here, there = pair()
    waits = Stream(here.fileno(), "sink", size=64)
    calls = (
        lambda: loop.run(seconds=LONG_S, max_bytes=NO_LIMIT),
        lambda: group_commit(file, size=64, writers=2, seconds=LONG_S, max_bytes=NO_LIMIT),
        lambda: waits.run(seconds=LONG_S, max_bytes=NO_LIMIT),
    )

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ended)
    try:
        for call in calls:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with pytest.raises(KeyboardInterrupt):
                call()
    finally:
        signal.signal(signal.SIGALRM, before)
        here.close()
        there.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return configured(one), configured(other)


def other_side(end: socket.socket, kind: Any) -> tuple[threading.Thread, dict[str, Any]]:
    """Runs it until this side has ended; what it counted is in the dictionary then."""
    found: dict[str, Any] = {}

    def work() -> None:
        found.update(Stream(end.fileno(), kind, size=64).run(seconds=LONG_S, max_bytes=NO_LIMIT))

    thread = threading.Thread(target=work)
    thread.start()
    return thread, found


@pytest.mark.parametrize(("size", "window"), [(1, 1), (64, 16), (16_384, 4)])
def test_round_trips(size: int, window: int) -> None:
    here, there = pair()
    with here, there:
        thread, echoed = other_side(there, "echo")
        stream = Stream(here.fileno(), "ping", size=size, window=window)
        found = stream.run(seconds=0.02, max_bytes=NO_LIMIT, grace_s=LONG_S)
        here.shutdown(socket.SHUT_WR)
        thread.join()
        assert found["messages"] * size == found["bytes"] == echoed["bytes"] > 0
        assert Histogram.from_buckets(*found["latency"]).count == found["messages"]
        assert echoed["ended"]


def test_a_peer_that_answers_nothing_is_given_up() -> None:
    here, there = pair()
    with here, there:
        stream = Stream(here.fileno(), "ping", size=64, window=4)
        with pytest.raises(TimeoutError):
            stream.run(seconds=0.01, max_bytes=NO_LIMIT, grace_s=0.05)
        there.close()
        with pytest.raises(ConnectionError):
            stream.run(seconds=LONG_S, max_bytes=NO_LIMIT)


@pytest.mark.parametrize("kind", ["sendfile", "read+send", "send"])
@pytest.mark.parametrize("wrap", [False, True])
def test_everything_sent_arrives(file: int, kind: Any, wrap: bool) -> None:
    os.write(file, os.urandom(100_000))
    here, there = pair()
    with here, there:
        thread, got = other_side(there, "sink")
        stream = Stream(here.fileno(), kind, size=4096, file=file, span=100_000, wrap=wrap)
        found = stream.run(seconds=LONG_S, max_bytes=200_000, grace_s=LONG_S)
        here.shutdown(socket.SHUT_WR)
        thread.join()
    whole = kind == "send" or wrap
    assert found["bytes"] == (200_704 if whole else 98_304)  # whole messages
    assert got["bytes"] == found["bytes"] == found["messages"] * 4096


def test_a_file_arrives_as_it_is(file: int) -> None:
    data = os.urandom(64 * 1024)
    os.write(file, data)
    for kind in ("sendfile", "read+send"):
        here, there = pair()
        with here, there:
            stream = Stream(here.fileno(), kind, size=1024, file=file, span=len(data))
            stream.run(seconds=LONG_S, max_bytes=NO_LIMIT, grace_s=LONG_S)
            here.shutdown(socket.SHUT_WR)
            there.settimeout(LONG_S)
            with there.makefile("rb") as stream_there:
                assert stream_there.read() == data


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("ping", {"size": 1024, "window": MAX_WINDOW_BYTES // 1024 + 1}),
        ("ping", {"window": 0}),
        ("sendfile", {}),
        ("read+send", {"file": 0, "span": 10}),
        ("sink", {"size": 1 << 30}),
        ("other", {}),
    ],
)
def test_wrong_streams(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        Stream(0, kind, **({"size": 64} | wrong))

"""Tests of flushing: order on the disk, shared flushes, failure."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.native.log_harness import filled_segment
from tidelog._native.log import LogCore
from tidelog._native.producer_state import ProducerStates
from tidelog.errors import StorageError, SyncError
from tidelog.storage.digests import read_digest
from tidelog.storage.epochs_file import EpochsFile
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.flush import Flusher, FlushWork, Pending, run_flush
from tidelog.storage.leader_epochs import LeaderEpochCache
from tidelog.storage.producer_snapshot import read_snapshot


class Recording(Files):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def sync(self, fd: int) -> None:
        self.calls.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{fd}'))}")
        super().sync(fd)

    def sync_data(self, fd: int) -> None:
        self.calls.append(f"data {os.path.basename(os.readlink(f'/proc/self/fd/{fd}'))}")
        super().sync_data(fd)

    def sync_directory(self, path: str) -> None:
        self.calls.append("directory")
        super().sync_directory(path)


def test_contents_come_before_names(tmp_path: Path) -> None:
    files = Recording()
    sealed, _ = filled_segment(tmp_path, 20)
    sealed.seal()
    active, _ = filled_segment(tmp_path, 1, base_offset=20)
    work = FlushWork(str(tmp_path), 21, [sealed], active, [(20, b"")], b"0\n0\n", True)
    run_flush(files, work)
    assert files.calls == [
        "data 00000000000000000000.log",
        "sync 00000000000000000000.index",
        "sync 00000000000000000000.timeindex",
        "sync 00000000000000000000.digest.tmp",
        "directory",
        "data 00000000000000000020.log",
        "sync leader-epoch-checkpoint.tmp",
        "directory",
        "sync 00000000000000000020.snapshot.tmp",
        "directory",
        "directory",
    ]
    assert sealed.trimmed
    digest = read_digest(str(tmp_path), 0)
    assert digest is not None
    assert (digest.size, digest.next_offset) == (sealed.size, 20)
    assert read_snapshot(str(tmp_path / "00000000000000000020.snapshot")) == []
    assert (tmp_path / "leader-epoch-checkpoint").read_bytes() == b"0\n0\n"


def test_without_durability_only_the_files_change(tmp_path: Path) -> None:
    files = Recording()
    sealed, _ = filled_segment(tmp_path, 20)
    sealed.seal()
    active, _ = filled_segment(tmp_path, 1, base_offset=20)
    work = FlushWork(str(tmp_path), 21, [sealed], active, [(20, b"")], b"0\n0\n", True)
    run_flush(files, work, durable=False)
    assert files.calls == []
    assert sealed.trimmed
    assert os.stat(sealed.offset_index.path).st_size == sealed.offset_index.size_bytes


def test_a_segment_that_ends_with_its_log_gets_no_digest(tmp_path: Path) -> None:
    active, _ = filled_segment(tmp_path, 20)
    run_flush(SYSTEM_FILES, FlushWork(str(tmp_path), 20, active=active, closing=True))
    assert active.trimmed
    assert read_digest(str(tmp_path), 0) is None


def test_nothing_to_do_is_nothing_done(tmp_path: Path) -> None:
    files = Recording()
    run_flush(files, FlushWork(str(tmp_path), 0))
    assert files.calls == []


class Gate(Files):
    """Holds every directory sync until the test lets one through."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.error: OSError | None = None

    def sync_directory(self, path: str) -> None:
        if not self.permits.acquire(timeout=20):
            raise AssertionError("nobody let the sync through")
        if self.error is not None:
            raise self.error


class Owner:
    """A log of a counter: `end` is what is appended, `flushed` what was made durable."""

    def __init__(self, gate: Gate) -> None:
        self.end = 0
        self.flushed: list[int] = []
        self.errors: list[BaseException] = []
        self.executor = ThreadPoolExecutor(2)
        self.put_back: list[int] = []
        self.flusher = Flusher(
            gate, self.executor, self.collect, self.done, self.delayed, self.errors.append
        )

    def collect(self) -> FlushWork:
        return FlushWork("/nowhere", self.end, names_changed=True)

    def done(self, work: FlushWork) -> None:
        self.flushed.append(work.end_offset)

    def delayed(self, work: FlushWork, error: OSError) -> None:
        self.put_back.append(work.end_offset)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def owner(gate: Gate) -> AsyncIterator[Owner]:
    made = Owner(gate)
    yield made
    gate.permits.release(100)
    await made.flusher.close()
    made.executor.shutdown()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_requests_during_a_flush_share_the_next_one(owner: Owner, gate: Gate) -> None:
    owner.end = 1
    first = asyncio.ensure_future(owner.flusher.flush())
    await turns()
    assert owner.flusher.running
    others = []
    for end in (2, 3, 4):
        owner.end = end
        owner.flusher.request()
        others.append(asyncio.ensure_future(owner.flusher.flush()))
        await turns()
    gate.permits.release()
    await first
    assert owner.flushed == [1]
    assert not any(other.done() for other in others)
    gate.permits.release()
    await asyncio.gather(*others)
    assert owner.flushed == [1, 4]


async def test_a_flush_covers_what_was_appended_before_it_began(owner: Owner, gate: Gate) -> None:
    owner.end = 5
    owner.flusher.request()
    owner.end = 6  # before the loop ran the request
    gate.permits.release()
    await owner.flusher.flush()
    assert owner.flushed == [6]


async def test_a_failed_flush_is_the_last(owner: Owner, gate: Gate) -> None:
    gate.error = OSError("disk")
    owner.end = 1
    first = asyncio.ensure_future(owner.flusher.flush())
    await turns()
    second = asyncio.ensure_future(owner.flusher.flush())
    await turns()
    gate.permits.release(10)
    for waiting in (first, second):
        with pytest.raises(OSError, match="disk"):
            await waiting
    gate.error = None
    with pytest.raises(OSError, match="disk"):
        await owner.flusher.flush()
    owner.flusher.request()
    await turns()
    assert (owner.flushed, len(owner.errors)) == ([], 1)


async def test_a_flush_without_a_descriptor_is_done_again(
    owner: Owner, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.storage.flush.RETRY_MS", 1)
    gate.error = OSError(errno.EMFILE, "none left")
    gate.permits.release()
    owner.end = 1
    with pytest.raises(OSError, match="none left"):
        await owner.flusher.flush()
    assert (owner.put_back, owner.flushed, owner.errors) == ([1], [], [])
    assert owner.flusher.waiting
    gate.error = None
    gate.permits.release(10)
    while not owner.flushed:
        await asyncio.sleep(0.001)
    assert (owner.flushed, owner.flusher.waiting) == ([1], False)


async def test_a_request_does_not_wait_for_the_next_try(
    owner: Owner, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.storage.flush.RETRY_MS", 3_600_000)
    gate.error = OSError(errno.ENFILE, "none left")
    gate.permits.release(10)
    owner.flusher.request()
    while not owner.flusher.waiting:
        await asyncio.sleep(0.001)
    gate.error = None
    await owner.flusher.flush()
    assert (owner.flushed, owner.flusher.waiting) == ([0], False)


async def test_a_failed_sync_is_not_done_again(owner: Owner, gate: Gate) -> None:
    gate.error = SyncError(errno.ENOSPC, "of the blocks that were promised")
    gate.permits.release()
    with pytest.raises(SyncError):
        await owner.flusher.flush()
    assert (owner.put_back, owner.errors) == ([], [gate.error])


async def test_what_a_flush_could_not_do_is_given_to_the_next(tmp_path: Path) -> None:
    cache = LeaderEpochCache()
    epochs = EpochsFile(cache, SYSTEM_FILES, _not_called, asyncio.Lock())
    pending = Pending(epochs)
    pending.snapshots = [(5, b"five")]
    pending.names_changed = True
    cache.assign(1, 3)
    epochs.note_change()
    core = LogCore(ProducerStates(verify_transactions=False), None)
    first = pending.take("/somewhere", core)
    assert first.epochs == cache.encode()
    pending.snapshots.append((9, b"nine"))
    assert pending.take("/somewhere", core).epochs is None
    pending.snapshots = [(9, b"nine")]
    pending.put_back(first)
    again = pending.take("/somewhere", core)
    assert again.snapshots == [(5, b"five"), (9, b"nine")]
    assert again.names_changed
    assert again.epochs == cache.encode()


async def _not_called(*_: object) -> None:
    raise AssertionError


def test_a_snapshot_that_finds_no_room_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Recording):
        def write(self, path: str, data: bytes, *, durable: bool = True) -> None:
            raise OSError(errno.ENOSPC, "full", path)

    work = FlushWork(str(tmp_path), 0, snapshots=[(3, b"")], names_changed=True)
    files = Full()
    run_flush(files, work)
    assert files.calls == ["directory"], "the rest is done"
    assert "no producer snapshot" in caplog.text


async def test_a_cancelled_waiter_harms_nobody(owner: Owner, gate: Gate) -> None:
    owner.end = 1
    one = asyncio.ensure_future(owner.flusher.flush())
    other = asyncio.ensure_future(owner.flusher.flush())
    await turns()
    one.cancel()
    gate.permits.release(2)
    await other
    assert owner.flushed[-1] == 1


async def test_the_lock_keeps_flushes_out(owner: Owner, gate: Gate) -> None:
    gate.permits.release(10)
    async with owner.flusher.lock:
        owner.end = 1
        waiting = asyncio.ensure_future(owner.flusher.flush())
        await turns(20)
        assert owner.flushed == []
        owner.end = 2
    await waiting
    assert owner.flushed == [2]


async def test_close_waits_for_the_flush_under_way(owner: Owner, gate: Gate) -> None:
    owner.end = 1
    owner.flusher.request()
    await turns()
    closing = asyncio.ensure_future(owner.flusher.close())
    await turns()
    assert not closing.done()
    gate.permits.release()
    await closing
    assert owner.flushed == [1]
    with pytest.raises(StorageError):
        await owner.flusher.flush()


def test_the_system_files_are_enough(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 3)
    run_flush(SYSTEM_FILES, FlushWork(str(tmp_path), 3, active=segment, names_changed=True))

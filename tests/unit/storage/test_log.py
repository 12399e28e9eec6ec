"""Tests of PartitionLog: rolling, flushing, retention, truncation, failure, the end."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, batch
from tests.unit.storage.log_fixtures import LogHarness, turns, until
from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog.errors import KafkaError, StorageError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import Producer
from tidelog.storage.log import PartitionLog
from tidelog.storage.producer_snapshot import read_snapshot

SIZE = len(batch())


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LogHarness]:
    made = LogHarness(str(tmp_path), internal_segment_bytes=str(SIZE * 3), file_delete_delay_ms="0")
    made.clock.now_ms = NOW
    yield made
    await made.close()


def bases(log: PartitionLog) -> list[int]:
    return [segment.base_offset for segment in log.core.segment_list]


def names(harness: LogHarness, suffix: str = "") -> list[str]:
    return sorted(name for name in os.listdir(harness.directory) if name.endswith(suffix))


async def fill(harness: LogHarness, log: PartitionLog, count: int) -> None:
    for i in range(count):
        await harness.produce(log, batch(timestamp=NOW + i))


# ---- rolling


async def test_a_new_log_has_no_files_until_the_first_append(harness: LogHarness) -> None:
    log = harness.open()
    assert (log.core.log_end_offset, log.size_bytes, log.read_bytes(0, 100)) == (0, 0, b"")
    assert log.offset_for_timestamp(0) is None
    assert log.max_timestamp_offset() is None
    assert names(harness) == []
    assert await harness.produce(log, batch()) == 0
    assert names(harness, ".log") == ["00000000000000000000.log"]


async def test_a_new_log_survives_being_closed_without_files(harness: LogHarness) -> None:
    log = harness.open(log_start_offset=5)
    await log.close()
    log = harness.open(clean=True, log_start_offset=5)
    assert (log.core.log_start_offset, log.core.log_end_offset) == (5, 5)
    assert await harness.produce(log, batch()) == 5
    assert names(harness, ".log") == ["00000000000000000005.log"]


async def test_appends_roll_and_snapshots_stand_at_the_new_segments(harness: LogHarness) -> None:
    log = harness.open()
    for i in range(7):
        await harness.produce(log, batch(producer=Producer(1, 0, i)))
    assert bases(log) == [0, 3, 6]
    await log.flush()
    assert names(harness, ".snapshot") == [f"{3:020d}.snapshot", f"{6:020d}.snapshot"]
    entries = read_snapshot(os.path.join(harness.directory, f"{3:020d}.snapshot"))
    assert [entry[:4] for entry in entries] == [(1, 0, 2, 2)]


async def test_a_roll_flushes_what_it_closes(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 4)
    await until(lambda: log.core.recovery_point >= 3)
    old = log.core.segment_list[0]
    assert old.trimmed
    assert os.stat(old.offset_index.path).st_size == old.offset_index.size_bytes


async def test_concurrent_rolls_are_one(harness: LogHarness) -> None:
    """Several connections were told NEEDS_ROLL for the same segment."""
    log = harness.open()
    for _ in range(3):
        assert log.core.produce(batch(), 0, 9, NOW)[0] == STATUS_NEEDS_ROLL
    await asyncio.gather(*(log.roll() for _ in range(3)))
    assert bases(log) == [0]
    await fill(harness, log, 3)
    assert log.core.produce(batch(), 0, 9, NOW)[0] == STATUS_NEEDS_ROLL
    first, second = (asyncio.ensure_future(log.roll()) for _ in range(2))
    await first
    await harness.produce(log, batch())
    await second
    assert bases(log) == [0, 3]


async def test_a_cancelled_roll_is_finished_all_the_same(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 3)
    harness.files.held.add("create")
    log.core.produce(batch(), 0, 9, NOW)
    rolling = asyncio.ensure_future(log.roll())
    await turns()
    rolling.cancel()
    await turns()
    harness.files.held.clear()
    harness.files.let_go.release(10)
    await until(lambda: not log.core.rolling)
    assert bases(log) == [0, 3]
    assert await harness.produce(log, batch()) == 3


async def test_reads_go_on_during_a_roll(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 3)
    harness.files.held.add("create")
    log.core.produce(batch(), 0, 9, NOW)
    rolling = asyncio.ensure_future(log.roll())
    await turns()
    assert log.core.rolling
    assert len(log.read_bytes(0, 10**6)) == 3 * SIZE
    harness.files.let_go.release(10)
    await rolling


async def test_a_roll_does_not_wait_for_a_sync(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 3)
    harness.files.held.add("sync_data")
    log.request_flush()
    await turns()
    assert await harness.produce(log, batch()) == 3
    assert bases(log) == [0, 3]
    harness.files.held.clear()
    harness.files.let_go.release(10)
    await log.flush()
    assert log.core.recovery_point == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
async def test_no_room_for_a_segment_refuses_the_append(
    harness: LogHarness, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    log = harness.open()
    await fill(harness, log, 3)
    await log.flush()
    harness.files.errors["create"] = OSError(code, "no room")
    log.core.produce(batch(), 0, 9, NOW)
    for _ in range(3):
        with pytest.raises(StorageError):
            await log.roll(force=True)
    assert caplog.text.count("append refused topic=topic partition=3 times=1") == 1
    assert not log.offline
    end = log.core.log_end_offset
    assert log.read_bytes(end - 1, 100)
    harness.files.errors.clear()
    await log.roll(force=True)
    assert await harness.produce(log, batch()) == end


async def test_a_disk_error_at_a_new_segment_takes_the_log_offline(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 3)
    offline: list[BaseException] = []
    log.on_offline = lambda _, error: offline.append(error)
    harness.files.errors["create"] = OSError(errno.EIO, "bad disk")
    log.core.produce(batch(), 0, 9, NOW)
    with pytest.raises(StorageError):
        await log.roll()
    assert log.core.produce(batch(), 0, 9, NOW)[:2] == (1, ErrorCode.KAFKA_STORAGE_ERROR)
    assert [getattr(error, "errno", 0) for error in offline] == [errno.EIO]
    with pytest.raises(KafkaError):
        log.read_bytes(0, 100)
    with pytest.raises(KafkaError):
        log.offset_for_timestamp(0)


# ---- flushing


async def test_flush_messages_is_due_and_moves_the_flushed_offset(tmp_path: Path) -> None:
    harness = LogHarness(str(tmp_path), flush_messages="1")
    harness.clock.now_ms = NOW
    log = harness.open()
    progress: list[int] = []
    log.on_progress = lambda: progress.append(log.core.flushed_offset)
    await harness.produce(log, batch())
    assert log.core.is_flush_due()
    log.request_flush()
    await until(lambda: progress)
    assert (progress[-1], log.core.is_flush_due()) == (1, False)
    # The folder was synced with the first flush: the names of the new files are durable too.
    assert "sync_directory" in harness.files.calls
    await harness.close()


async def test_many_requests_share_few_syncs(harness: LogHarness) -> None:
    log = harness.open()
    await harness.produce(log, batch())
    await log.flush()
    harness.files.calls.clear()
    harness.files.held.add("sync_data")
    await harness.produce(log, batch())
    log.request_flush()
    await turns()
    await harness.produce(log, batch())
    waiting = [asyncio.ensure_future(log.flush()) for _ in range(20)]
    await turns()
    harness.files.let_go.release(100)
    await asyncio.gather(*waiting)
    assert harness.files.calls.count("sync_data") == 2
    assert log.core.flushed_offset == 3


async def test_flush_ms(harness: LogHarness) -> None:
    harness.config = harness.configure({"flush_ms": "1000"})
    log = harness.open()
    await harness.produce(log, batch())
    log.flush_if_older(harness.clock.monotonic_ms())
    await turns()
    assert log.core.flushed_offset == 0
    harness.clock.advance(1000)
    log.flush_if_older(harness.clock.monotonic_ms())
    await until(lambda: log.core.flushed_offset == 1)
    harness.files.calls.clear()
    harness.clock.advance(5000)
    log.flush_if_older(harness.clock.monotonic_ms())
    await turns()
    assert harness.files.calls == []


async def test_a_failed_sync_fences_the_log_for_good(harness: LogHarness) -> None:
    log = harness.open()
    await harness.produce(log, batch())
    progress: list[int] = []
    log.on_progress = lambda: progress.append(log.core.offline_error)
    harness.files.errors["sync_data"] = OSError(errno.EIO, "bad disk")
    with pytest.raises(StorageError):
        await log.flush()
    assert progress == [ErrorCode.KAFKA_STORAGE_ERROR]
    harness.files.errors.clear()
    harness.files.calls.clear()
    with pytest.raises(StorageError):
        await log.flush()
    log.request_flush()
    await turns()
    assert harness.files.calls == []
    assert (log.core.recovery_point, log.core.flushed_offset) == (0, 0)
    assert log.core.produce(batch(), 0, 9, NOW)[1] == ErrorCode.KAFKA_STORAGE_ERROR


# ---- leader epochs


async def test_epochs_are_written_and_found(harness: LogHarness) -> None:
    log = harness.open()
    log.assign_epoch(2)
    await harness.produce(log, batch(), 2)
    await harness.produce(log, batch(), 5)
    assert log.core.leader_epoch == 5
    path = Path(harness.directory, "leader-epoch-checkpoint")
    await until(lambda: path.exists() and path.read_bytes() == b"0\n2\n2 0\n5 1\n")
    assert log.end_offset_for_epoch(2) == (2, 1)
    assert log.end_offset_for_epoch(5) == (5, 2)
    assert log.end_offset_for_epoch(9) == (-1, -1)
    assert [log.epoch_for_offset(offset) for offset in (0, 1, 7)] == [2, 5, 5]
    await log.close()
    assert harness.open(clean=True).epoch_for_offset(0) == 2


async def test_epochs_become_durable_with_the_next_flush(harness: LogHarness) -> None:
    log = harness.open()
    await harness.produce(log, batch(), 1)
    path = Path(harness.directory, "leader-epoch-checkpoint")
    await until(path.exists)
    await log.flush()
    del harness.files.calls[:]
    log.assign_epoch(4)
    await until(lambda: b"4 1" in path.read_bytes())
    assert "sync_directory" not in harness.files.calls, "a killed process does not lose it"
    await harness.produce(log, batch(), 4)
    await log.flush()
    assert harness.files.calls[-2:] == ["rename", "sync_directory"]
    del harness.files.calls[:]
    await log.flush()
    assert "rename" not in harness.files.calls, "it was durable already"


# ---- removing old records


async def test_delete_records_hides_at_once_and_removes_whole_segments_later(
    harness: LogHarness,
) -> None:
    log = harness.open()
    await fill(harness, log, 8)
    assert await log.delete_records(4) == 4
    assert harness.checkpoints == 1
    assert bases(log) == [0, 3, 6]
    with pytest.raises(KafkaError):
        log.read_bytes(3, 100)
    assert await log.delete_records(2) == 4
    assert harness.checkpoints == 1
    for offset in (-1, 9):
        with pytest.raises(KafkaError) as caught:
            await log.delete_records(offset)
        assert caught.value.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    assert await log.apply_retention(NOW) == 1
    assert bases(log) == [3, 6]
    await until(lambda: len(names(harness, ".log")) == 2 and not names(harness, ".deleted"))


async def test_records_can_be_deleted_up_to_the_end(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 4)
    await log.delete_records(4)
    assert log.read_bytes(4, 100) == b""
    assert log.offset_for_timestamp(0) is None
    assert await log.apply_retention(NOW) == 1
    await log.close()
    log = harness.open(clean=True, log_start_offset=4)
    assert (log.core.log_start_offset, log.core.log_end_offset) == (4, 4)
    assert await harness.produce(log, batch()) == 4


async def test_the_high_watermark_bounds_deletion(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 8)
    log.high_watermark = lambda: 4
    with pytest.raises(KafkaError):
        await log.delete_records(5)
    harness.config = harness.configure({"retention_bytes": "0"})
    log.set_config(harness.config)
    assert await log.apply_retention(NOW) == 1
    assert bases(log) == [3, 6]


async def test_retention_of_everything_keeps_the_offsets(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 4)
    log.set_config(harness.configure({"retention_ms": "1000", "file_delete_delay_ms": "0"}))
    assert await log.apply_retention(NOW + 1000) == 0
    assert await log.apply_retention(NOW + 5000) == 2
    assert (bases(log), log.core.log_start_offset, log.core.log_end_offset) == ([4], 4, 4)
    await until(lambda: names(harness, ".log") == [f"{4:020d}.log"])
    await log.close(clean=False)
    log = harness.open()  # even a crash does not give them again
    assert (log.core.log_start_offset, log.core.log_end_offset) == (4, 4)


async def test_a_reader_keeps_a_removed_segment(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 8)
    _, segment, position, size, _ = log.core.read_region(0, 10**6, 8)
    assert segment is not None
    await log.delete_records(6)
    await log.apply_retention(NOW)
    await until(lambda: not names(harness, ".deleted"))
    assert len(segment.read_at(position, size)) == 3 * SIZE


async def test_removed_files_wait_for_their_delay(tmp_path: Path) -> None:
    harness = LogHarness(
        str(tmp_path), internal_segment_bytes=str(SIZE), file_delete_delay_ms="3600000"
    )
    log = harness.open()
    harness.clock.now_ms = NOW
    await fill(harness, log, 3)
    await log.delete_records(2)
    await log.apply_retention(NOW)
    assert len([name for name in names(harness, ".deleted") if ".digest" not in name]) == 6
    await log.close()
    assert names(harness, ".deleted") == []
    await harness.close()


async def test_expired_producers_are_forgotten(harness: LogHarness) -> None:
    log = harness.open()
    await harness.produce(log, batch(producer=Producer(1, 0, 0)))
    assert log.expire_producers(NOW + 10, 100) == 0
    assert log.expire_producers(NOW + 100, 100) == 1


# ---- truncation


async def test_truncate_to(harness: LogHarness) -> None:
    log = harness.open()
    for i in range(8):
        await harness.produce(log, batch(producer=Producer(1, 0, i)), i // 4)
    await log.flush()
    assert not await log.truncate_to(8)
    assert await log.truncate_to(4)
    assert (bases(log), log.core.log_end_offset, log.core.recovery_point) == ([0, 3], 4, 4)
    assert harness.checkpoints == 1
    assert log.end_offset_for_epoch(0) == (0, 4)
    assert log.core.leader_epoch == 0
    entry = log.core.producers.entry(1)
    assert entry is not None
    assert entry.retained[-1][0] == 3
    assert await harness.produce(log, batch(producer=Producer(1, 0, 4)), 2) == 4
    assert len(log.read_bytes(3, 10**6)) == 2 * SIZE
    await until(lambda: not names(harness, ".deleted"))
    assert names(harness, ".log") == [f"{0:020d}.log", f"{3:020d}.log"]


async def test_appends_and_rolls_wait_for_a_truncation(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 5)
    await log.flush()
    harness.files.held.add("sync_directory")
    truncating = asyncio.ensure_future(log.truncate_to(4))
    await until(lambda: "sync_directory" in harness.files.calls[-3:] and log.core.rolling)
    assert log.core.log_end_offset == 4
    assert len(log.read_bytes(3, 10**6)) == SIZE
    producing = asyncio.ensure_future(harness.produce(log, batch()))
    await turns()
    assert not producing.done()
    harness.files.held.clear()
    harness.files.let_go.release(10)
    assert await truncating
    assert await producing == 4


async def test_truncation_below_the_log_starts_anew(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 8)
    await log.delete_records(7)
    await log.apply_retention(NOW)
    assert bases(log) == [6]
    assert await log.truncate_to(2)
    assert (bases(log), log.core.log_start_offset, log.core.log_end_offset) == ([2], 2, 2)
    assert await harness.produce(log, batch()) == 2


async def test_truncate_fully_and_start_at(harness: LogHarness) -> None:
    log = harness.open()
    for i in range(4):
        await harness.produce(log, batch(producer=Producer(1, 0, i)), 1)
    await log.truncate_fully_and_start_at(100)
    assert (bases(log), log.core.log_start_offset, log.core.log_end_offset) == ([100], 100, 100)
    assert log.end_offset_for_epoch(1) == (-1, -1)
    assert log.core.producers.entry(1) is None
    assert names(harness, ".snapshot") == []
    assert await harness.produce(log, batch()) == 100


async def test_a_failed_truncation_takes_the_log_offline(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 8)
    await log.flush()
    harness.files.errors["rename"] = OSError(errno.EIO, "bad disk")
    with pytest.raises(StorageError):
        await log.truncate_to(1)
    assert log.offline


# ---- configuration


async def test_a_new_configuration_holds_for_the_next_append(harness: LogHarness) -> None:
    log = harness.open()
    await harness.produce(log, batch())
    log.set_config(harness.configure({"max_message_bytes": "10", "index_interval_bytes": "1"}))
    assert log.core.produce(batch(), 0, 9, NOW)[1] == ErrorCode.MESSAGE_TOO_LARGE
    assert log.core.active_segment is not None
    assert log.core.active_segment.index_interval_bytes == 1


async def test_jitter_is_random_and_below_its_limit(tmp_path: Path) -> None:
    harness = LogHarness(str(tmp_path), segment_jitter_ms="500", segment_ms="1000")
    harness.clock.now_ms = NOW
    log = harness.open()
    seen = set()
    for _ in range(20):
        await harness.produce(log, batch())
        log.core.produce(batch(timestamp=NOW + 10_000), 0, 9, NOW)
        await log.roll()
        seen.add(log.core.roll_jitter_ms)
    assert len(seen) > 5
    assert all(0 <= jitter < 500 for jitter in seen)
    await harness.close()


async def test_describe(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 4)
    figures = log.describe()
    assert (figures["segments"], figures["size_bytes"], figures["log_end_offset"]) == (
        2, 4 * SIZE, 4,
    )  # fmt: skip


async def test_read_bytes_gives_whole_batches(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 3)
    assert len(log.read_bytes(0, 2 * SIZE + 10)) == 2 * SIZE
    assert len(log.read_bytes(0, 1)) == SIZE
    assert len(log.read_bytes(0, 10**6, 1)) == SIZE


# ---- the end


async def test_a_clean_end_needs_no_recovery(harness: LogHarness) -> None:
    log = harness.open()
    for i in range(5):
        await harness.produce(log, batch(producer=Producer(1, 0, i)))
    await log.close()
    await log.close()
    assert log.core.recovery_point == 5
    assert f"{5:020d}.snapshot" in names(harness)
    assert names(harness, ".index") and all(
        os.path.getsize(os.path.join(harness.directory, name)) < 1000
        for name in names(harness, ".index")
    )
    again = harness.open(clean=True)
    assert again.report.verified_bytes == 0
    assert not again.report.removed_files
    assert again.core.log_end_offset == 5
    entry = again.core.producers.entry(1)
    assert entry is not None
    assert entry.retained[-1][0] == 4


async def test_a_closed_log_refuses_everything(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 1)
    await log.close()
    with pytest.raises(StorageError):
        await log.roll()
    with pytest.raises(StorageError):
        await log.flush()
    with pytest.raises(StorageError):
        await log.truncate_fully_and_start_at(0)
    assert await log.apply_retention(NOW) == 0
    assert log.core.produce(batch(), 0, 9, NOW)[1] == ErrorCode.KAFKA_STORAGE_ERROR


async def test_no_descriptor_is_left(harness: LogHarness) -> None:
    def open_here() -> int:
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        return sum(
            os.readlink(link).startswith(harness.directory)
            for link in links
            if os.path.lexists(link)
        )

    log = harness.open()
    await fill(harness, log, 7)
    assert open_here() >= 3
    await log.close()
    await until(lambda: open_here() == 0)  # a helper lets go of its last work a moment later


async def test_a_moved_log_is_out_of_use(harness: LogHarness, tmp_path: Path) -> None:
    log = harness.open()
    await fill(harness, log, 4)
    target = tmp_path.with_name(tmp_path.name + "-delete")

    def rename() -> str:
        os.rename(tmp_path, target)
        return str(target)

    await log.moved_to(rename)
    assert log.directory == str(target)
    assert log.core.offline_error
    assert not tmp_path.exists()
    os.rename(target, tmp_path)


async def test_a_close_that_fails_is_told(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 1)
    harness.files.errors["sync_data"] = OSError(errno.EIO, "bad disk")
    with pytest.raises(StorageError):
        await log.close()
    assert log.core.recovery_point == 0

"""The log without a broker: what a program sees, on real files."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import tidelog
from tidelog.errors import KafkaError, StorageError
from tidelog.log import NewRecord, PartitionLog
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import build_batch, end_txn_marker
from tidelog.record.reasons import InvalidBatchError, Reason
from tidelog.record.view import CorruptBatchError, iterate_batches
from tidelog.storage.clean_shutdown import is_clean

TIME_MS = 1_700_000_000_000


def values(log: PartitionLog, start: int | None = None, end: int | None = None) -> list[object]:
    return [record.value for record in log.records(start, end)]


def fill(log: PartitionLog, count: int, size_bytes: int = 100) -> None:
    """One batch for each record."""
    for number in range(count):
        log.append(b"%d" % number + b"." * size_bytes)


def test_it_is_found_under_the_package() -> None:
    assert tidelog.log.PartitionLog is PartitionLog


def test_records_come_back(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path / "a" / "b") as log:
        assert (log.log_start_offset, log.log_end_offset, values(log)) == (0, 0, [])
        headers = ((b"h", b"1"), (b"h", None))
        assert log.append(b"v", key=b"k", headers=headers, timestamp=TIME_MS) == 0
        assert log.append(None, key=b"k") == 1
        assert log.append_records([NewRecord(-1, None, b"x"), NewRecord(5, None, b"y")]) == (
            2, 3, False,
        )  # fmt: skip
        first, second, third, fourth = log.records()
        assert (first.offset, first.timestamp, first.key, first.value) == (0, TIME_MS, b"k", b"v")
        assert first.headers == headers
        assert (second.value, second.timestamp > TIME_MS) == (None, True)
        assert (third.timestamp > TIME_MS, fourth.timestamp, fourth.offset) == (True, 5, 3)
        assert values(log, 2) == [b"x", b"y"]
        assert values(log, 1, 3) == [None, b"x"]
        assert values(log, 4) == []
        assert "0..4" in repr(log)
    assert "closed" in repr(log)


def test_a_closed_log_opens_without_recovery(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path, topic="orders", partition=3) as log:
        fill(log, 5)
        assert (log.topic, log.partition) == ("orders", 3)
        assert log.directory == tmp_path / "orders-3"
    assert (tmp_path / "orders-3" / f"{0:020}.log").stat().st_size > 500
    assert is_clean(str(tmp_path))
    with PartitionLog.open(tmp_path, topic="orders", partition=3) as log:
        assert log.report.clean
        assert log.log_end_offset == 5
        assert log.append(b"more") == 5
        assert not is_clean(str(tmp_path))


def test_an_unclean_end_is_recovered_and_reported(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path / "log") as log:
        fill(log, 5)
        # What a killed process leaves behind, and a batch that was not written to its end.
        shutil.copytree(tmp_path / "log", tmp_path / "copy")
    torn = bytes(build_batch([NewRecord(TIME_MS, None, b"lost")], base_offset=5))[:-3]
    with (tmp_path / "copy" / "log-0" / f"{0:020}.log").open("ab") as file:
        file.write(torn)
    with PartitionLog.open(tmp_path / "copy") as log:
        assert not log.report.clean
        assert (log.report.cut_bytes, log.report.cut_at_offset) == (len(torn), 5)
        assert log.log_end_offset == 5
        assert len(values(log)) == 5


def test_one_user_at_a_time(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path), pytest.raises(StorageError, match="in use"):
        PartitionLog.open(tmp_path, topic="other")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"topic": ""}, "empty"),
        ({"topic": "a/b"}, "characters"),
        ({"partition": -1}, "partition"),
        ({"configs": {"retention.ms": "soon"}}, "retention.ms"),
        ({"configs": {"num.partitions": 3}}, "num.partitions"),
    ],
)
def test_what_there_cannot_be(tmp_path: Path, options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        PartitionLog.open(tmp_path / "log", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "log").exists()


def test_other_logs_of_the_directory_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for topic in ("one", "two"):
        with PartitionLog.open(tmp_path, topic=topic) as log:
            fill(log, 3)
    assert is_clean(str(tmp_path))
    shutil.copytree(tmp_path, tmp_path / "unclean", ignore=shutil.ignore_patterns(".kafka_clean*"))
    with caplog.at_level(logging.WARNING), PartitionLog.open(tmp_path, topic="one") as log:
        assert len(values(log)) == 3
    assert not caplog.records
    assert is_clean(str(tmp_path))
    # Two was not verified there: nobody may believe that it was.
    with PartitionLog.open(tmp_path / "unclean", topic="one") as log:
        log.append(b"more")
    assert not is_clean(str(tmp_path / "unclean"))
    for topic, count in (("one", 4), ("two", 3)):
        with PartitionLog.open(tmp_path / "unclean", topic=topic) as log:
            assert len(values(log)) == count


def test_batches_get_the_next_offsets(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path / "a") as log, PartitionLog.open(tmp_path / "b") as copy:
        log.append_records([NewRecord(TIME_MS, None, b"%d" % n) for n in range(3)])
        log.append(b"last", timestamp=TIME_MS)
        data = log.read_bytes(0)
        copy.append(b"first")
        assert copy.append_batches(data) == (1, 4, False)
        assert values(copy) == [b"first", b"0", b"1", b"2", b"last"]
        assert [b.header.base_offset for b in copy.batches()] == [0, 1, 4]
        assert [b.header.base_offset for b in copy.batches(2, 4)] == [1]


def test_a_copy_keeps_its_offsets(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path / "a", configs={"segment.bytes": 1_048_576}) as log:
        fill(log, 30, 100_000)
        log.delete_records(7)
        assert len(log.segment_base_offsets()) == 3
        marker = bytes(
            end_txn_marker(
                producer_id=1, producer_epoch=0, is_commit=True, coordinator_epoch=0,
                timestamp=TIME_MS, base_offset=30,
            )
        )  # fmt: skip
        with PartitionLog.open(tmp_path / "b", configs={"segment.bytes": 1_048_576}) as copy:
            with pytest.raises(InvalidBatchError) as refused:
                copy.append_batches(marker)
            assert refused.value.reason is Reason.CONTROL
            data = b"".join(bytes(batch.data) for batch in log.batches()) + marker
            assert copy.append_batches(data, keep_offsets=True) == (7, 30, False)
            assert values(copy) == values(log)
            assert [r.offset for r in copy.records(7)] == list(range(7, 30))
            assert [b.header.is_control for b in copy.batches(29)] == [False, True]
            with pytest.raises(KafkaError) as behind:
                copy.append_batches(data, keep_offsets=True)
            assert behind.value.error_code == ErrorCode.OFFSET_OUT_OF_RANGE


def test_bytes_that_are_no_batches(tmp_path: Path) -> None:
    good = bytes(build_batch([NewRecord(TIME_MS, None, b"v")]))
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    with PartitionLog.open(tmp_path) as log:
        for bad in (b"", b"\0" * 11, b"\xff" * 100, good[:-1], good + good[:20], good + flipped):
            for keep_offsets in (False, True):
                with pytest.raises(CorruptBatchError):
                    log.append_batches(bad, keep_offsets=keep_offsets)
        assert log.log_end_offset == 0
        assert log.append_batches(memoryview(good)).last_offset == 0


def test_refusals_change_nothing(tmp_path: Path) -> None:
    configs = {"max.message.bytes": 1000, "cleanup.policy": "compact"}
    with PartitionLog.open(tmp_path, configs=configs) as log:
        with pytest.raises(InvalidBatchError) as large:
            log.append(b"x" * 1000, key=b"k")
        assert large.value.error_code == ErrorCode.MESSAGE_TOO_LARGE
        with pytest.raises(InvalidBatchError) as keyless:
            log.append(b"x")
        assert keyless.value.reason is Reason.KEY_MISSING
        with pytest.raises(ValueError, match="compression"):
            log.append_records([NewRecord(-1, b"k", b"v")], compression="zip")
        with pytest.raises(ValueError, match="at least one"):
            log.append_records([])
        for offset in (-1, 1):
            with pytest.raises(KafkaError) as beyond:
                log.read_bytes(offset)
            assert beyond.value.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
            with pytest.raises(KafkaError):
                log.delete_records(offset)
        with pytest.raises(ValueError, match="negative"):
            log.truncate_to(-1)
        assert log.log_end_offset == 0


def test_an_idempotent_batch_is_appended_once(tmp_path: Path) -> None:
    from tidelog.record.builder import Producer

    batch = build_batch([NewRecord(TIME_MS, None, b"v")], producer=Producer(7, 0, 0))
    with PartitionLog.open(tmp_path) as log:
        assert log.append_batches(batch) == (0, 0, False)
        assert log.append_batches(batch) == (0, 0, True)
        gap = build_batch([NewRecord(TIME_MS, None, b"v")], producer=Producer(7, 0, 5))
        with pytest.raises(KafkaError) as refused:
            log.append_batches(gap)
        assert refused.value.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(tmp_path: Path, codec: str) -> None:
    records = [NewRecord(TIME_MS, None, b"a" * 1000) for _ in range(10)]
    with PartitionLog.open(tmp_path / "a") as log:
        log.append_records(records, compression=codec)
        stored = log.size_bytes
        assert stored < 3000
        assert values(log) == [b"a" * 1000] * 10
    # The log's own codec goes first.
    with PartitionLog.open(tmp_path / "b", configs={"compression.type": codec}) as log:
        log.append_records(records, compression="gzip" if codec != "gzip" else "lz4")
        assert [batch.header.codec for batch in iterate_batches(log.read_bytes(0))] != [0]
        log.roll()
        log.append_records(records)
        assert len({batch.header.codec for batch in log.batches()}) == 1
        assert values(log) == [b"a" * 1000] * 20


def test_segments_roll_and_go(tmp_path: Path) -> None:
    configs = {"segment.bytes": 1_048_576, "retention.ms": 3_600_000, "file.delete.delay.ms": 0}
    with PartitionLog.open(tmp_path, configs=configs) as log:
        assert log.segment_base_offsets() == []
        fill(log, 3)
        assert log.segment_base_offsets() == [0]
        log.roll()
        log.roll()  # a new one is new enough
        fill(log, 2)
        assert log.segment_base_offsets() == [0, 3]
        fill(log, 12, 100_000)
        assert len(log.segment_base_offsets()) == 3
        assert log.delete_records(4) == 4
        assert log.apply_retention() == 1
        assert log.segment_base_offsets()[0] == 3
        assert log.log_start_offset == 4
        assert len(values(log)) == 13
        with pytest.raises(KafkaError):
            values(log, 0)
    with PartitionLog.open(tmp_path) as log:
        assert (log.log_start_offset, log.log_end_offset) == (4, 17)


def test_truncation(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path) as log:
        fill(log, 4)
        log.roll()
        log.append_records([NewRecord(TIME_MS, None, b"x")] * 4)
        assert not log.truncate_to(8)
        assert log.truncate_to(6)
        # The batch that held 6 went as a whole.
        assert (log.log_end_offset, len(values(log))) == (6, 4)
        assert log.append(b"y") == 6
        assert log.truncate_to(2)
        assert log.append(b"z") == 2
        assert [r.offset for r in log.records()] == [0, 1, 2]
        assert log.truncate_to(0)
        assert values(log) == []
        assert log.append(b"again") == 0
    with PartitionLog.open(tmp_path) as log:
        assert values(log) == [b"again"]


def test_durable_appends(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path / "a") as log:
        log.append(b"v")
        assert log.flushed_offset == 0
        log.flush()
        assert log.flushed_offset == 1
    with PartitionLog.open(tmp_path / "b", configs={"flush.messages": 1}) as log:
        for offset in range(3):
            log.append(b"v")
            assert log.flushed_offset == offset + 1
        copy = bytes(build_batch([NewRecord(TIME_MS, None, b"v")], base_offset=3))
        log.append_batches(copy, keep_offsets=True)
        assert log.flushed_offset == 4


def test_offsets_by_time(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path) as log:
        for number in range(5):
            log.append(b"v", timestamp=TIME_MS + number * 10)
        found = log.offset_for_timestamp(TIME_MS + 15)
        assert found is not None and (found.offset, found.timestamp) == (2, TIME_MS + 20)
        assert log.offset_for_timestamp(TIME_MS + 41) is None


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidelog.storage.files import Files

    def broken(self: Files, fd: int) -> None:
        raise OSError(5, "Input/output error")

    log = PartitionLog.open(tmp_path)
    log.append(b"v")
    monkeypatch.setattr(Files, "sync_data", broken)
    with pytest.raises(StorageError, match="flush failed"):
        log.flush()
    with pytest.raises(KafkaError) as refused:
        log.append(b"w")
    assert refused.value.error_code == ErrorCode.KAFKA_STORAGE_ERROR
    with pytest.raises(StorageError, match="not closed in order"):
        log.close()
    monkeypatch.undo()
    assert not is_clean(str(tmp_path))
    with PartitionLog.open(tmp_path) as log:
        assert values(log) == [b"v"]


def test_many_threads(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path) as log, ThreadPoolExecutor(4) as pool:
        offsets = list(pool.map(lambda n: log.append(b"%d" % n), range(200)))
        assert sorted(offsets) == list(range(200))
        assert {values(log, o, o + 1)[0] for o in offsets} == {b"%d" % n for n in range(200)}


async def test_inside_of_a_coroutine(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path) as log:
        assert log.append(b"a") == 0
        assert await asyncio.to_thread(log.append, b"b") == 1
        assert values(log) == [b"a", b"b"]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    def held() -> Counter[str]:
        """Threads by name, descriptors by what they are open on."""
        gc.collect()  # what earlier tests left in cycles is none of this test's
        found = Counter(thread.name for thread in threading.enumerate())
        for descriptor in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # the listing's own
                found[re.sub(r":\[\d+\]$", "", os.readlink(f"/proc/self/fd/{descriptor}"))] += 1
        return found

    PartitionLog.open(tmp_path).close()
    before = held()
    for _ in range(5):
        with PartitionLog.open(tmp_path) as log:
            fill(log, 3)
            log.flush()
        log.close()  # again: nothing happens
    with pytest.raises(StorageError):
        (tmp_path / "meta.properties").write_text("nonsense")
        PartitionLog.open(tmp_path)
    assert held() - before == Counter()


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = PartitionLog.open(tmp_path)
    log.append(b"v")
    log.close()
    for use in (lambda: log.append(b"w"), lambda: log.log_end_offset, log.flush, log.roll):
        with pytest.raises(StorageError, match="closed"):
            use()
    assert log.directory == tmp_path / "log-0"


def test_a_forked_child_is_told(tmp_path: Path) -> None:
    with PartitionLog.open(tmp_path) as log:
        log.append(b"v")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                log.append(b"w")
            except StorageError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert values(log) == [b"v"]

"""A cleaning's work on a helper thread: bounds, stops, what the new files hold."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.unit.storage.cleaner_fixtures import Compacted, compacted
from tidelog._native.records import put_header
from tidelog.storage import cleaner_pass
from tidelog.storage.bandwidth import Bandwidth
from tidelog.storage.cleaner_pass import (
    CleaningStopped,
    CleaningTask,
    Control,
    UncleanableError,
    begin_copy,
    copy_group,
    read_keys,
    remove_cleaned,
)
from tidelog.storage.digests import compute_digest, read_digest
from tidelog.storage.loader import header_scanner


def control(rate: float = 1e308) -> Control:
    return Control(threading.Event(), Bandwidth(rate))


async def task_of(node: Compacted) -> CleaningTask:
    chosen = await node.manager.cleaner.choose()
    assert chosen is not None
    return node.manager.cleaner._task(*chosen)


async def test_a_small_log_gets_a_small_map(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(60)
        task = await task_of(node)
        records = task.first_uncleanable_offset
        assert records < task.map_slots < records * 1.2 + 5
        node.settings.log_cleaner_dedupe_buffer_size = 2400
        assert (await task_of(node)).map_slots == 100
        node.settings.log_cleaner_threads = 2
        assert (await task_of(node)).map_slots == 50


async def test_the_new_segment_has_what_a_full_one_has(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(60, keys=200)
        await node.manager.cleaner.clean_next()
        for segment in node.log.core.segment_list[:-1]:
            assert (segment.sealed, segment.trimmed) == (True, True)
            for index in (segment.offset_index, segment.time_index):
                assert os.path.getsize(index.path) == index.size_bytes
                index.check_ascending()
            digest = read_digest(node.log.directory, segment.base_offset)
            assert digest is not None
            now = compute_digest(header_scanner(segment))
            assert (digest.size, digest.batches, digest.headers) == (
                now.size, now.batches, now.headers,
            )  # fmt: skip
            assert segment.time_index.last_timestamp == segment.max_timestamp
        assert any(s.offset_index.entries for s in node.log.core.segment_list[:-1])


async def test_the_time_of_the_last_change_stays(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(20)
        last = node.log.core.segment_list[0]
        changed_ms = last.last_modified_ms
        node.clock.advance(10**9)
        await node.manager.cleaner.clean_next()
        new = node.log.core.segment_list[0]
        assert new is not last
        assert new.last_modified_ms == changed_ms
        assert os.stat(new.log_path).st_mtime_ns // 1_000_000 == changed_ms


async def test_a_stop_is_noticed_and_leaves_no_file(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        task, running = await task_of(node), control()
        indexed = read_keys(task, running)
        running.stop.set()
        with pytest.raises(CleaningStopped):
            read_keys(task, running)
        with pytest.raises(CleaningStopped):
            copy_group(
                node.files,
                task,
                running,
                begin_copy(indexed, task, control()),
                task.segments[:1],
                [],
            )
        running = control(rate=1.0)
        threading.Timer(0.05, running.stop.set).start()
        with pytest.raises(CleaningStopped):
            copy_group(
                node.files,
                task,
                running,
                begin_copy(indexed, task, control()),
                task.segments[:1],
                [],
            )
        assert not [name for name in node.names() if "cleaned" in name]


async def test_a_segment_that_would_become_too_large_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        task = await task_of(node)
        indexed = read_keys(task, control())
        monkeypatch.setattr(cleaner_pass, "MAX_SEGMENT_BYTES", 10)
        with pytest.raises(UncleanableError, match="too large"):
            copy_group(
                node.files, task, control(), begin_copy(indexed, task, control()), task.segments, []
            )
        assert not [name for name in node.names() if "cleaned" in name]


async def test_a_batch_that_cannot_be_opened_makes_a_log_uncleanable(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        # Without a check by the producer's path: a body that is no zstd, with a good checksum.
        data = bytearray(61) + bytearray(b"no zstd frame")
        put_header(data, 0, 0, 4, 0, 0, 0, -1, -1, -1, 1)
        await node.append(data)
        await node.seal()
        with pytest.raises(UncleanableError, match="at 0"):
            read_keys(await task_of(node), control())


async def test_removing_what_is_not_there(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        remove_cleaned(node.files, node.log.directory, 0)
        remove_cleaned(node.files, "/nowhere", 0)

"""The log cleaner on a node: what it leaves, what stops it, what it tells."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from pathlib import Path

import pytest

from tests.unit.storage.cleaner_fixtures import TOPIC_ID, Compacted, compacted, settled
from tests.unit.storage.log_fixtures import ManagerSettings, until
from tidelog._native import log_file
from tidelog.errors import KafkaError
from tidelog.record.builder import Producer, end_txn_marker
from tidelog.storage.checkpoints import CLEANER_CHECKPOINT, read_offsets
from tidelog.storage.segment_files import TXN_INDEX_SUFFIX, path_of
from tidelog.storage.txn_index import AbortedTxn, TxnIndex, decode_txns


def checkpointed(node: Compacted) -> dict[tuple[str, int], int]:
    return read_offsets(os.path.join(node.directory, CLEANER_CHECKPOINT))


async def test_the_last_record_of_each_key_is_left(tmp_path: Path) -> None:
    async with compacted(tmp_path, file_delete_delay_ms="0") as node:
        for _ in range(3):
            await node.fill(40)
            before = node.log.size_bytes
            assert await node.manager.cleaner.clean_next()
            assert node.records() == node.expected()
            assert node.log.size_bytes < before
            assert checkpointed(node) == {("t", 0): node.log.core.segment_list[-1].base_offset}
        await settled(node.log)
        assert not [name for name in node.names() if "deleted" in name or "cleaned" in name]
        assert not await node.manager.cleaner.clean_next()  # nothing is dirty
        for clean in (True, False):
            await node.restart(clean=clean)
            assert node.records() == node.expected()
            assert not node.log.report.eventful, node.log.report
            assert node.log.cleaning.cleaned_offset == node.log.core.segment_list[-1].base_offset


async def test_every_offset_can_be_asked_for(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        await node.manager.cleaner.clean_next()
        await node.fill(3, seal=False)
        left = sorted(node.records())
        for offset in range(node.log.core.log_end_offset):
            region = node.log.read_bytes(offset, 1)
            following = [found for found in left if found >= offset]
            assert region, offset
            assert node.log.core.bytes_available(offset, node.log.core.log_end_offset) > 0
            assert following


async def test_what_is_young_unstable_or_not_durable_is_left_alone(tmp_path: Path) -> None:
    async with compacted(tmp_path, min_compaction_lag_ms="5000") as node:
        await node.fill(20)
        cleaner = node.manager.cleaner
        assert await cleaner.choose() is None
        node.clock.advance(6000)
        chosen = await cleaner.choose()
        assert chosen is not None
        assert chosen[1].first_uncleanable_offset == node.log.core.segment_list[-1].base_offset
        second = node.log.core.segment_list[1]
        node.log.high_watermark = lambda: second.base_offset + 1
        chosen = await cleaner.choose()
        assert chosen is not None
        assert chosen[1].first_uncleanable_offset == second.base_offset
        node.log.high_watermark = lambda: 0
        assert await cleaner.choose() is None
        node.log.high_watermark = None
        node.log.set_config(node.config(cleanup_policy="delete"))
        assert await cleaner.choose() is None


async def test_an_open_transaction_bounds_what_is_cleaned(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(20)
        base = await node.put((b"txn", b"1"), producer=Producer(50, 0, 0), is_transactional=True)
        await node.fill(20)
        assert await node.manager.cleaner.clean_next()
        cleaned = node.log.cleaning.cleaned_offset
        assert cleaned is not None
        assert cleaned <= base
        assert node.records() == node.expected(clean_end=cleaned)


async def test_a_map_that_is_full_leaves_the_rest_to_the_next_cleaning(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        node.settings.log_cleaner_dedupe_buffer_size = 24 * 20
        await node.fill(80, keys=60)
        offsets = []
        while await node.manager.cleaner.clean_next():
            offsets.append(node.log.cleaning.cleaned_offset)
        assert len(offsets) > 2
        assert offsets == sorted(set(offsets), key=lambda offset: offset or 0)
        assert node.records() == node.expected()


async def test_deletion_markers_go_after_their_time(tmp_path: Path) -> None:
    async with compacted(tmp_path, delete_retention_ms="10000") as node:
        await node.put((b"a", b"1"), (b"b", b"1"))
        await node.put((b"a", None))
        await node.seal()
        await node.manager.cleaner.clean_next()
        assert node.records() == {1: (b"b", b"1"), 2: (b"a", None)}
        for advance, left in ((9_999, [1, 2]), (1, [1])):
            node.clock.advance(advance)
            await node.put((b"c", b"%d" % advance))
            await node.seal()
            await node.manager.cleaner.clean_next()
            assert [offset for offset in sorted(node.records()) if offset < 3] == left
        await node.restart(clean=False)
        assert 2 not in node.records()


async def test_producers_are_known_after_their_records_are_gone(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        for sequence in range(6):
            await node.put((b"a", b"%d" % sequence), producer=Producer(9, 1, sequence))
        await node.put((b"a", b"last"))
        await node.seal()
        await node.manager.cleaner.clean_next()
        assert node.records() == {6: (b"a", b"last")}
        for name in node.names():
            if name.endswith(".snapshot"):
                os.unlink(os.path.join(node.log.directory, name))
        await node.restart(clean=False)
        entry = node.log.core.producers.entry(9)
        assert entry is not None
        assert [kept[0] for kept in entry.retained] == [5]
        await node.put((b"b", b""), producer=Producer(9, 1, 6))


async def test_times_lead_to_records_that_are_there(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        for sequence in range(30):
            node.clock.advance(50)
            key = b"key-%d" % (sequence % 4)
            await node.put((key, b"v" * 50), producer=Producer(sequence % 3, 0, sequence // 3))
        node.clock.advance(1000)
        await node.put((b"key-0", b"old"), producer=Producer(7, 0, 0))
        node.clock.now_ms -= 500
        await node.put((b"key-0", b"new"))
        await node.seal()
        await node.manager.cleaner.clean_next()
        empty = [b for b in node.batches() if not b.header.records_count]
        assert len(empty) >= 2
        times = {
            record.offset: record.timestamp
            for batch in node.batches()
            for record in batch.records()
        }
        for timestamp in range(min(times.values()) - 10, max(times.values()) + 100, 7):
            found = node.log.offset_for_timestamp(timestamp)
            later = [offset for offset, time in sorted(times.items()) if time >= timestamp]
            assert (found and found.offset) == (later[0] if later else None)
        newest = node.log.max_timestamp_offset()
        assert newest is not None
        assert newest.timestamp == max(times.values())
        for restart in (False, True):
            if restart:
                await node.restart(clean=False)
            found_times = [segment.max_timestamp for segment in node.log.core.segment_list]
            assert max(found_times) == max(times.values())


async def test_aborted_data_go_and_then_their_marker(tmp_path: Path) -> None:
    async with compacted(tmp_path, delete_retention_ms="10000") as node:
        await node.put((b"a", b"kept"))
        base = await node.put((b"a", b"no"), producer=Producer(50, 0, 0), is_transactional=True)
        marker = bytearray(
            end_txn_marker(
                producer_id=50,
                producer_epoch=0,
                is_commit=False,
                coordinator_epoch=0,
                timestamp=node.clock.wall_ms(),
            )
        )
        at = await node.append_fetched(marker)
        node.appended.append((None, None))
        await node.put((b"z", b""), producer=Producer(50, 0, 1), is_transactional=False)
        txn = AbortedTxn(50, base, at, at + 1)
        index = path_of(node.log.directory, 0, TXN_INDEX_SUFFIX)
        await node.seal()
        node.log.core.producers.on_high_watermark(node.log.core.log_end_offset)
        await node.manager.cleaner.clean_next()
        assert node.records() == {0: (b"a", b"kept"), 3: (b"z", b"")}
        assert [batch.header.last_offset for batch in node.batches()] == [0, at, 3]
        assert decode_txns(Path(index).read_bytes(), index) == [txn]
        (first, *_) = node.log.core.segment_list
        assert isinstance(first.txn_index, TxnIndex)
        assert (first.txn_index.entries, first.txn_index.path) == ([txn], index)
        for advance, left in ((0, [0, at, 3]), (10_001, [0, 3])):
            node.clock.advance(advance)
            await node.put((b"other", b"%d" % advance))
            await node.seal()
            await node.manager.cleaner.clean_next()
            found = [batch.header.last_offset for batch in node.batches()]
            assert [offset for offset in found if offset < 4] == left
            assert not Path(index).exists()
            assert node.log.core.segment_list[0].txn_index is None


async def test_readers_keep_the_segment_that_they_read(tmp_path: Path) -> None:
    """Also one whose file was closed meanwhile: its name is another segment's soon."""
    async with compacted(tmp_path, file_delete_delay_ms="0") as node:
        await node.fill(20)
        old = node.log.core.segment_list[:-1]
        data = [segment.read_at(0, segment.size) for segment in old]
        limit = log_file.stats()[1]
        try:
            log_file.set_limit(1)
            await node.manager.cleaner.clean_next()
            await settled(node.log)
            assert node.log.core.segment_list[0] is not old[0]
            assert [segment.read_at(0, segment.size) for segment in old] == data
            assert node.records() == node.expected()
        finally:
            log_file.set_limit(limit)


async def test_what_is_not_durable_is_left_alone(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        node.files.held.add("sync_data")
        await node.fill(20, seal=False)
        await node.log.roll(force=True)
        assert await node.manager.cleaner.choose() is None
        node.files.held.clear()
        node.files.let_go.release(100)
        await node.log.flush()
        assert await node.manager.cleaner.choose() is not None


async def test_the_end_of_what_was_cleaned_stays_known(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.put((b"a", b"1"), (b"b", b"1"))
        await node.put((None, b"without a key"))
        await node.seal()
        await node.manager.cleaner.clean_next()
        last = node.batches()[-1].header
        assert (last.last_offset, last.records_count) == (2, 0)
        assert node.manager.cleaner.stats.keyless_records == 1


async def test_a_log_start_that_moves_meanwhile_stays(tmp_path: Path) -> None:
    async with compacted(tmp_path, cleanup_policy="compact,delete") as node:
        await node.fill(40)
        node.files.held.add("sync_data")
        cleaning = asyncio.ensure_future(node.manager.cleaner.clean_next())
        await until(lambda: "sync_data" in node.files.calls and node.log.cleaning.running)
        start = node.log.core.segment_list[3].base_offset
        assert await node.log.delete_records(start) == start
        assert await node.log.apply_retention(node.clock.wall_ms()) == 0  # not while it is cleaned
        node.files.held.clear()
        node.files.let_go.release(1000)
        assert await cleaning
        assert node.log.core.log_start_offset == start
        expected = {offset: value for offset, value in node.expected().items() if offset >= start}
        found = {offset: value for offset, value in node.records().items() if offset >= start}
        assert found == expected


async def test_retention_comes_when_a_cleaning_is_done(tmp_path: Path) -> None:
    async with compacted(tmp_path, cleanup_policy="compact,delete", retention_ms="1000") as node:
        await node.fill(20)
        node.clock.advance(5000)
        await node.fill(20)
        assert await node.manager.cleaner.clean_next()
        assert node.log.core.log_start_offset > 0
        assert node.records() == {
            offset: value
            for offset, value in node.expected().items()
            if offset >= node.log.core.log_start_offset
        }


@pytest.mark.parametrize("what", ["truncate", "truncate fully", "delete", "close", "policy"])
async def test_who_changes_the_log_stops_its_cleaning(tmp_path: Path, what: str) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(60)
        log, cleaner = node.log, node.manager.cleaner
        # So slow that it would take for ever.
        cleaner._bandwidth.bytes_per_second = 1.0 if what != "policy" else 1e9
        cleaning = asyncio.ensure_future(cleaner.clean_next())
        await until(lambda: log.cleaning.running)
        limit = log.core.segment_list[2].base_offset
        if what == "truncate":
            await log.truncate_to(limit)
            assert not log.cleaning.running
            assert set(node.records()) == set(range(limit))
            assert log.cleaning.may_begin
        elif what == "truncate fully":
            await log.truncate_fully_and_start_at(500)
            assert log.core.log_end_offset == 500
        elif what == "delete":
            await node.manager.delete(log)
        elif what == "close":
            await node.manager.close()
        else:
            log.set_config(node.config(cleanup_policy="delete"))
        assert await cleaning is False
        assert cleaner.stats.stopped == 1
        assert log.cleaning.problem == ""
        assert not [n for n in os.listdir(log.directory) if ".cleaned" in n or ".swap" in n]
        if what in ("delete", "close"):
            node.manager._logs.clear()


async def test_a_truncation_below_the_checkpoint_takes_it_along(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        await node.manager.cleaner.clean_next()
        limit = node.log.core.segment_list[-1].base_offset - 1
        await node.log.truncate_to(limit)
        cleaned = node.log.cleaning.cleaned_offset
        assert cleaned is not None
        assert cleaned <= limit
        assert checkpointed(node) == {("t", 0): cleaned}


async def test_a_deleted_topic_leaves_nothing_in_the_checkpoint(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        await node.manager.cleaner.clean_next()
        await node.manager.delete(node.log)
        again = await node.manager.create("t", TOPIC_ID[::-1], 0, node.config())
        assert again.cleaning.cleaned_offset is None
        await node.manager.checkpoint()
        assert checkpointed(node) == {}


async def test_damage_makes_a_log_uncleanable_and_stays_readable_as_such(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        segment = node.log.core.segment_list[1]
        with open(segment.log_path, "r+b") as file:
            file.seek(segment.size - 3)
            file.write(b"\xff\x00\xff")
        with caplog.at_level(logging.ERROR):
            assert await node.manager.cleaner.clean_next() is False
        assert "cleaning failed topic=t partition=0 again=no" in caplog.text
        assert not node.log.offline
        assert await node.manager.cleaner.choose() is None
        assert node.manager.cleaner.stats.uncleanable_logs == 1
        assert node.log.core.segment_list[1] is segment
        assert ".cleaned" not in "".join(node.names())
        # Known damage is not even looked at.
        node.log.cleaning.problem = ""
        node.log.cleaning.not_before_ms = 0
        node.log.core.segment_list[0].set_damaged([0])
        assert await node.manager.cleaner.clean_next() is False
        assert "is damaged" in node.log.cleaning.problem
        with pytest.raises(KafkaError):
            node.log.read_bytes(0, 100)


async def test_want_of_room_puts_a_cleaning_off(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        before = node.records()
        node.files.errors["create"] = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert await node.manager.cleaner.clean_next() is False
        assert not node.log.offline
        assert node.records() == before
        assert await node.manager.cleaner.choose() is None
        node.files.errors.clear()
        node.clock.advance(node.settings.log_cleaner_backoff_ms + 1)
        assert await node.manager.cleaner.clean_next()
        assert node.records() == node.expected()


async def test_a_swap_that_fails_takes_the_log_offline(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        await node.manager.checkpoint()
        node.files.errors["rename"] = OSError(errno.EIO, os.strerror(errno.EIO))
        assert await node.manager.cleaner.clean_next() is False
        assert node.log.offline
        node.files.errors.clear()
        await node.restart(clean=False)
        assert node.records().items() >= node.expected().items()


async def test_the_loop_cleans_by_itself_and_follows_its_configs(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        off = ManagerSettings(log_cleaner_enable=False)
        node.manager.cleaner.configure(off)
        node.manager.cleaner.run()
        await node.fill(40)
        for _ in range(5):
            await asyncio.sleep(0)
        assert node.manager.cleaner.stats.cleanings == 0
        on = ManagerSettings(log_cleaner_backoff_ms=1, log_cleaner_threads=2)
        node.manager.cleaner.configure(on)
        await until(lambda: node.manager.cleaner.stats.cleanings)
        await node.fill(40)
        await until(lambda: node.manager.cleaner.stats.cleanings > 1)
        await until(lambda: not node.log.cleaning.running)
        stats = node.manager.cleaner.stats.as_dict()
        assert stats["bytes_before"] > stats["bytes_after"] > 0
        assert stats["records_read"] > stats["records_kept"] > 0


async def test_one_line_tells_of_each_cleaning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        segments = node.log.core.segment_list[:-1]
        with caplog.at_level(logging.INFO, "tidelog.storage.cleaner"):
            await node.manager.cleaner.clean_next()
        (line,) = [r.getMessage() for r in caplog.records if "log cleaned" in r.getMessage()]
        fields = dict(word.split("=") for word in line.split() if "=" in word)
        assert fields["topic"] == "t"
        assert int(fields["bytes_before"]) == sum(segment.size for segment in segments)
        assert int(fields["segments_before"]) == len(segments)
        assert int(fields["records_after"]) == len(node.expected())


async def test_a_checkpoint_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        await node.fill(40)
        await node.manager.cleaner.clean_next()
        await node.manager.close()
        Path(node.directory, CLEANER_CHECKPOINT).write_bytes(b"7\nnonsense")
        await node.start()
        assert node.log.cleaning.cleaned_offset is None
        assert await node.manager.cleaner.clean_next()
        assert node.records() == node.expected()


async def test_it_stops_although_its_configs_change_at_that_moment(tmp_path: Path) -> None:
    """In 3.11 wait_for loses a cancellation that comes together with its result."""
    async with compacted(tmp_path) as node:
        cleaner = node.manager.cleaner
        cleaner.configure(ManagerSettings(log_cleaner_enable=False))
        cleaner.run()
        for _ in range(5):
            await asyncio.sleep(0)  # it waits for a change now
        cleaner.configure(ManagerSettings(log_cleaner_backoff_ms=60_000))
        await asyncio.sleep(0)
        await asyncio.wait_for(cleaner.close(), 20)

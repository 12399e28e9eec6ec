"""Aborted transactions of a log: noted with their markers, kept in files, found for readers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.storage.log_fixtures import LogHarness
from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.storage.aborted import collect_from
from tidelog.storage.log import PartitionLog
from tidelog.storage.txn_index import AbortedTxn

NOW = 1_700_000_000_000
SEGMENT_BYTES = 400  # four or five batches


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LogHarness]:
    harness = LogHarness(str(tmp_path), internal_segment_bytes=str(SEGMENT_BYTES))
    harness.clock.now_ms = NOW
    yield harness
    await harness.close()


async def data(harness: LogHarness, log: PartitionLog, producer_id: int, sequence: int) -> int:
    """One transactional record of the producer, as if the coordinator knew of it."""
    expected = log.core.producers.expect(producer_id, 0, sequence)
    assert expected is not None
    assert log.core.producers.verified(producer_id, expected)
    record = NewRecord(NOW, None, b"x" * 20)
    producer = Producer(producer_id, 0, sequence)
    return await harness.produce(
        log, build_batch([record], producer=producer, is_transactional=True)
    )


async def end(harness: LogHarness, log: PartitionLog, producer_id: int, commit: bool) -> int:
    """The marker; returns its offset."""
    marker = end_txn_marker(
        producer_id=producer_id,
        producer_epoch=0,
        is_commit=commit,
        coordinator_epoch=1,
        timestamp=NOW,
    )
    while True:
        status, code, base, _ = log.core.append_batch(bytearray(marker), 0, NOW)
        if status != STATUS_NEEDS_ROLL:
            assert code == 0
            log.core.producers.on_high_watermark(log.core.log_end_offset)
            return base
        await log.roll()


def found(log: PartitionLog, fetch_offset: int = 0, upper: int = 2**62) -> list[AbortedTxn]:
    return collect_from(log.core.segment_list, fetch_offset, upper)


async def script(harness: LogHarness, log: PartitionLog) -> list[AbortedTxn]:
    """Three producers' transactions, which overlap each other and the segments' borders."""
    expected = []
    first = {}
    sequences = dict.fromkeys((7, 8, 9), 0)
    script_of_steps = "7d 8d 7d 7a 9d 8d 8c 7d 9d 9a 7d 7d 7a 8d 9d 9c 8d 8a 7d"
    for step in script_of_steps.split():
        producer_id, what = int(step[0]), step[1]
        if what == "d":
            offset = await data(harness, log, producer_id, sequences[producer_id])
            sequences[producer_id] += 1
            first.setdefault(producer_id, offset)
            continue
        began = first.pop(producer_id)
        offset = await end(harness, log, producer_id, what == "c")
        if what == "a":
            stable = min([*first.values(), offset + 1])
            expected.append(AbortedTxn(producer_id, began, offset, stable))
    return expected


async def test_what_was_aborted_is_found(harness: LogHarness) -> None:
    log = harness.open()
    expected = await script(harness, log)
    assert len(expected) == 4
    assert len(log.core.segment_list) > 3
    assert found(log) == expected
    for fetch in range(log.core.log_end_offset):
        for upper in range(fetch + 1, log.core.log_end_offset + 1):
            wanted = [
                txn for txn in expected if txn.last_offset >= fetch and txn.first_offset < upper
            ]
            assert found(log, fetch, upper) == wanted, (fetch, upper)
    assert log.core.producers.first_unstable_offset_value == 18  # 7's last one is open


@pytest.mark.parametrize("clean", [True, False])
async def test_the_next_opening_knows_it(harness: LogHarness, clean: bool) -> None:
    log = harness.open()
    expected = await script(harness, log)
    if not clean:
        await log.flush()
        expected.append(AbortedTxn(7, 18, await end(harness, log, 7, False), 20))
    await log.close(clean=clean)
    again = harness.open(clean=clean)
    assert found(again) == expected
    again.core.producers.on_high_watermark(again.core.log_end_offset)
    assert again.core.producers.first_unstable_offset_value == (18 if clean else -1)
    await again.close()
    if not clean:
        assert found(harness.open(clean=True)) == expected


@pytest.mark.parametrize("how", ["cut", "garbage"])
async def test_an_index_that_cannot_be_read_is_made_again(harness: LogHarness, how: str) -> None:
    log = harness.open()
    expected = await script(harness, log)
    await log.close()
    indexes = sorted(Path(harness.directory).glob("*.txnindex"))
    assert len(indexes) > 1
    content = indexes[0].read_bytes()
    indexes[0].write_bytes(content[:-1] if how == "cut" else b"\xff" * len(content))
    again = harness.open(clean=True)
    assert found(again) == expected
    await again.close()
    assert indexes[0].read_bytes() == content


async def test_truncation_takes_what_it_cuts(harness: LogHarness) -> None:
    log = harness.open()
    expected = await script(harness, log)
    for cut in range(log.core.log_end_offset - 1, 0, -1):
        await log.truncate_to(cut)
        wanted = [txn for txn in expected if txn.last_offset < cut]
        assert found(log) == wanted, cut
    await log.close()


async def test_retention_takes_the_files(harness: LogHarness) -> None:
    log = harness.open()
    await script(harness, log)
    await log.flush()
    log.high_watermark = lambda: log.core.log_end_offset
    await log.delete_records(log.core.log_end_offset)
    await log.apply_retention(NOW)
    (left,) = log.core.segment_list
    assert found(log, log.core.log_start_offset) == []
    names = [name for name in os.listdir(harness.directory) if name.endswith(".txnindex")]
    assert {int(name[:20]) for name in names} <= {left.base_offset}


async def test_a_reader_is_told_of_what_its_region_holds(harness: LogHarness) -> None:
    """By the index's steps, so that it may be told of one too many, never of one too few."""
    log = harness.open()
    await script(harness, log)
    for segment in log.core.segment_list:
        offset = segment.base_offset
        while offset < segment.next_offset:
            at = segment.find(offset)
            assert at is not None
            position, size, base = at
            assert segment.offset_behind(position + size) > base
            offset = base + 1
        assert segment.offset_behind(segment.size) == segment.next_offset

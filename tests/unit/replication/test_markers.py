"""Markers in a log: once, in order, fenced, and what they do to the last stable offset."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.native.lane_harness import NOW_MS
from tests.unit.replication.transactions import Led
from tidelog._native import partition as native
from tidelog.clock import ManualClock
from tidelog.errors import KafkaError
from tidelog.record.view import iterate_batches
from tidelog.replication.markers import Marker, write_marker

COMMIT = Marker(7, 0, True, 1)
ABORT = COMMIT._replace(is_commit=False)


@pytest.fixture
async def led(tmp_path: Path) -> Led:
    return await Led(tmp_path, segment_bytes=300).lead()


async def mark(led: Led, marker: Marker) -> bool:
    return await write_marker(led, led.partition, marker, ManualClock(NOW_MS))  # type: ignore[arg-type]


async def code_of(led: Led, marker: Marker) -> int:
    with pytest.raises(KafkaError) as caught:
        await mark(led, marker)
    return caught.value.error_code


def controls(led: Led) -> list[tuple[int, int, tuple[int, int] | None]]:
    """(offset, producer epoch, (type, coordinator epoch)) of every marker in the log."""
    found = []
    for segment in led.core.segment_list:
        for batch in iterate_batches(segment.read_at(0, segment.size)):
            if batch.header.is_control:
                header = batch.header
                found.append((header.base_offset, header.producer_epoch, batch.control()))
    return found


async def test_a_marker_ends_the_transaction(led: Led) -> None:
    assert await led.begin(7, 0) == 0
    assert await led.write(7, 0, 1) == 1
    assert (led.partition.high_watermark, led.partition.stable_offset) == (2, 0)
    assert await mark(led, COMMIT)
    assert (led.partition.high_watermark, led.partition.stable_offset) == (3, 3)
    assert controls(led) == [(2, 0, (1, 1))]
    assert not led.core.producers.is_open(7, 0)
    assert await led.write(7, 0, 2) == -48  # the next transaction is not known yet


async def test_the_first_open_transaction_holds_the_stable_offset(led: Led) -> None:
    assert await led.begin(7, 0) == 0
    assert await led.begin(8, 0) == 1
    await mark(led, COMMIT._replace(producer_id=8))
    assert led.partition.stable_offset == 0
    await mark(led, ABORT)
    assert led.partition.stable_offset == led.partition.high_watermark == 4


async def test_a_repeated_marker_is_not_written_again(led: Led) -> None:
    await led.begin(7, 0)
    answers = await asyncio.gather(*(mark(led, COMMIT) for _ in range(5)))
    assert sorted(answers) == [False] * 4 + [True]
    assert len(controls(led)) == 1


async def test_a_marker_of_a_transaction_without_records_here_fences_all_the_same(
    led: Led,
) -> None:
    assert await mark(led, ABORT._replace(producer_epoch=3))
    expected = led.core.producers.expect(7, 2, 0)
    assert expected is not None
    led.core.producers.verified(7, expected)
    assert await led.write(7, 2, 0) == -47


async def test_older_coordinators_and_epochs_are_refused(led: Led) -> None:
    await led.begin(7, 4)
    assert await code_of(led, COMMIT._replace(producer_epoch=3)) == 47
    assert await mark(led, COMMIT._replace(producer_epoch=4, coordinator_epoch=5))
    await led.begin(7, 4, 1)
    assert await code_of(led, COMMIT._replace(producer_epoch=4, coordinator_epoch=4)) == 52


async def test_from_version_2_on_a_marker_needs_a_newer_epoch(led: Led) -> None:
    """A late marker of one transaction cannot end the next one (KIP-890)."""
    newer = COMMIT._replace(transaction_version=2)
    await led.begin(7, 4)
    assert await code_of(led, newer._replace(producer_epoch=4)) == 47
    assert await mark(led, newer._replace(producer_epoch=5))
    await led.begin(7, 5)
    assert await code_of(led, newer._replace(producer_epoch=5)) == 47  # repeated, and late
    assert await mark(led, newer._replace(producer_epoch=6))
    assert not await mark(led, newer._replace(producer_epoch=6))


async def test_a_log_that_has_to_roll(led: Led) -> None:
    for sequence in range(12):
        if sequence % 3 == 0:
            await led.begin(7, 0, sequence)
        else:
            await led.write(7, 0, sequence)
        if sequence % 3 == 2:
            assert await mark(led, COMMIT)
    assert led.owner.rolls > 3
    assert len(controls(led)) == 4


async def test_a_closed_gate(led: Led) -> None:
    led.partition.close(native.NOT_LEADER)
    assert await code_of(led, COMMIT) == 6

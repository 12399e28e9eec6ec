"""What a PartitionLog does for a follower: epochs without records, and the leader's log start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, batch
from tests.unit.storage.log_fixtures import LogHarness, until
from tidelog.storage.log import PartitionLog


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LogHarness]:
    made = LogHarness(str(tmp_path))
    made.clock.now_ms = NOW
    yield made
    await made.close()


async def fill(harness: LogHarness, log: PartitionLog, count: int) -> None:
    for i in range(count):
        await harness.produce(log, batch(timestamp=NOW + i))


async def test_truncating_forgets_an_epoch_of_which_nothing_was_appended(
    harness: LogHarness,
) -> None:
    log = harness.open()
    await fill(harness, log, 3)
    file = Path(log.directory, "leader-epoch-checkpoint")
    log.assign_epoch(7)
    assert log.core.leader_epoch == 7
    await until(lambda: file.exists() and "7 3" in file.read_text())
    assert not await log.truncate_to(3)
    assert (log.epochs.latest_epoch, log.core.leader_epoch) == (0, 0)
    await until(lambda: "7 3" not in file.read_text())


async def test_following_the_log_start_of_a_leader(harness: LogHarness) -> None:
    log = harness.open()
    await fill(harness, log, 8)
    await log.advance_log_start(5)
    assert (log.core.log_start_offset, harness.checkpoints) == (5, 1)
    await log.advance_log_start(4)
    assert (log.core.log_start_offset, harness.checkpoints) == (5, 1)
    await log.advance_log_start(100)
    assert (log.core.log_start_offset, harness.checkpoints) == (8, 2)

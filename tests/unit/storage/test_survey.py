"""What is read from a node's folder without its metadata, also when some of it is broken."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.native.log_harness import batch
from tests.unit.storage.log_fixtures import LogHarness
from tidelog.record.builder import Producer
from tidelog.storage.files import Files
from tidelog.storage.partition_metadata import write_partition_metadata
from tidelog.storage.survey import SurveyedLog, survey_directory

ID = bytes(range(16))
MADE_MS = 1_700_000_000_000


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LogHarness]:
    (tmp_path / "t-0").mkdir()
    metadata = tmp_path / "t-0" / "partition.metadata"
    write_partition_metadata(str(metadata), ID)
    os.utime(metadata, (MADE_MS / 1000, MADE_MS / 1000))
    made = LogHarness(str(tmp_path / "t-0"))
    yield made
    await made.close()


def survey(tmp_path: Path) -> SurveyedLog:
    found = survey_directory(str(tmp_path))
    assert len(found.logs) == 1
    return found.logs[0]


async def filled(harness: LogHarness) -> None:
    """Epochs 3 and 5, producers 41 and 42, two segments and a third without a batch."""
    log = harness.open()
    log.assign_epoch(3)
    await harness.produce(log, batch(3, producer=Producer(42, 0, 0)), epoch=3)
    await log.roll(force=True)
    log.assign_epoch(5)
    await harness.produce(log, batch(2, producer=Producer(41, 0, 0)), epoch=5)
    await log.roll(force=True)
    await log.flush()
    await log.close(clean=False)


async def test_a_log(harness: LogHarness, tmp_path: Path) -> None:
    await filled(harness)
    assert len(list((tmp_path / "t-0").glob("*.log"))) == 3
    assert survey(tmp_path) == SurveyedLog("t-0", "t", 0, ID, MADE_MS, 5, 5, 42)


async def test_epochs_come_from_the_records_when_the_checkpoint_is_behind(
    harness: LogHarness, tmp_path: Path
) -> None:
    await filled(harness)
    checkpoint = tmp_path / "t-0" / "leader-epoch-checkpoint"
    checkpoint.write_bytes(b"0\n1\n3 0\n")
    assert survey(tmp_path).latest_epoch == 5
    checkpoint.unlink()
    assert survey(tmp_path).latest_epoch == 5
    checkpoint.write_bytes(b"garbage")
    found = survey(tmp_path)
    assert (found.latest_epoch, len(found.problems)) == (5, 1)
    assert "leader-epoch-checkpoint" in found.problems[0]
    # And from the checkpoint, when it knows of a later one that has no record.
    checkpoint.write_bytes(b"0\n2\n3 0\n9 5\n")
    assert survey(tmp_path).latest_epoch == 9


async def test_producers_come_from_snapshots_too(harness: LogHarness, tmp_path: Path) -> None:
    await filled(harness)
    snapshots = sorted((tmp_path / "t-0").glob("*.snapshot"))
    assert snapshots
    for path in snapshots:
        path.write_bytes(b"garbage")
    found = survey(tmp_path)
    assert found.highest_producer_id == 41  # of the last batch; 42 was in the snapshots only
    assert len(found.problems) == len(snapshots)


async def test_a_torn_log_ends_before_the_tear(harness: LogHarness, tmp_path: Path) -> None:
    await filled(harness)
    segments = sorted((tmp_path / "t-0").glob("*.log"))
    with segments[-1].open("ab") as file:
        file.write(b"\0" * 100)
    found = survey(tmp_path)
    assert (found.latest_epoch, found.log_end_offset, found.problems) == (5, 5, [])


def test_a_log_that_was_never_written(tmp_path: Path) -> None:
    (tmp_path / "u-7").mkdir()
    write_partition_metadata(str(tmp_path / "u-7" / "partition.metadata"), ID)
    found = survey(tmp_path)
    assert (found.latest_epoch, found.log_end_offset, found.highest_producer_id) == (-1, 0, -1)
    assert found.problems == []


def test_a_log_without_a_readable_id(tmp_path: Path) -> None:
    (tmp_path / "u-7").mkdir()
    (tmp_path / "u-7" / "00000000000000000000.log").write_bytes(b"")
    found = survey(tmp_path)
    assert (found.topic, found.index, found.topic_id) == ("u", 7, None)
    assert found.problems == ["there is no partition.metadata"]
    (tmp_path / "u-7" / "partition.metadata").write_bytes(b"version: 0\ntopic_id: none")
    found = survey(tmp_path)
    assert found.topic_id is None
    assert "no topic id" in found.problems[0]


async def test_a_disk_error_does_not_hide_the_log(harness: LogHarness, tmp_path: Path) -> None:
    await filled(harness)

    class Failing(Files):
        def open(self, path: str) -> int:
            if path.endswith(".log"):
                raise OSError(5, "Input/output error", path)
            return super().open(path)

    found = survey_directory(str(tmp_path), Failing()).logs[0]
    assert (found.topic_id, found.latest_epoch) == (ID, 5)
    assert len(found.problems) == 1
    assert "Input/output error" in found.problems[0]


def test_other_folders_are_named(tmp_path: Path) -> None:
    for name in ("t-0.12-delete", "t-0.12-stray", "notes", "backup-2024", "t-1", "t-01"):
        (tmp_path / name).mkdir()
    for name in ("t-0.12-delete", "t-0.12-stray", "t-1", "t-01"):
        write_partition_metadata(str(tmp_path / name / "partition.metadata"), ID)
    (tmp_path / "meta.properties").write_bytes(b"")
    seen: list[int] = []
    found = survey_directory(str(tmp_path), on_log=lambda: seen.append(1))
    assert [log.folder for log in found.logs] == ["t-1"]
    assert found.others == ["backup-2024", "notes", "t-0.12-delete", "t-0.12-stray", "t-01"]
    assert seen == [1]

"""Histograms of durations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidelog.errors import SyncError
from tidelog.storage.durations import BOUNDS_S, SYNCS, Durations
from tidelog.storage.files import SYSTEM_FILES


def test_a_duration_goes_into_the_first_bucket_that_holds_it() -> None:
    durations = Durations()
    for seconds in (0.0, BOUNDS_S[0], 0.002, 99.0):
        durations.observe(seconds)
    counts, total = durations.snapshot()
    assert counts == [2, 0, 0, 1, *[0] * (len(BOUNDS_S) - 4), 1]
    assert total == pytest.approx(99.002 + BOUNDS_S[0])


def test_every_sync_of_a_file_is_one_also_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    before = sum(SYNCS.snapshot()[0])
    fd = os.open(path, os.O_RDWR)
    SYSTEM_FILES.sync(fd)
    SYSTEM_FILES.sync_data(fd)
    SYSTEM_FILES.sync_directory(str(tmp_path))
    os.close(fd)
    with pytest.raises(SyncError):
        SYSTEM_FILES.sync(fd)
    assert sum(SYNCS.snapshot()[0]) - before == 4

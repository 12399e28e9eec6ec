"""A short run of cleaning.py: the worker killed while it compacts."""

from __future__ import annotations

from pathlib import Path

from tests.recovery import cleaning


def test_a_killed_compaction_loses_no_last_value(tmp_path: Path) -> None:
    found = cleaning.run(
        tmp_path / "data", size_bytes=24_000_000, kills=4, seed=2, segment_bytes=2 * 1024 * 1024
    )
    assert found.problems == []
    assert found.kills == 4
    assert found.kills_at_work >= 2
    assert found.bytes_left < found.bytes_written / 2

"""The configs of groups as the service makes them from the broker's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.coordinator.test_group_service import replicas, started
from tidelog.coordinator.group_service import GroupService

__all__ = ["replicas", "started"]


async def test_times_are_in_ms(started: GroupService, tmp_path: Path) -> None:
    config: Any = started.group_config()
    assert config.offsets_retention_ms == 7 * 24 * 3_600_000
    assert config.offsets_retention_check_interval_ms == 600_000
    assert config.min_session_timeout_ms == 6_000

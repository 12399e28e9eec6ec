"""Tests of the end of many logs."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tidelog.errors import StorageError
from tidelog.storage.closing import SYNC_TOGETHER, close_logs


class Closed:
    def __init__(self, error: Exception | None = None) -> None:
        self.failure: Exception | None = None
        self.error = error
        self.durable: list[bool] = []
        self.marked = False

    async def close(self, clean: bool, *, release: bool, durable: bool) -> None:
        assert not release
        self.durable.append(durable)
        if self.error is not None:
            raise self.error

    def mark_durable(self) -> None:
        self.marked = True


async def close(logs: list[Closed], clean: bool = True, error: OSError | None = None) -> Any:
    syncs: list[bool] = []

    async def sync() -> None:
        syncs.append(True)
        if error is not None:
            raise error

    return await close_logs(logs, clean, sync), len(syncs)  # type: ignore[arg-type]


async def test_few_logs_are_synced_one_by_one() -> None:
    logs = [Closed() for _ in range(SYNC_TOGETHER - 1)]
    assert await close(logs) == (True, 0)
    assert all(log.durable == [True] and not log.marked for log in logs)


async def test_many_logs_are_synced_together() -> None:
    logs = [Closed() for _ in range(SYNC_TOGETHER - 1)] + [Closed(StorageError("bad disk"))]
    assert await close(logs) == (False, 1)
    assert all(log.durable == [False] for log in logs)
    assert [log.marked for log in logs] == [True] * (SYNC_TOGETHER - 1) + [False]
    logs = [Closed() for _ in range(SYNC_TOGETHER)]
    assert await close(logs, clean=False) == (True, 0)


async def test_a_sync_that_fails_makes_nothing_durable(caplog: pytest.LogCaptureFixture) -> None:
    logs = [Closed() for _ in range(SYNC_TOGETHER)]
    with caplog.at_level(logging.ERROR):
        assert await close(logs, error=OSError(5, "bad disk")) == (False, 1)
    assert not any(log.marked for log in logs)
    assert "file system not synced" in caplog.text


async def test_an_offline_log_is_no_end_in_order() -> None:
    log = Closed()
    log.failure = OSError(5, "bad disk")
    assert await close([log]) == (False, 0)

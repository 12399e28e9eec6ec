"""Tests of what is done for every log: one that fails does not keep the others from it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tidelog.errors import StorageError
from tidelog.storage.chores import apply_retention, expire_producers


class Log:
    def __init__(self, found: Any) -> None:
        self.found = found
        self.asked: list[tuple[int, ...]] = []

    async def apply_retention(self, now_ms: int) -> int:
        self.asked.append((now_ms,))
        if isinstance(self.found, Exception):
            raise self.found
        return int(self.found)

    def expire_producers(self, now_ms: int, limit_ms: int) -> int:
        self.asked.append((now_ms, limit_ms))
        return int(self.found)


async def test_retention_goes_on_after_a_log_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    logs = [Log(2), Log(OSError(5, "bad disk")), Log(StorageError("offline")), Log(3)]
    with caplog.at_level(logging.ERROR):
        assert await apply_retention(logs, 77) == 5  # type: ignore[arg-type]
    assert all(log.asked == [(77,)] for log in logs)
    assert caplog.text.count("retention failed") == 2


async def test_producers_expire_in_each() -> None:
    logs = [Log(1), Log(4)]
    assert await expire_producers(logs, 77, 5) == 5  # type: ignore[arg-type]
    assert [log.asked for log in logs] == [[(77, 5)]] * 2

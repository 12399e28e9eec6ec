"""Tests of waiting for a log directory that is in use."""

from __future__ import annotations

from typing import Any

import pytest

from tidelog.clock import ManualClock
from tidelog.errors import StorageError
from tidelog.storage.directory import DirectoryState, Offsets
from tidelog.storage.when_free import when_free

STATE = DirectoryState(5, None, Offsets(), ())


class Opening:
    def __init__(self, clock: ManualClock, *answers: Any) -> None:
        self.clock = clock
        self.answers = list(answers)

    async def __call__(self) -> DirectoryState | None:
        self.clock.advance(30)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


async def test_it_waits_until_the_directory_is_free() -> None:
    clock = ManualClock()
    opening = Opening(clock, None, None, STATE)
    assert await when_free("/d", opening, clock, 100) is STATE
    assert opening.answers == []


async def test_it_waits_so_long() -> None:
    clock = ManualClock()
    with pytest.raises(StorageError, match="/d is in use"):
        await when_free("/d", Opening(clock, None, None, STATE), clock, 50)
    with pytest.raises(OSError, match="bad disk"):
        await when_free("/d", Opening(clock, OSError(5, "bad disk")), clock, 50)

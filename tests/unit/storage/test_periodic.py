"""Tests of periodic work: a step that fails is told and run again, and an end ends it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.unit.storage.log_fixtures import until
from tidelog.storage.periodic import PeriodicWork


async def test_a_step_that_fails_is_told_and_run_again(caplog: pytest.LogCaptureFixture) -> None:
    told: list[BaseException] = []
    work = PeriodicWork(told.append)
    runs = 0
    error = OSError(5, "bad disk")

    async def step() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise error

    with caplog.at_level(logging.ERROR):
        work.every(1, step)
        await until(lambda: runs > 2)
    assert told == [error]
    assert "periodic work failed step=step" in caplog.text
    await work.close()
    before = runs
    await asyncio.sleep(0.005)
    assert runs == before


async def test_a_step_may_end_all_of_it() -> None:
    work = PeriodicWork(lambda _: work.cancel())
    runs = 0

    async def step() -> None:
        nonlocal runs
        runs += 1
        raise OSError(5, "bad disk")

    async def forever() -> None:
        await asyncio.Event().wait()

    work.add(forever())
    work.every(0, step)
    await until(lambda: runs > 0)
    await work.close()
    assert runs == 1

"""The timer that notes how late a loop is."""

from __future__ import annotations

import asyncio
import time

import pytest

from tidelog.process.metrics import loop_lag
from tidelog.process.metrics.loop_lag import LoopLag


async def test_a_loop_that_stands_still_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "INTERVAL_S", 0.001)
    lag = LoopLag(asyncio.get_running_loop())
    lag.start()
    time.sleep(0.05)
    while not sum(lag.durations.snapshot()[0]):
        await asyncio.sleep(0)
    lag.stop()
    assert lag.durations.snapshot()[1] >= 0.04


async def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "INTERVAL_S", 0)
    lag = LoopLag(asyncio.get_running_loop())
    lag.stop()  # never started
    lag.start()
    lag.stop()
    for _ in range(10):
        await asyncio.sleep(0)
    assert sum(lag.durations.snapshot()[0]) == 0

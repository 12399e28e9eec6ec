"""Clocks: real ones run, and a manual one stands still until it is moved."""

from __future__ import annotations

import time

import pytest

from tidelog.clock import ManualClock, SystemClock


def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    before = time.time_ns() // 1_000_000
    assert before <= clock.wall_ms() <= time.time_ns() // 1_000_000
    before = time.monotonic_ns() // 1_000_000
    assert before <= clock.monotonic_ms() <= time.monotonic_ns() // 1_000_000


def test_a_manual_clock_goes_only_forward() -> None:
    clock = ManualClock(5)
    clock.advance(3)
    assert (clock.wall_ms(), clock.monotonic_ms()) == (8, 8)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)

"""Lines about bad peers: some per second, and how many were left out."""

from __future__ import annotations

import logging

import pytest

from tidelog.bounded_log import BoundedLog
from tidelog.clock import ManualClock


def test_a_flood_is_counted_and_not_written(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    lines = BoundedLog(logging.getLogger("peers"), clock, 3)
    for number in range(10):
        lines.warning("refused number=%d", number)
    assert caplog.messages == [f"refused number={number}" for number in range(3)]
    caplog.clear()
    clock.advance(999)
    lines.warning("refused number=%d", 10)
    assert caplog.messages == []
    clock.advance(1)
    lines.warning("refused number=%d", 11)
    assert caplog.messages == ["more of the same count=8", "refused number=11"]
    clock.advance(1000)
    lines.warning("refused number=%d", 12)
    assert caplog.messages[2:] == ["refused number=12"]

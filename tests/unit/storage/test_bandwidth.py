"""A limit on bytes a second, with the time as an argument."""

from __future__ import annotations

from tidelog.storage.bandwidth import BURST_MS, Bandwidth


def test_what_is_taken_is_paid_for_in_time() -> None:
    limit = Bandwidth(1000.0)
    now = 50_000.0
    assert limit.take(BURST_MS, now) == 0.0  # what a pause has earned
    assert limit.take(500, now) == 500.0
    assert limit.take(500, now) == 1000.0
    assert limit.take(500, now + 1000) == 500.0


def test_a_long_pause_earns_no_more_than_a_burst() -> None:
    limit = Bandwidth(1000.0)
    limit.take(1, 0.0)
    assert limit.take(2 * BURST_MS, 1e9) == BURST_MS


def test_the_rate_may_be_changed() -> None:
    limit = Bandwidth(1e308)
    assert limit.take(10**12, 1000.0) == 0.0
    limit.bytes_per_second = 1000.0
    assert limit.take(1000, 1000.0) == 1000 - BURST_MS
    limit.bytes_per_second = 0.0  # one byte a second: a rate of nothing would never end
    assert limit.take(1, 10_000.0) == 1000 - BURST_MS

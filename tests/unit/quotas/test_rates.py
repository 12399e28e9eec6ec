"""Rates over a moving window, and buckets of tokens, against plain arithmetic."""

from __future__ import annotations

import random

import pytest

from tidelog.limits import THROTTLE_MS_MAX
from tidelog.quotas.rates import SimpleRate, TokenBucket, WindowedRate


def test_a_rate_counts_the_whole_window_from_the_first_record_on() -> None:
    rate = WindowedRate(11, 1000)
    assert rate.per_second(0) == 0
    rate.record(1000, 0)
    # Ten full parts are taken for granted.
    assert rate.per_second(0) == pytest.approx(100)
    assert rate.per_second(500) == pytest.approx(1000 / 10.5)
    rate.record(1000, 5_000)
    assert rate.per_second(5_000) == pytest.approx(2000 / 10)
    # As long as the first part is kept, the window is as old as it is.
    assert rate.per_second(10_900) == pytest.approx(2000 / 10.9)


def test_old_parts_are_forgotten() -> None:
    rate = WindowedRate(2, 1000)
    rate.record(10, 0)
    rate.record(10, 900)
    rate.record(100, 1500)
    assert rate.per_second(2000) == pytest.approx(120 / 2)
    assert rate.per_second(2899) == pytest.approx(120 / 2.899)
    assert rate.per_second(2900) == pytest.approx(100 / 1.4)
    assert rate.per_second(10_000) == 0


def test_what_is_taken_back_does_not_count() -> None:
    rate = WindowedRate(11, 1000)
    rate.record(5000, 0)
    rate.record(5000, 1)
    rate.record(-5000, 1)
    assert rate.per_second(1) == pytest.approx(5000 / 10, rel=1e-3)


def test_the_throttle_is_the_time_in_which_the_rate_comes_down() -> None:
    rate = WindowedRate(11, 1000)
    rate.record(10_000, 0)
    assert rate.throttle_ms(1000, 0) == 0
    rate.record(5_000, 0)
    # 15,000 bytes in 10 s are half as much again as 1,000 a second allow.
    assert rate.throttle_ms(1000, 0) == 5000
    assert rate.throttle_ms(1000, 5000) == 5000
    rate.record(0, 0)
    assert rate.throttle_ms(2000, 0) == 0


def test_a_client_that_waits_as_it_is_told_keeps_its_rate() -> None:
    rng = random.Random(7)
    for _ in range(50):
        bound = rng.uniform(10, 1e6)
        rate = WindowedRate(11, 1000)
        now_ms, sent = 0, 0.0
        while now_ms < 60_000:
            amount = rng.uniform(0.01, 3) * bound
            rate.record(amount, now_ms)
            sent += amount
            now_ms += rate.throttle_ms(bound, now_ms) + rng.randint(0, 20)
        # (The window's worth at the beginning comes on top.)
        assert sent <= bound * (now_ms / 1000 + 14)


def test_a_simple_rate_takes_nothing_for_granted() -> None:
    rate = SimpleRate(11, 1000)
    assert rate.per_second(0) == 0
    rate.record(1000, 0)
    # (One part of the window is the least.)
    assert rate.per_second(0) == rate.per_second(1000) == pytest.approx(1000)
    assert rate.per_second(4000) == pytest.approx(250)
    rate.record(3000, 4000)
    assert rate.per_second(5000) == pytest.approx(800)
    # The first part is forgotten when it is 11 s old: 3000 bytes in the 7 s since the second.
    assert rate.per_second(10_999) == pytest.approx(4000 / 10.999)
    assert rate.per_second(11_000) == pytest.approx(3000 / 7)
    assert rate.per_second(15_000) == 0


def test_a_simple_rate_says_when_it_will_be_down() -> None:
    rate = SimpleRate(11, 1000)
    rate.record(5000, 0)
    assert rate.throttle_ms(5000, 0) == 0
    rate.record(1000, 10)
    # 6000 bytes are 5000 a second after 1.2 s; until then it is measured over one whole second.
    assert rate.throttle_ms(5000, 10) == 1190
    assert rate.throttle_ms(5000, 1100) == 100
    assert rate.throttle_ms(5000, 1200) == 0
    # Nothing at all may be copied.
    assert rate.throttle_ms(0, 1200) == THROTTLE_MS_MAX
    assert rate.throttle_ms(0, 20_000) == 0


def test_tokens_come_back_up_to_the_burst() -> None:
    bucket = TokenBucket(10, 0)
    bucket.take(9)
    assert bucket.throttle_ms(2) == 0
    bucket.take(5)
    assert bucket.throttle_ms(2) == 2000
    bucket.refill(2, 10, 1000)
    assert bucket.throttle_ms(2) == 1000
    bucket.refill(2, 10, 2000)
    assert bucket.throttle_ms(2) == 0
    bucket.refill(2, 10, 1_000_000)
    bucket.take(11)
    assert bucket.throttle_ms(1) == 1000


@pytest.mark.parametrize("bound", [5e-324, 1e-300, 1e-9, 1e308])
def test_quotas_of_any_size(bound: float) -> None:
    rate = WindowedRate(11, 1000)
    rate.record(1e9, 0)
    assert rate.throttle_ms(bound, 0) == (THROTTLE_MS_MAX if bound < 1 else 0)
    bucket = TokenBucket(bound * 11, 0)
    bucket.take(1e9)
    bucket.refill(bound, bound * 11, 1)
    assert bucket.throttle_ms(bound) == (THROTTLE_MS_MAX if bound < 1 else 0)

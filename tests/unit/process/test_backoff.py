"""Waits between the lives of a worker."""

from __future__ import annotations

from tidelog.limits import RESTART_BACKOFF_MS, RESTART_PROVEN_MS
from tidelog.process.backoff import RestartPolicy


def test_the_first_death_costs_nothing_and_later_ones_more() -> None:
    policy = RestartPolicy()
    waits = []
    for _ in range(len(RESTART_BACKOFF_MS) + 2):
        waits.append(policy.died(1000))
    assert waits == [*RESTART_BACKOFF_MS, RESTART_BACKOFF_MS[-1], RESTART_BACKOFF_MS[-1]]
    assert waits[0] == 0 and waits == sorted(waits)
    assert policy.deaths_in_a_row == len(waits)


def test_serving_for_long_enough_forgives() -> None:
    policy = RestartPolicy()
    for _ in range(3):
        policy.died(0)
    policy.serving(1000)
    assert policy.died(1000 + RESTART_PROVEN_MS) == 0
    assert policy.deaths_in_a_row == 1


def test_serving_for_a_moment_does_not() -> None:
    policy = RestartPolicy()
    for _ in range(2):
        policy.died(1001)
        policy.serving(1000)
    assert policy.died(1000 + RESTART_PROVEN_MS - 1) == RESTART_BACKOFF_MS[2] > 0
    # A life that never served proves nothing, however long it took.
    assert policy.died(10**9) == RESTART_BACKOFF_MS[3]

"""The replication quotas of a node, against plain sums over its window."""

from __future__ import annotations

import random

import pytest

from tidelog.clock import ManualClock
from tidelog.config import BrokerConfig, BrokerLayers
from tidelog.quotas.replication import NO_LIMIT, ReplicationQuota, ReplicationQuotas


def config(**dynamic: int) -> BrokerConfig:
    texts = {name.replace("_", "."): str(value) for name, value in dynamic.items()}
    return BrokerConfig.resolve(BrokerLayers(dynamic=texts))


def test_without_a_rate_nothing_is_too_much() -> None:
    quotas = ReplicationQuotas(config(), ManualClock())
    assert (quotas.leader.limit, quotas.follower.limit) == (NO_LIMIT, NO_LIMIT)
    quotas.leader.record(2**60)
    assert not quotas.leader.is_exceeded()
    assert quotas.leader.wait_ms() == 0
    # What was measured counts when there is one.
    quotas.follow(config(leader_replication_throttled_rate=1000))
    assert quotas.leader.is_exceeded()
    assert not quotas.follower.is_exceeded()
    quotas.follow(config(follower_replication_throttled_rate=1))
    assert not quotas.leader.is_exceeded()


def test_more_than_the_rate_is_too_much() -> None:
    clock = ManualClock()
    quotas = ReplicationQuotas(config(follower_replication_throttled_rate=1000), clock)
    quota = quotas.follower
    quota.record(1000)
    assert not quota.is_exceeded()
    quota.record(1)
    assert quota.is_exceeded()
    clock.advance(quota.wait_ms())
    assert not quota.is_exceeded()
    assert (quota.total_bytes, quotas.leader.total_bytes) == (1001, 0)


def test_a_rate_of_nothing() -> None:
    clock = ManualClock()
    quota = ReplicationQuotas(config(leader_replication_throttled_rate=0), clock).leader
    assert not quota.is_exceeded()
    quota.record(1)
    assert quota.is_exceeded()
    assert quota.wait_ms() > 60_000
    clock.advance(11_000)
    assert not quota.is_exceeded()


def test_the_window_is_as_configured() -> None:
    static = {"replication.quota.window.num": "2", "replication.quota.window.size.seconds": "3"}
    clock = ManualClock()
    quota = ReplicationQuotas(BrokerConfig.resolve(BrokerLayers(static=static)), clock).leader
    quota.limit = 100
    quota.record(300)
    assert not quota.is_exceeded()
    quota.record(300)
    assert quota.is_exceeded()
    clock.advance(6000)
    assert not quota.is_exceeded()


@pytest.mark.parametrize("seed", range(5))
def test_who_copies_while_he_may_keeps_the_rate(seed: int) -> None:
    """Fetches of up to a MB, as soon as they are allowed: never more than the quota over any time
    since the beginning, but for one fetch and the first part of the window.
    """
    rng = random.Random(seed)
    clock = ManualClock()
    quota = ReplicationQuota(11, 1000, clock)
    quota.limit = rng.randrange(1 << 20, 50 << 20)
    copied, began_ms = 0, clock.monotonic_ms()
    waits = fetches = 0
    while (elapsed_s := (clock.monotonic_ms() - began_ms) / 1000) < 60:
        if quota.is_exceeded():
            waits += 1
            clock.advance(min(max(quota.wait_ms(), 1), 1000))
            continue
        size = rng.randrange(1, 1 << 20)
        quota.record(size)
        copied += size
        fetches += 1
        assert copied <= quota.limit * max(elapsed_s, 1) + (1 << 20)
        clock.advance(rng.randrange(2))
    # It is used, too; and nobody asks all the time whether he may.
    assert copied >= 0.95 * quota.limit * 60
    assert waits <= 1.1 * fetches + 60

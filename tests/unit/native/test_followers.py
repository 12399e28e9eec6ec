"""What a leader knows of its followers: log ends, lag, and what they let the high watermark be."""

from __future__ import annotations

from typing import Any

import pytest

from tidelog._native.followers import ClusterView, FollowerTable
from tidelog.errors import InvariantError

LAG_MS = 100


def table(*isr: int, alive: tuple[int, ...] = (1, 2, 3)) -> FollowerTable:
    """Node 1 leads, 2 and 3 follow; a new epoch at time 1000."""
    view = ClusterView(LAG_MS, lambda *_: None)
    view.epochs = dict.fromkeys(alive, 0)
    found = FollowerTable((3, 2), view)
    found.begin_epoch(isr, 1000)
    return found


def fetch(
    followers: FollowerTable, node: int, offset: int, end: int, now: int, **told: Any
) -> None:
    assert followers.fetched(node, told.get("epoch", 0), offset, told.get("log_start", 0), end, now)


def test_the_high_watermark_is_the_least_end_of_the_isr() -> None:
    followers = table(1, 2, 3)
    assert followers.high_watermark(50, 10, 1000) == 10  # nobody was heard of yet
    fetch(followers, 2, 40, 50, 1001)
    assert followers.high_watermark(50, 10, 1001) == 10
    fetch(followers, 3, 30, 50, 1002)
    assert followers.high_watermark(50, 10, 1002) == 30
    assert followers.high_watermark(20, 10, 1002) == 20  # the leader itself flushes later
    fetch(followers, 3, 50, 50, 1003)
    assert followers.high_watermark(50, 30, 1003) == 40
    # It never goes back, whatever a follower says.
    fetch(followers, 2, 5, 50, 1004)
    assert followers.high_watermark(50, 40, 1004) == 40


def test_who_is_outside_is_not_waited_for_unless_it_is_about_to_join() -> None:
    followers = table(1, 2)
    fetch(followers, 2, 50, 50, 1001)
    fetch(followers, 3, 20, 50, 1001)
    assert followers.high_watermark(50, 10, 1001) == 50
    fetch(followers, 3, 50, 50, 1002)  # caught up
    fetch(followers, 2, 60, 60, 1003)
    assert followers.high_watermark(60, 50, 1003) == 50
    assert followers.high_watermark(60, 50, 1002 + LAG_MS) == 50
    assert followers.high_watermark(60, 50, 1003 + LAG_MS) == 60  # for as long as it may lag


def test_who_left_is_not_waited_for_until_it_has_caught_up_anew() -> None:
    """A node was lost, its place in the ISR with it; then it is known to be alive."""
    followers = table(1, 2, 3)
    for node in (2, 3):
        fetch(followers, node, 50, 50, 1001)
    followers.set_maximal_isr((1, 2))
    fetch(followers, 2, 60, 60, 1002)
    assert followers.high_watermark(60, 50, 1002) == 60
    # A request from before it was lost, which had everything then, and no answer gets through.
    fetch(followers, 3, 50, 60, 1003)
    fetch(followers, 2, 70, 70, 1003)
    assert followers.high_watermark(70, 60, 1003) == 70
    # It goes on, and has what was the end at its fetch before.
    fetch(followers, 3, 60, 70, 1004)
    fetch(followers, 2, 80, 80, 1005)
    assert followers.high_watermark(80, 60, 1005) == 60


@pytest.mark.parametrize(("alive", "epoch"), [((1, 2), 0), ((1, 2, 3), 7)])
def test_who_may_not_join_is_not_waited_for(alive: tuple[int, ...], epoch: int) -> None:
    """A node that is fenced, or an earlier life of one."""
    followers = table(1, 2, alive=alive)
    fetch(followers, 2, 60, 60, 1001)
    fetch(followers, 3, 50, 50, 1001, epoch=epoch)
    assert followers.high_watermark(60, 40, 1001) == 60


def test_lag_is_counted_from_when_it_last_had_everything() -> None:
    followers = table(1, 2, 3)
    assert followers.lagging(50, 1000 + LAG_MS) == []
    assert followers.lagging(50, 1001 + LAG_MS) == [2, 3]
    fetch(followers, 2, 50, 50, 1050)
    assert followers.lagging(50, 5000) == [3]  # has all there is
    assert followers.lagging(51, 1050 + LAG_MS) == [3]
    assert followers.lagging(51, 1051 + LAG_MS) == [2, 3]


def test_a_follower_that_keeps_pace_with_appends_does_not_lag() -> None:
    """It never has the leader's end, but each time what was the end at the fetch before."""
    followers = table(1, 2)
    for step in range(20):
        now = 1000 + 50 * step
        fetch(followers, 2, 10 * step, 10 * (step + 1), now)
        assert followers.lagging(10 * (step + 1), now) == []
    # Then it falls behind: it fetches, but less than is appended.
    for step in range(5):
        fetch(followers, 2, 190 + step, 300 + 100 * step, 2000 + 50 * step)
    assert followers.lagging(1000, 2200) == [2]


def test_another_isr_and_other_replicas() -> None:
    followers = table(1, 2, 3)
    fetch(followers, 2, 50, 50, 1001, epoch=4, log_start=7)
    fetch(followers, 3, 10, 50, 1001, epoch=5, log_start=9)
    followers.set_maximal_isr((1, 2))
    assert followers.high_watermark(50, 10, 1001) == 50
    assert (followers.epoch_of(2), followers.epoch_of(3)) == (4, 5)
    followers.view.epochs = {2: 4, 3: 5}
    assert [followers.least_log_start(own) for own in (6, 8, 12)] == [6, 7, 7]
    followers.view.epochs = {3: 5}
    assert followers.least_log_start(12) == 9  # nobody waits for who is not alive
    more = FollowerTable((2, 4), followers.view)
    more.take_over(followers)
    more.set_maximal_isr((1, 2))
    assert more.describe() == [(2, True, 50, 1001, 1001), (4, False, 0, -1, -1)]
    assert more.least_log_start(12) == 12
    more.view.epochs = {4: 1}
    assert more.least_log_start(12) == -1
    with pytest.raises(InvariantError):
        more.epoch_of(3)
    assert not more.fetched(3, 0, 0, 0, 0, 0)


def test_who_is_ready_to_join() -> None:
    followers = table(1, alive=(1, 2))
    assert followers.ready_to_join(0, 0) == []  # not heard of
    fetch(followers, 2, 40, 50, 1001)
    fetch(followers, 3, 50, 50, 1001)
    assert followers.ready_to_join(50, 0) == []
    assert followers.ready_to_join(40, 45) == []
    assert followers.ready_to_join(40, 40) == [2]
    followers.set_maximal_isr((1, 2))
    assert followers.ready_to_join(40, 40) == []


def test_a_new_epoch_begins_without_knowledge() -> None:
    followers = table(1, 2, 3)
    fetch(followers, 2, 50, 50, 1001, epoch=3)
    followers.begin_epoch((1, 2), 2000)
    assert followers.describe() == [(2, True, 0, 2000, -1), (3, False, 0, -1, -1)]
    assert followers.epoch_of(2) == -1

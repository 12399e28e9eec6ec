"""Rounds and sessions by themselves (whole schedules: tests/sim/test_groups.py)."""

from __future__ import annotations

from tests.unit.coordinator.group.shard_harness import CONFIG, ManualTimers, ShardHarness
from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.member import Member
from tidelog.coordinator.group.rebalance import Rebalance, join_error
from tidelog.coordinator.promise import Promise
from tidelog.protocol.error_codes import ErrorCode


def test_unloading_answers_everybody_who_waits() -> None:
    member = Member("m", None, "c", "/h", 1, 2, "consumer", (("x", b""),))
    member.joining, member.syncing = joining, syncing = Promise(), Promise()
    group = ClassicGroup("g", 0)
    group.add(member)
    Rebalance.fail_all(group, ErrorCode.NOT_COORDINATOR)
    assert joining.value is not None and joining.value.error_code == 16
    assert syncing.value is not None and syncing.value.error_code == 16


def test_sessions_of_a_loaded_group_start_whole() -> None:
    timers = ManualTimers()
    rounds = Rebalance(lambda: CONFIG, timers)
    group = ClassicGroup("g", 0)
    group.add(Member("m", None, "c", "/h", 1, 5_000, "consumer", (("x", b""),)))
    for member in group.members.values():
        rounds._keep_session(group, member)
    assert timers.due[("g", "m", "session")][0] == timers.now_ms + 5_000


def test_a_failed_write_of_a_static_members_new_id_leaves_the_old_one() -> None:
    h = ShardHarness()
    first = h.join(instance="i")
    h.sync(first.member_id, 1, {first.member_id: b"x"}, instance="i")
    h.fail_writes = 15
    answer = h.join(instance="i")
    assert answer.error_code == 15
    h.fail_writes = 0
    assert h.heartbeat(first.member_id, 1, instance="i") == 0
    assert set(h.timers.due) >= {("g", first.member_id, "session")}


def test_error_answers_name_the_member() -> None:
    answer = join_error(ErrorCode.UNKNOWN_MEMBER_ID, "m")
    assert (answer.error_code, answer.member_id) == (25, "m")

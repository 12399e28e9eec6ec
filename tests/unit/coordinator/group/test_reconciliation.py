"""How a member comes to its target."""

from __future__ import annotations

from tidelog.coordinator.group.assignors import TopicPartition
from tidelog.coordinator.group.consumer_member import ConsumerMember, MemberState
from tidelog.coordinator.group.reconciliation import reconcile

T = b"t" * 16
P0, P1, P2 = ((T, index) for index in range(3))


def member(epoch: int, *assigned: TopicPartition) -> ConsumerMember:
    return ConsumerMember("m", epoch=epoch, assigned=dict.fromkeys(assigned, epoch))


def step(
    one: ConsumerMember,
    epoch: int,
    target: set[TopicPartition],
    *is_free: TopicPartition,
    owned: set[TopicPartition] | None = None,
) -> ConsumerMember:
    return reconcile(one, epoch, frozenset(target), lambda p: p in is_free, owned)


def test_a_member_that_has_its_target_stays_as_it_is() -> None:
    one = member(3, P0)
    assert step(one, 3, {P0}) is one


def test_free_partitions_are_given_at_once() -> None:
    after = step(member(0), 1, {P0, P1}, P0, P1)
    assert (after.epoch, after.state, after.assigned) == (1, MemberState.STABLE, {P0: 1, P1: 1})
    assert after.previous_epoch == 0


def test_partitions_of_others_are_waited_for() -> None:
    waiting = step(member(1, P0), 2, {P0, P1})
    assert (waiting.epoch, waiting.state) == (2, MemberState.UNRELEASED_PARTITIONS)
    assert waiting.assigned == {P0: 1}
    assert step(waiting, 2, {P0, P1}) is waiting
    after = step(waiting, 2, {P0, P1}, P1)
    assert (after.state, after.assigned) == (MemberState.STABLE, {P0: 1, P1: 2})


def test_what_is_lost_is_given_up_before_the_epoch_goes_on() -> None:
    revoking = step(member(1, P0, P1), 2, {P0, P2}, P2)
    assert (revoking.epoch, revoking.state) == (1, MemberState.UNREVOKED_PARTITIONS)
    assert (revoking.assigned, revoking.revoking) == ({P0: 1}, {P1: 1})
    assert step(revoking, 2, {P0, P2}, P2) is revoking
    assert step(revoking, 2, {P0, P2}, P2, owned={P0, P1}) is revoking
    after = step(revoking, 2, {P0, P2}, P2, owned={P0})
    assert (after.epoch, after.state) == (2, MemberState.STABLE)
    assert (after.assigned, after.revoking) == ({P0: 1, P2: 2}, {})


def test_what_is_not_used_any_more_needs_no_revocation() -> None:
    after = step(member(1, P0, P1), 2, {P0}, owned={P0})
    assert (after.epoch, after.state, after.assigned) == (2, MemberState.STABLE, {P0: 1})


def test_a_newer_target_may_take_more_while_the_member_revokes() -> None:
    revoking = step(member(1, P0, P1), 2, {P0})
    again = step(revoking, 3, set(), owned={P0})
    assert (again.epoch, again.state) == (2, MemberState.UNREVOKED_PARTITIONS)
    assert (again.assigned, again.revoking) == ({}, {P0: 1})
    assert step(again, 3, set(), owned=set()).epoch == 3


def test_a_member_gets_back_what_it_just_gave_up() -> None:
    revoking = step(member(1, P0, P1), 2, {P0})
    after = step(revoking, 3, {P0, P1}, owned={P0})
    assert (after.epoch, after.assigned) == (3, {P0: 1, P1: 3})

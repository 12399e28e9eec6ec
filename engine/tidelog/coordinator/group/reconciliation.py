"""How a member of a consumer group comes from what it has to its target (KIP-848). Pure.

    STABLE ──► target of a new epoch ──► has to give up partitions: UNREVOKED_PARTITIONS
                                     ──► waits for partitions of others: UNRELEASED_PARTITIONS
                                     ──► has everything: STABLE
    UNREVOKED_PARTITIONS ──► reports that it owns them no more: as above
    UNRELEASED_PARTITIONS ──► with every heartbeat: as above

A partition is given to nobody before its owner has reported that it gave it up, so that no
partition has two owners.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from tidelog.coordinator.group.assignors import Partitions, TopicPartition
from tidelog.coordinator.group.consumer_member import (
    ConsumerMember,
    MemberState,
    OwnedPartitions,
)


def reconcile(
    member: ConsumerMember,
    target_epoch: int,
    target: Partitions,
    is_free: Callable[[TopicPartition], bool],
    owned: Collection[TopicPartition] | None,
) -> ConsumerMember:
    """The member's next step towards its target; the member itself when there is none.

    is_free: whether nobody owns a partition. owned: what the member says that it has; None when it
    did not say (unchanged).
    """
    match member.state:
        case MemberState.STABLE if member.epoch == target_epoch:
            return member
        case MemberState.UNREVOKED_PARTITIONS:
            if owned is None or not member.revoking.keys().isdisjoint(owned):
                return member
            # What it has given up is free, for itself too.
            given_up = member.revoking.keys()
            return _next(
                member,
                member.epoch + 1,
                target_epoch,
                target,
                lambda partition: partition in given_up or is_free(partition),
                owned,
            )
        case _:
            return _next(member, member.epoch, target_epoch, target, is_free, owned)


def _next(
    member: ConsumerMember,
    epoch: int,
    target_epoch: int,
    target: Partitions,
    is_free: Callable[[TopicPartition], bool],
    owned: Collection[TopicPartition] | None,
) -> ConsumerMember:
    kept = {p: given for p, given in member.assigned.items() if p in target}
    lost = {p: given for p, given in member.assigned.items() if p not in target}
    if lost and (owned is None or not lost.keys().isdisjoint(owned)):
        return _stays(member, epoch, kept, lost)
    wanted = target - kept.keys()
    got = {partition: target_epoch for partition in wanted if is_free(partition)}
    state = MemberState.STABLE
    if len(got) < len(wanted):
        state = MemberState.UNRELEASED_PARTITIONS
    return _changed(member, target_epoch, state, kept | got, {})


def _stays(
    member: ConsumerMember, epoch: int, kept: OwnedPartitions, lost: OwnedPartitions
) -> ConsumerMember:
    """It has to give something up first, and stays out of the target's epoch until then."""
    return _changed(member, epoch, MemberState.UNREVOKED_PARTITIONS, kept, lost)


def _changed(
    member: ConsumerMember,
    epoch: int,
    state: MemberState,
    assigned: OwnedPartitions,
    revoking: OwnedPartitions,
) -> ConsumerMember:
    same = (member.epoch, member.state, member.assigned, member.revoking) == (
        epoch,
        state,
        assigned,
        revoking,
    )
    if same:
        return member
    return replace(member.in_epoch(epoch), state=state, assigned=assigned, revoking=revoking)

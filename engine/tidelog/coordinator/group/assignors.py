"""The server-side assignors of KIP-848: `range` and `uniform`. Pure functions.

    range     each topic for itself: its partitions in order, in contiguous pieces, to the members
              that subscribe to it in their order (static members first, by instance id, then the
              others by member id); the first ones get one more. Topics with as many partitions and
              the same subscribers are therefore cut alike.
    uniform   everybody gets as many partitions as everybody else (the difference is one at most
              where all subscribe to the same topics), and keeps what it had as far as that allows.

Both are deterministic: the same group, the same assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heapreplace
from typing import Final, NamedTuple

#: Topic id and partition index.
TopicPartition = tuple[bytes, int]
Partitions = frozenset[TopicPartition]


class MemberSpec(NamedTuple):
    """What an assignor knows of a member. target: what it was given last time."""

    topics: frozenset[bytes]
    target: Partitions = frozenset()
    instance_id: str | None = None


class GroupSpec(NamedTuple):
    """members by id; partition_counts of every topic that is subscribed to and exists."""

    members: Mapping[str, MemberSpec]
    partition_counts: Mapping[bytes, int]


Assignor = Callable[[GroupSpec], dict[str, Partitions]]


def assign_range(spec: GroupSpec) -> dict[str, Partitions]:
    """See the module's docstring."""
    ordered = sorted(spec.members, key=lambda m: _range_order(m, spec.members[m]))
    given: dict[str, set[TopicPartition]] = {member: set() for member in spec.members}
    for topic, count in spec.partition_counts.items():
        subscribers = [member for member in ordered if topic in spec.members[member].topics]
        if not subscribers:
            continue
        quota, extra = divmod(count, len(subscribers))
        start = 0
        for position, member in enumerate(subscribers):
            end = start + quota + (position < extra)
            given[member].update((topic, index) for index in range(start, end))
            start = end
    return {member: frozenset(partitions) for member, partitions in given.items()}


def _range_order(member_id: str, member: MemberSpec) -> tuple[bool, str]:
    if member.instance_id is not None:
        return False, member.instance_id
    return True, member_id


def assign_uniform(spec: GroupSpec) -> dict[str, Partitions]:
    """See the module's docstring."""
    subscriptions = {member.topics for member in spec.members.values()}
    if len(subscriptions) <= 1:
        return _assign_alike(spec)
    return _assign_differing(spec)


def _assign_alike(spec: GroupSpec) -> dict[str, Partitions]:
    """All members subscribe to the same topics."""
    members = sorted(spec.members)
    if not members:
        return {}
    topics = spec.members[members[0]].topics
    free = [
        (topic, index)
        for topic in sorted(topics & spec.partition_counts.keys())
        for index in range(spec.partition_counts[topic])
    ]
    quota, extra = divmod(len(free), len(members))
    existing = set(free)
    kept: dict[str, list[TopicPartition]] = {}
    # Those who had most keep one more, so that fewer partitions move.
    for member in sorted(members, key=lambda m: (-len(spec.members[m].target), m)):
        had = sorted(spec.members[member].target & existing)
        limit = quota
        if extra and len(had) > quota:
            limit, extra = quota + 1, extra - 1
        kept[member] = had[:limit]
        # A partition stays with one member, also when the last targets were not disjoint.
        existing.difference_update(kept[member])
    free = [partition for partition in free if partition in existing]
    position = 0
    for member in members:
        missing = quota - len(kept[member])
        if extra and missing >= 0:
            missing, extra = missing + 1, extra - 1
        if missing > 0:
            kept[member] += free[position : position + missing]
            position += missing
    return {member: frozenset(partitions) for member, partitions in kept.items()}


def _assign_differing(spec: GroupSpec) -> dict[str, Partitions]:
    """Members subscribe to different topics: keep, fill up the emptiest, then level out."""
    subscribers = {
        topic: sorted(m for m, member in spec.members.items() if topic in member.topics)
        for topic in sorted(spec.partition_counts)
    }
    owners: dict[TopicPartition, str] = {}
    counts = dict.fromkeys(spec.members, 0)
    for member in sorted(spec.members):
        for topic, index in sorted(spec.members[member].target):
            known = topic in spec.members[member].topics
            exists = index < spec.partition_counts.get(topic, 0)
            if known and exists and (topic, index) not in owners:
                owners[topic, index] = member
                counts[member] += 1
    # Topics with few subscribers first: they leave the least choice.
    for topic in sorted(subscribers, key=lambda t: (len(subscribers[t]), t)):
        emptiest = [(counts[member], member) for member in subscribers[topic]]
        heapify(emptiest)
        for index in range(spec.partition_counts[topic] if emptiest else 0):
            if (topic, index) not in owners:
                count, member = emptiest[0]
                heapreplace(emptiest, (count + 1, member))
                owners[topic, index] = member
                counts[member] += 1
    _level(spec.partition_counts, subscribers, owners, counts)
    given: dict[str, set[TopicPartition]] = {member: set() for member in spec.members}
    for partition, member in owners.items():
        given[member].add(partition)
    return {member: frozenset(partitions) for member, partitions in given.items()}


def _level(
    partition_counts: Mapping[bytes, int],
    subscribers: Mapping[bytes, list[str]],
    owners: dict[TopicPartition, str],
    counts: dict[str, int],
) -> None:
    """Move partitions from fuller to emptier members of the same topic until no move levels
    anything. Each move makes the sum of squares smaller, so it ends.
    """
    moved = True
    while moved:
        moved = False
        for topic, members in subscribers.items():
            if len(members) < 2:
                continue
            emptiest = min(members, key=lambda m: (counts[m], m))
            for index in range(partition_counts[topic]):
                owner = owners[topic, index]
                if counts[owner] - counts[emptiest] >= 2:
                    owners[topic, index] = emptiest
                    counts[owner] -= 1
                    counts[emptiest] += 1
                    emptiest = min(members, key=lambda m: (counts[m], m))
                    moved = True


#: By the names that group.consumer.assignors knows.
ASSIGNORS: Final[Mapping[str, Assignor]] = {"uniform": assign_uniform, "range": assign_range}


def usable(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the configured assignors that exist here, in their order; all of ours when none
    does.
    """
    found = tuple(name for name in names if name in ASSIGNORS)
    return found or tuple(ASSIGNORS)

"""The server-side assignors: tables of partitions per member, what is kept, what is level."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tidelog.coordinator.group.assignors import (
    ASSIGNORS,
    GroupSpec,
    MemberSpec,
    Partitions,
    assign_range,
    assign_uniform,
    usable,
)

A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))


def alike(members: int, *topics: bytes) -> dict[str, MemberSpec]:
    return {f"m{n}": MemberSpec(frozenset(topics)) for n in range(members)}


def indexes(given: dict[str, Partitions], topic: bytes) -> list[list[int]]:
    """Partitions of the topic for each member, in the members' order."""
    return [sorted(i for t, i in given[member] if t == topic) for member in sorted(given)]


@pytest.mark.parametrize(
    ("members", "partitions", "expected"),
    [
        (1, 3, [[0, 1, 2]]),
        (2, 3, [[0, 1], [2]]),
        (2, 4, [[0, 1], [2, 3]]),
        (3, 3, [[0], [1], [2]]),
        (3, 7, [[0, 1, 2], [3, 4], [5, 6]]),
        (4, 2, [[0], [1], [], []]),
    ],
)
def test_range_cuts_every_topic_into_pieces(
    members: int, partitions: int, expected: list[list[int]]
) -> None:
    given = assign_range(GroupSpec(alike(members, A, B), {A: partitions, B: partitions}))
    assert indexes(given, A) == indexes(given, B) == expected


def test_range_puts_static_members_first() -> None:
    members = {
        "a": MemberSpec(frozenset({A})),
        "z": MemberSpec(frozenset({A}), instance_id="one"),
    }
    given = assign_range(GroupSpec(members, {A: 3}))
    assert given == {"z": frozenset({(A, 0), (A, 1)}), "a": frozenset({(A, 2)})}


@pytest.mark.parametrize(
    ("members", "counts", "expected"),
    [
        (1, (3, 2), [5]),
        (2, (3, 2), [3, 2]),
        (3, (3, 3), [2, 2, 2]),
        (3, (4, 4), [3, 3, 2]),
        (4, (1, 1), [1, 1, 0, 0]),
    ],
)
def test_uniform_gives_everybody_the_same_number(
    members: int, counts: tuple[int, int], expected: list[int]
) -> None:
    given = assign_uniform(GroupSpec(alike(members, A, B), dict(zip((A, B), counts, strict=True))))
    assert sorted(map(len, given.values()), reverse=True) == expected


def test_uniform_keeps_what_members_had() -> None:
    before = assign_uniform(GroupSpec(alike(3, A), {A: 6}))
    members = {member: MemberSpec(frozenset({A}), target) for member, target in before.items()} | {
        "new": MemberSpec(frozenset({A}))
    }
    after = assign_uniform(GroupSpec(members, {A: 6}))
    moved = sum(len(after[member] - before[member]) for member in before)
    assert moved == 0
    assert len(after["new"]) == 1
    del members["m0"]
    rest = assign_uniform(
        GroupSpec({m: MemberSpec(frozenset({A}), after[m]) for m in members}, {A: 6})
    )
    assert all(after[member] <= rest[member] for member in members)


def check(spec: GroupSpec, given: dict[str, Partitions]) -> None:
    """Every partition that somebody subscribes to is given once, to a subscriber."""
    owners = Counter(partition for partitions in given.values() for partition in partitions)
    assert all(count == 1 for count in owners.values())
    subscribed = {topic for member in spec.members.values() for topic in member.topics}
    assert owners.keys() == {
        (topic, index)
        for topic, count in spec.partition_counts.items()
        if topic in subscribed
        for index in range(count)
    }
    for member, partitions in given.items():
        assert {topic for topic, _ in partitions} <= spec.members[member].topics


@pytest.mark.parametrize("name", sorted(ASSIGNORS))
def test_random_groups(name: str) -> None:
    rng = random.Random(1)
    for _ in range(300):
        counts = {topic: rng.randint(0, 6) for topic in (A, B, C)}
        members: dict[str, MemberSpec] = {}
        target: dict[str, Partitions] = {}
        for _ in range(4):
            members = {
                f"m{n}": MemberSpec(
                    frozenset(rng.sample((A, B, C), rng.randint(1, 3))),
                    target.get(f"m{n}", frozenset()),
                )
                for n in range(rng.randint(1, 5))
            }
            spec = GroupSpec(members, counts)
            target = ASSIGNORS[name](spec)
            check(spec, target)
            assert ASSIGNORS[name](spec) == target
            counts = {topic: count + rng.randint(0, 2) for topic, count in counts.items()}


def test_uniform_levels_members_with_different_topics() -> None:
    members = {
        "both": MemberSpec(frozenset({A, B})),
        "a": MemberSpec(frozenset({A})),
        "b": MemberSpec(frozenset({B})),
    }
    given = assign_uniform(GroupSpec(members, {A: 3, B: 3}))
    assert {member: len(partitions) for member, partitions in given.items()} == {
        "both": 2,
        "a": 2,
        "b": 2,
    }


def test_a_group_without_members() -> None:
    for assign in ASSIGNORS.values():
        assert assign(GroupSpec({}, {A: 2})) == {}


def test_configured_assignors() -> None:
    assert usable(["range", "mine", "uniform"]) == ("range", "uniform")
    assert usable(["org.example.Mine"]) == ("uniform", "range")

"""Reassignments: what is refused, what begins, what is complete at once, and the way back."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import ReplicatedWorld, World
from tidelog.controller.requests import (
    AlterReassignments,
    AlterReassignmentsAnswer,
    PartitionReassignment,
)
from tidelog.protocol.error_codes import ErrorCode

BAD = ErrorCode.INVALID_REPLICA_ASSIGNMENT


def move(
    world: World,
    *items: tuple[str, int, tuple[int, ...] | None],
    change_factor: bool = True,
) -> list[tuple[int, str | None]]:
    wanted = tuple(PartitionReassignment(*item) for item in items)
    answer = world.ask(AlterReassignments(wanted, change_factor))
    assert isinstance(answer, AlterReassignmentsAnswer)
    assert [(r.topic, r.partition) for r in answer.partitions] == [item[:2] for item in items]
    return [(result.error_code, result.error_message) for result in answer.partitions]


def replicas(world: ReplicatedWorld, name: str = "t") -> tuple[tuple[int, ...], ...]:
    at = world.at(name)
    return at.replicas, at.adding_replicas, at.removing_replicas


@pytest.mark.parametrize(
    ("item", "code", "message"),
    [
        (("no", 0, (1,)), 3, "Unable to find a topic named no."),
        (("no", 0, None), 3, "Unable to find a topic named no."),
        (("t", 5, (1,)), 3, "Unable to find partition t:5."),
        (("t", -1, (1,)), 3, "Unable to find partition t:-1."),
        (("t", 0, ()), BAD, "The manual partition assignment includes an empty replica list."),
        (
            ("t", 0, (2, 1, 1)),
            BAD,
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            ("t", 0, (1, 9)),
            BAD,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
        (
            ("t", 0, (-1,)),
            BAD,
            "The manual partition assignment includes broker -1, but no such broker is registered.",
        ),
        (("t", 0, (1, 2, 3, 4)), BAD, "more than 3 replica(s) are not supported"),
        (("t", 0, None), ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, None),
    ],
)
def test_refused(
    item: tuple[str, int, tuple[int, ...] | None], code: int, message: str | None
) -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2))
    assert move(world, item) == [(code, message)]
    assert world.records == []


@pytest.mark.parametrize(
    ("target", "code"), [((3, 4), 0), ((3,), 38), ((1, 2, 3), 38), ((2, 1), 0)]
)
def test_the_replication_factor_may_have_to_stay(target: tuple[int, ...], code: int) -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2))
    ((found, message),) = move(world, ("t", 0, target), change_factor=False)
    assert found == code
    if code:
        assert message == f"The replication factor is changed from 2 to {len(target)}"


@pytest.mark.parametrize(
    ("target", "expected", "state"),
    [
        # From replicas 1 2 3, in sync 1 2, led by 1, epochs 5 and 9.
        ((1, 2, 3), ((1, 2, 3), (), ()), (1, (1, 2), 5, 9)),
        ((3, 2, 1), ((3, 2, 1), (), ()), (1, (1, 2), 5, 10)),
        ((1, 2), ((1, 2), (), ()), (1, (1, 2), 6, 10)),
        ((2,), ((2,), (), ()), (2, (2,), 6, 10)),
        # Not in sync yet: waits.
        ((1, 3), ((1, 3, 2), (), (2,)), (1, (1, 2), 5, 10)),
        ((1, 2, 4), ((1, 2, 4, 3), (4,), (3,)), (1, (1, 2), 5, 10)),
        ((4,), ((4, 1, 2, 3), (4,), (1, 2, 3)), (1, (1, 2), 5, 10)),
    ],
)
def test_begun(
    target: tuple[int, ...],
    expected: tuple[tuple[int, ...], ...],
    state: tuple[int, tuple[int, ...], int, int],
) -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2, 3), (1, 2))
    assert move(world, ("t", 0, target)) == [(0, None)]
    assert (replicas(world), world.state("t")) == (expected, state)


def test_not_complete_while_nobody_of_the_target_could_lead() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1, 2))
    world.set_node(2, down=True)
    move(world, ("t", 0, (2,)))
    assert (replicas(world), world.state("t")[0]) == (((2, 1), (), (1,)), 1)


def test_the_way_back() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1, 2))
    move(world, ("t", 0, (3, 2)))
    assert replicas(world) == ((3, 2, 1), (3,), (1,))
    assert move(world, ("t", 0, None)) == [(0, None)]
    assert replicas(world) == ((2, 1), (), ())
    # The added replica has gone, so a leader epoch begins.
    assert world.state("t") == (1, (1, 2), 6, 11)


def test_the_way_back_moves_the_leadership_if_it_has_to() -> None:
    world = ReplicatedWorld()
    world.put("t", (3, 4, 1), (3, 1), 3, adding=(3, 4), removing=(1,))
    assert move(world, ("t", 0, None)) == [(0, None)]
    assert (replicas(world), world.state("t")) == (((1,), (), ()), (1, (1,), 6, 10))


def test_the_way_back_without_anybody_in_sync() -> None:
    world = ReplicatedWorld()
    world.put("t", (3, 4, 1), (3,), 3, adding=(3, 4), removing=(1,))
    refused = (
        BAD,
        "Unable to revert partition assignment for t:0 because it would require an unclean leader "
        "election.",
    )
    assert move(world, ("t", 0, None)) == [refused]
    world.allow_unclean("t")
    assert move(world, ("t", 0, None)) == [(0, None)]
    assert (world.state("t"), world.unclean) == ((1, (1,), 6, 10), [("t", 0, 1)])


def test_no_way_back_when_nothing_was_there_before() -> None:
    world = ReplicatedWorld()
    world.put("t", (3, 4), (3,), 3, adding=(3, 4))
    world.allow_unclean("t")
    ((code, _),) = move(world, ("t", 0, None))
    assert code == BAD


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        # From 1 on its way to 2 and 3; 2 is in sync already.
        ((2, 4), ((2, 4, 1), (2, 4), (1,))),
        ((3,), ((3, 1), (3,), (1,))),
        ((4,), ((4, 1), (4,), (1,))),
        ((1,), ((1,), (), ())),
        ((2,), ((2,), (), ())),
    ],
)
def test_another_goal_on_the_way(
    target: tuple[int, ...], expected: tuple[tuple[int, ...], ...]
) -> None:
    world = ReplicatedWorld()
    world.put("t", (2, 3, 1), (1, 2), 1, adding=(2, 3), removing=(1,))
    assert move(world, ("t", 0, target)) == [(0, None)]
    assert replicas(world) == expected
    if expected[1]:
        # From wherever it is, the way back leads to where it began.
        move(world, ("t", 0, None))
        assert (replicas(world), world.state("t")[1]) == (((1,), (), ()), (1,))


def test_what_is_given_up_stays_while_nobody_else_is_in_sync() -> None:
    world = ReplicatedWorld()
    world.put("t", (2, 4, 1), (2,), 2, adding=(2, 4), removing=(1,))
    move(world, ("t", 0, (3,)))
    assert replicas(world) == ((3, 1, 2), (3,), (1, 2))
    assert world.state("t")[:2] == (2, (2,))


def test_each_partition_is_decided_for_itself() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2))
    world.put("u", (1, 2))
    results = move(world, ("t", 0, (3,)), ("no", 0, (1,)), ("t", 0, (4,)), ("u", 0, (2, 1)))
    assert [code for code, _ in results] == [0, 3, ErrorCode.INVALID_REQUEST, 0]
    assert replicas(world) == ((3, 1, 2), (3,), (1, 2))

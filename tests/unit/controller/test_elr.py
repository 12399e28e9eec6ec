"""Who may lead besides the ISR (KIP-966)."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import World
from tidelog.controller.elr import InSync, elect, with_isr, without
from tidelog.controller.requests import (
    AlterConfigs,
    ConfigChange,
    FenceNode,
    NewTopic,
    NodeDown,
    RegisterNode,
    ResourceChange,
    StartCluster,
    UnfenceNode,
)
from tidelog.metadata.image import PartitionImage


@pytest.mark.parametrize(
    ("isr", "elr", "after", "eligible"),
    [
        ((1, 2, 3), (), (1, 2), ()),  # large enough
        ((1, 2), (), (1,), (2,)),
        ((1, 2, 3), (), (1,), (2, 3)),
        ((1,), (2,), (1, 3), ()),
        ((1,), (2, 3), (1,), (2, 3)),
        ((1,), (2, 3), (2,), (3, 1)),
    ],
)
def test_whoever_leaves_an_isr_that_is_too_small_stays_eligible(
    isr: tuple[int, ...], elr: tuple[int, ...], after: tuple[int, ...], eligible: tuple[int, ...]
) -> None:
    found = with_isr(InSync(isr, elr), after, 2)
    assert found.isr == after
    assert set(found.elr) == set(eligible)


def test_who_may_lack_records_is_neither_unless_it_is_the_last() -> None:
    assert without(InSync((1,), (2,)), 1) == ((), (2,))
    assert without(InSync((1, 2), ()), 1) == ((2,), ())
    assert without(InSync((1,), (2,)), 2) == ((1,), ())
    assert without(InSync((1,), ()), 1) == ((1,), ())
    assert without(InSync((), (2,)), 2) == ((), (2,))


def test_elections() -> None:
    assert elect(InSync((3, 2), (1,)), (1, 2, 3), {2, 3}, 2) == (2, ((3, 2), (1,)))
    assert elect(InSync((3,), (1, 2)), (1, 2, 3), {1, 2}, 2) == (1, ((1,), (2, 3)))
    assert elect(InSync((), (2,)), (1, 2, 3), {1, 2}, 2) == (2, ((2,), ()))
    assert elect(InSync((3,), ()), (1, 2, 3), {1, 2}, 2) == (-1, ((3,), ()))


# --- through the controller ----------------------------------------------------------------------


def world(min_isr: int = 2) -> World:
    made = World(3, {"min.insync.replicas": str(min_isr)})
    assert made.create(NewTopic("t", 1, 3)) == [0]
    return made


def partition(world: World) -> PartitionImage:
    return world.image.topics["t"].partitions[0]


def state(world: World) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    found = partition(world)
    return found.leader, found.isr, found.elr


def down(world: World, *node_ids: int) -> None:
    world.ask(NodeDown(tuple((node, world.image.nodes[node].epoch) for node in node_ids)))


def back(world: World, node_id: int, *, unclean: bool = False) -> None:
    node = world.image.nodes[node_id]
    world.ask(
        RegisterNode(node_id, None, node.endpoints, "127.0.0.1", 1, node.directory, unclean=unclean)
    )
    world.ask(UnfenceNode(node_id, world.image.nodes[node_id].epoch))


def test_a_power_cut_of_the_last_member_costs_nothing() -> None:
    """What is committed is on those that were stopped in order; the last one lost it."""
    made = world()
    leader = partition(made).leader
    first, second = (node for node in (1, 2, 3) if node != leader)
    down(made, first)
    assert state(made) == (leader, (leader, second), ())
    down(made, second)
    assert state(made) == (leader, (leader,), (second,))
    down(made, leader)
    back(made, leader, unclean=True)
    assert state(made) == (-1, (), (second,))
    back(made, first)
    assert partition(made).leader == -1  # it had left while the high watermark could still move
    back(made, second)
    assert state(made) == (second, (second,), ())


def test_an_eligible_replica_leads_when_the_isr_has_nobody() -> None:
    made = world()
    down(made, 2)
    down(made, 3)
    assert state(made) == (1, (1,), (3,))
    back(made, 2)
    back(made, 3)
    down(made, 1)
    assert state(made) == (3, (3,), (1,))
    assert partition(made).leader_epoch == 1


def test_the_only_replica_stays_in_sync_whatever_happens() -> None:
    made = World(1)
    made.create(NewTopic("t", 1, 1))
    down(made, 1)
    back(made, 1, unclean=True)
    assert state(made) == (1, (1,), ())


@pytest.mark.parametrize("resource", [(2, "t"), (4, "")])
def test_a_smaller_minimum_ends_eligibility(resource: tuple[int, str]) -> None:
    """From then on the leader commits alone, and the others fall behind."""
    made = world()
    down(made, 2)
    down(made, 3)
    assert state(made) == (1, (1,), (3,))
    epoch = partition(made).partition_epoch
    change = ConfigChange("min.insync.replicas", "1")
    made.ask(AlterConfigs((ResourceChange(*resource, (change,)),)))
    assert state(made) == (1, (1,), ())
    assert partition(made).partition_epoch == epoch + 1


def test_a_start_with_a_smaller_minimum_ends_eligibility() -> None:
    made = world()
    down(made, 2)
    down(made, 3)
    smaller = World(3, {"min.insync.replicas": "1"})
    smaller.image = made.image
    smaller.ask(StartCluster("c" * 22))
    assert state(smaller) == (1, (1,), ())


def test_a_fenced_leader_without_anybody_leaves_its_isr_as_it_is() -> None:
    made = world()
    down(made, 2)
    down(made, 3)
    made.ask(FenceNode(1, made.image.nodes[1].epoch))
    assert state(made) == (-1, (1,), (3,))

"""How one partition changes: who stays in an ISR, who is elected, which epochs begin.

(Together, over long histories: test_walk.)
"""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import ReplicatedWorld
from tidelog.config import BrokerLayers
from tidelog.controller.partition_changes import (
    Election,
    NodeStates,
    PartitionChanges,
    isr_without,
)
from tidelog.controller.requests import Done
from tidelog.metadata.records import NO_LEADER


def states(live: str = "", stopping: str = "", returning: str = "") -> NodeStates:
    """Each a list of node ids of one digit."""
    up = frozenset(map(int, live + stopping))
    return NodeStates(frozenset(map(int, live)), up, frozenset(map(int, returning)))


@pytest.mark.parametrize(
    ("gone", "others", "rest"),
    [
        ({1}, {2, 3}, (2, 3)),
        ({1}, {3}, (2, 3)),
        ({1}, {1}, (1, 2, 3)),
        ({1, 2, 3}, {4}, (1, 2, 3)),
        (set(), {1}, (1, 2, 3)),
        ({9}, {1}, (1, 2, 3)),
    ],
)
def test_somebody_stays_in_an_isr(gone: set[int], others: set[int], rest: tuple[int, ...]) -> None:
    assert isr_without((1, 2, 3), gone, others) == rest


def test_states_of_nodes() -> None:
    world = ReplicatedWorld(nodes=4)
    world.set_node(2, shutting_down=True)
    world.set_node(3, down=True)
    world.set_node(4, fenced=True)
    found = NodeStates.of(world.image)
    assert found == states("1", "2", "3")
    assert found.serving(3) == states("13", "2")
    assert found.leaving(1) == states("", "12", "3")
    assert found.ended(frozenset((1, 2)), returning=True) == states("", "", "123")
    assert found.ended(frozenset((1, 3)), returning=False) == states("", "2", "")


@pytest.mark.parametrize(
    ("nodes", "isr", "leader", "election", "after"),
    [
        # Replicas 1 2 3.
        (states("123"), (1, 2, 3), 2, Election.NEEDED, 2),
        (states("123"), (1, 2, 3), 2, Election.PREFERRED, 1),
        (states("23"), (1, 2, 3), 2, Election.PREFERRED, 2),
        (states("123"), (2, 3), 3, Election.PREFERRED, 3),
        (states("23"), (3, 2, 1), 1, Election.NEEDED, 2),
        (states("23"), (3, 2, 1), 1, Election.PREFERRED, 2),
        (states("3"), (1, 2), 1, Election.NEEDED, NO_LEADER),
        (states("3"), (1, 2), 1, Election.PREFERRED, NO_LEADER),
        (states("12"), (1, 2), NO_LEADER, Election.NEEDED, 1),
        # Nobody could follow it: it waits alone, or goes on as long as it can.
        (states("3", returning="1"), (1,), 1, Election.NEEDED, 1),
        (states("3", returning="1"), (1, 2), 1, Election.NEEDED, NO_LEADER),
        (states("3", returning="1"), (1,), NO_LEADER, Election.NEEDED, NO_LEADER),
        (states("3", stopping="1"), (1,), 1, Election.NEEDED, 1),
        (states("3", stopping="1"), (1, 2), 1, Election.NEEDED, 1),
        (states("23", stopping="1"), (1, 2), 1, Election.NEEDED, 2),
        # Somebody has asked for it.
        (states("3"), (1, 2), 1, Election.UNCLEAN, 3),
        (states("3", returning="1"), (1, 2), NO_LEADER, Election.UNCLEAN, 3),
        (states("23"), (1, 2), 1, Election.UNCLEAN, 2),
        (states(), (1, 2), 1, Election.UNCLEAN, NO_LEADER),
    ],
)
def test_who_is_elected(
    nodes: NodeStates, isr: tuple[int, ...], leader: int, election: Election, after: int
) -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2, 3), isr, leader)
    changes = PartitionChanges(world.image, BrokerLayers(), nodes)
    record = changes.change(world.image.topics["t"], world.at("t"), election=election)
    decision = changes.decision(Done())
    if after == leader:
        assert record is None and decision.records == []
        return
    assert record is not None and decision.records == [record]
    assert (record.leader, record.leader_epoch, record.partition_epoch) == (after, 6, 10)
    clean = after == NO_LEADER or after in isr
    assert record.isr == (isr if clean else (after,))
    assert bool(decision.unclean_elections) == (not clean)


def test_a_new_life_begins_a_leader_epoch() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2))
    topic, partition = world.image.topics["t"], world.at("t")
    changes = PartitionChanges(world.image, BrokerLayers(), states("12"))
    assert changes.change(topic, partition, new_life_of=2) is None
    record = changes.change(topic, partition, new_life_of=1)
    assert record is not None
    assert (record.leader, record.leader_epoch, record.partition_epoch) == (1, 6, 10)

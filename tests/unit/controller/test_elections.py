"""Elections that are asked for: preferred, unclean, by timers."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import ReplicatedWorld
from tidelog.controller.requests import (
    Done,
    ElectLeaders,
    ElectLeadersAnswer,
    ElectUnclean,
    RebalanceLeaders,
    RebalanceLeadersAnswer,
)
from tidelog.limits import LEADERS_REBALANCED_MAX
from tidelog.protocol.error_codes import ErrorCode

NOT_NEEDED = ErrorCode.ELECTION_NOT_NEEDED
NO_PREFERRED = ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
NO_ELIGIBLE = ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE


def elect(world: ReplicatedWorld, kind: int, *places: tuple[str, int]) -> list[int]:
    answer = world.ask(ElectLeaders(kind, places))
    assert isinstance(answer, ElectLeadersAnswer)
    assert [(r.topic, r.partition) for r in answer.partitions] == list(places)
    assert all((r.error_code == 0) == (r.error_message is None) for r in answer.partitions)
    return [result.error_code for result in answer.partitions]


def elect_all(world: ReplicatedWorld, kind: int) -> list[tuple[str, int, int]]:
    answer = world.ask(ElectLeaders(kind, None))
    assert isinstance(answer, ElectLeadersAnswer)
    return [(r.topic, r.partition, r.error_code) for r in answer.partitions]


@pytest.mark.parametrize(
    ("kind", "isr", "leader", "code", "after"),
    [
        # replicas 1 2 3; node 4 holds nothing; 9: an unknown type
        (0, (1, 2), 1, NOT_NEEDED, 1),
        (0, (1, 2), 2, 0, 1),
        (9, (1, 2), 2, 0, 1),
        (0, (2, 3), 3, NO_PREFERRED, 3),
        (1, (1, 2), 2, NOT_NEEDED, 2),
        (1, (2, 3), 3, NOT_NEEDED, 3),
    ],
)
def test_with_all_nodes_live(
    kind: int, isr: tuple[int, ...], leader: int, code: int, after: int
) -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2, 3), isr, leader)
    assert elect(world, kind, ("t", 0)) == [code]
    moved = after != leader
    assert world.state("t") == (after, isr, 5 + moved, 9 + moved)
    assert bool(world.records) == moved
    assert world.unclean == []


def test_a_first_replica_that_is_not_live_is_not_elected() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1, 2), 2)
    for state in ("fenced", "down", "shutting_down"):
        world.set_node(1, **{state: True})
        assert elect(world, 0, ("t", 0)) == [NO_PREFERRED]
        world.set_node(1, **{state: False})


def test_without_a_leader() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2, 3), (1,), -1)
    world.set_node(1, fenced=True)
    assert elect(world, 0, ("t", 0)) == [NO_PREFERRED]
    assert world.records == []
    assert elect(world, 1, ("t", 0)) == [0]
    assert world.state("t") == (2, (2,), 6, 10)
    assert world.unclean == [("t", 0, 2)]


def test_nobody_is_left() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1,), -1)
    for node_id in (1, 2):
        world.set_node(node_id, fenced=True)
    assert elect(world, 1, ("t", 0)) == [NO_ELIGIBLE]
    assert elect(world, 0, ("t", 0)) == [NO_PREFERRED]


def test_what_does_not_exist_and_what_is_named_twice() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1, 2), 2)
    missing = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    places = (("t", 0), ("none", 0), ("t", 1), ("t", 0), ("none", 0))
    assert elect(world, 0, *places) == [0, missing, missing, NOT_NEEDED, missing]
    assert len(world.records) == 1


def test_sentences_are_those_that_the_tools_print() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (2,), 2)
    world.put("led", (1, 2))
    places = (("t", 0), ("led", 0), ("none", 0), ("led", 7))
    answer = world.ask(ElectLeaders(0, places))
    assert isinstance(answer, ElectLeadersAnswer)
    assert [each.error_message for each in answer.partitions] == [
        "The preferred leader was not available.",
        "Leader election not needed for topic partition.",
        "No such topic as none",
        "No such partition as led-7",
    ]


def test_all_partitions_that_need_it() -> None:
    world = ReplicatedWorld()
    world.put("a", (1, 2))
    world.put("b", (1, 2), (1, 2), 2)
    world.put("c", (3, 2), (2,), 2)
    world.put("d", (3, 4), (3,), -1)
    world.set_node(3, fenced=True)
    assert elect_all(world, 0) == [("b", 0, 0), ("c", 0, NO_PREFERRED), ("d", 0, NO_PREFERRED)]
    assert elect_all(world, 1) == [("d", 0, 0)]
    assert world.unclean == [("d", 0, 4)]
    assert elect_all(world, 1) == []


def test_leaders_go_back_to_their_first_replicas() -> None:
    world = ReplicatedWorld()
    world.put("a", (1, 2), (1, 2), 2)
    world.put("b", (1, 2), (2,), 2)
    world.put("c", (3, 2), (3, 2), 2)
    world.put("d", (2, 1))
    world.set_node(3, down=True)
    assert world.ask(RebalanceLeaders()) == RebalanceLeadersAnswer(1)
    assert [world.state(name)[0] for name in "abcd"] == [1, 2, 2, 2]
    assert world.ask(RebalanceLeaders()) == RebalanceLeadersAnswer(0)


def test_leaders_go_back_so_many_at_a_time() -> None:
    world = ReplicatedWorld()
    for number in range(LEADERS_REBALANCED_MAX + 2):
        world.put(f"t{number}", (1, 2), (1, 2), 2)
    more = RebalanceLeadersAnswer(LEADERS_REBALANCED_MAX, True)
    assert world.ask(RebalanceLeaders()) == more
    assert len(world.records) == LEADERS_REBALANCED_MAX
    assert world.ask(RebalanceLeaders()) == RebalanceLeadersAnswer(2)


def test_leaders_stay_where_that_is_wanted() -> None:
    world = ReplicatedWorld(static={"auto.leader.rebalance.enable": "false"})
    world.put("a", (1, 2), (1, 2), 2)
    assert world.ask(RebalanceLeaders()) == RebalanceLeadersAnswer(0)
    assert world.state("a")[0] == 2


@pytest.mark.parametrize(
    ("own", "broker", "elects"),
    [
        (None, None, False),
        ("true", None, True),
        ("true", "false", True),
        (None, "true", True),
        ("false", "true", False),
    ],
)
def test_unclean_elections_where_the_topic_allows_them(
    own: str | None, broker: str | None, elects: bool
) -> None:
    static = {} if broker is None else {"unclean.leader.election.enable": broker}
    world = ReplicatedWorld(static=static)
    world.put("t", (1, 2), (1,), -1)
    world.set_node(1, fenced=True)
    if own is not None:
        world.set_topic_config("t", "unclean.leader.election.enable", own)
    assert world.ask(ElectUnclean()) == Done()
    assert world.state("t") == ((2, (2,), 6, 10) if elects else (-1, (1,), 5, 9))
    assert world.unclean == ([("t", 0, 2)] if elects else [])


def test_nobody_is_elected_uncleanly_while_a_member_is_about_to_return() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2, 3), (1, 2), -1)
    world.allow_unclean("t")
    world.set_node(1, fenced=True)
    world.set_node(2, down=True)
    world.ask(ElectUnclean())
    assert world.records == []
    world.set_node(2, down=False, fenced=True)
    world.ask(ElectUnclean())
    assert world.state("t")[:2] == (3, (3,))

"""Fewer nodes: where each log goes, and what the metadata says when it is there."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.controller.worlds import World, node
from tidelog.controller.requests import Done, FenceNode, FinishMoves, NewTopic, PlanMoves
from tidelog.errors import InvariantError
from tidelog.metadata.records import PartitionRecord
from tidelog.protocol.error_codes import ErrorCode


def world() -> World:
    made = World(nodes=3)
    made.create(NewTopic("a", 7), NewTopic("b", 2))
    return made


def holders(made: World) -> Counter[int]:
    return Counter(
        replica for t in made.image.topics.values() for p in t.partitions for replica in p.replicas
    )


def test_a_plan_changes_nothing_but_the_journal() -> None:
    made = world()
    before = dict(made.image.topics)
    assert made.ask(PlanMoves((2, 3), (1,))) == Done()
    assert made.image.topics == before
    assert {move.target for move in made.image.moves.values()} == {1}
    assert {move.source for move in made.image.moves.values()} == {2, 3}
    assert len(made.image.moves) == holders(made)[2] + holders(made)[3]


def test_the_targets_end_with_equal_shares() -> None:
    made = world()
    made.ask(PlanMoves((3,), (1, 2)))
    made.ask(FinishMoves())
    assert holders(made) == {1: 5, 2: 4}
    assert made.image.moves == {}


def test_a_finished_move_begins_new_epochs_and_leads_at_the_new_place() -> None:
    made = world()
    before = {p.index: p for p in made.image.topics["a"].partitions}
    made.ask(PlanMoves((3,), (1, 2)))
    made.ask(FinishMoves())
    for after in made.image.topics["a"].partitions:
        old = before[after.index]
        if old.leader != 3:
            assert after == old
            continue
        assert after.replicas == after.isr == (after.leader,)
        assert after.leader in (1, 2)
        assert after.leader_epoch == old.leader_epoch + 1
        assert after.partition_epoch == old.partition_epoch + 1
    assert sum(made.image.leader_counts.values()) == 9


def test_a_target_that_does_not_serve_waits_for_its_leadership() -> None:
    made = world()
    made.ask(FenceNode(1, 0))
    made.ask(PlanMoves((2, 3), (1,)))
    made.ask(FinishMoves())
    found = made.image.topics["a"].partitions
    assert {(p.leader, p.isr) for p in found} == {(-1, (1,))}


def test_a_source_without_leadership_keeps_it_so() -> None:
    made = world()
    made.ask(FenceNode(3, 0))
    made.ask(PlanMoves((3,), (1,)))
    made.ask(FinishMoves())
    assert holders(made)[3] == 0
    assert any(p.leader == -1 for p in made.image.topics["a"].partitions)


def test_a_log_does_not_go_where_it_has_a_replica() -> None:
    made = world()
    topic = made.image.topics["b"]
    made.apply(PartitionRecord(topic.topic_id, 0, (3, 1), (3, 1), 3, 5, 5))
    made.ask(PlanMoves((3,), (1, 2)))
    assert made.image.moves[topic.topic_id, 0].target == 2
    made.ask(FinishMoves())
    found = made.image.topics["b"].partitions[0]
    assert (found.replicas, found.isr, found.leader) == ((2, 1), (2, 1), 2)
    answer = made.ask(PlanMoves((2,), (1,)))
    assert isinstance(answer, Done)
    assert answer.error_code == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert made.image.moves == {}


def test_a_plan_is_finished_before_the_next_one() -> None:
    made = world()
    made.ask(PlanMoves((3,), (1, 2)))
    with pytest.raises(InvariantError):
        made.ask(PlanMoves((2,), (1,)))


def test_nothing_to_move() -> None:
    made = World(nodes=1)
    made.apply(node(2))
    assert made.ask(PlanMoves((2,), (1,))) == Done()
    assert made.records == []
    assert made.ask(FinishMoves()) == Done()
    assert made.records == []

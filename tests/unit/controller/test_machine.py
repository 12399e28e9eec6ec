"""The machine hands each event to its part; producer id blocks are never given twice."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import World
from tidelog.controller.requests import (
    AllocateProducerIds,
    AllocateProducerIdsAnswer,
    ControllerRequest,
)
from tidelog.errors import InvariantError
from tidelog.metadata.records import ProducerIdsRecord


def test_blocks_follow_each_other() -> None:
    world = World(nodes=2)
    firsts = []
    for node_id in (1, 2, 1):
        answer = world.ask(AllocateProducerIds(node_id, 0))
        assert isinstance(answer, AllocateProducerIdsAnswer)
        assert (answer.error_code, answer.length) == (0, 1000)
        firsts.append(answer.first_producer_id)
    assert firsts == [0, 1000, 2000]
    assert world.image.next_producer_id == 3000


@pytest.mark.parametrize(("node_id", "epoch"), [(1, 1), (2, 0)])
def test_only_a_present_life_gets_ids(node_id: int, epoch: int) -> None:
    world = World()
    answer = world.ask(AllocateProducerIds(node_id, epoch))
    assert isinstance(answer, AllocateProducerIdsAnswer)
    assert answer.error_code == 77
    assert world.records == []


def test_ids_run_out_without_wrapping() -> None:
    world = World()
    world.apply(ProducerIdsRecord(2**63 - 1000))
    answer = world.ask(AllocateProducerIds(1, 0))
    assert isinstance(answer, AllocateProducerIdsAnswer)
    assert answer.error_code == -1


def test_an_unknown_event_is_our_fault() -> None:
    with pytest.raises(InvariantError):
        World().ask(ControllerRequest())

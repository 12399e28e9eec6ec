"""ReportOffline: who leads, and who is in sync, when a log directory fails while its node runs."""

from __future__ import annotations

from tests.unit.controller.worlds import ReplicatedWorld
from tidelog.controller.requests import (
    AlterIsr,
    AlterIsrAnswer,
    Done,
    ElectLeaders,
    ElectUnclean,
    IsrChange,
    NodeDown,
    RebalanceLeaders,
    RegisterNode,
    ReportOffline,
    UnfenceNode,
)
from tidelog.protocol.error_codes import ErrorCode


def report(world: ReplicatedWorld, node: int, *topics: bytes) -> int:
    epoch = world.image.nodes[node].epoch
    answer = world.ask(ReportOffline(node, epoch, tuple((topic, 0) for topic in topics)))
    assert isinstance(answer, Done)
    return answer.error_code


def test_another_leads_and_the_isr_goes_on_without_it() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3))
    world.put("u", (1, 2, 3))
    assert report(world, 1, t) == 0
    assert world.state("t") == (2, (2, 3), 6, 10)
    assert world.at("t").offline == (1,)
    assert world.state("u") == (1, (1, 2, 3), 5, 9)
    assert report(world, 1, t) == 0
    assert world.records == []


def test_a_follower_leaves_the_isr() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3))
    report(world, 2, t)
    assert world.state("t") == (1, (1, 3), 5, 10)


def test_the_last_in_sync_stays_so_and_nobody_leads() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2), (1,))
    report(world, 1, t)
    assert world.state("t") == (-1, (1,), 6, 10)
    for request in (ElectUnclean(), RebalanceLeaders(), ElectLeaders(0, None)):
        world.ask(request)
        assert world.state("t") == (-1, (1,), 6, 10)
    world.allow_unclean("t")
    world.ask(ElectUnclean())
    assert world.state("t")[:2] == (2, (2,))
    assert world.unclean == [("t", 0, 2)]


def test_it_is_taken_into_no_isr_and_preferred_by_nobody() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3))
    report(world, 1, t)
    change = IsrChange(t, 0, 6, 10, ((2, 0), (3, 0), (1, 0)))
    answer = world.ask(AlterIsr(2, 0, (change,)))
    assert isinstance(answer, AlterIsrAnswer)
    assert answer.partitions[0].error_code == ErrorCode.INELIGIBLE_REPLICA
    world.ask(RebalanceLeaders())
    assert world.records == []


def test_it_leads_again_when_it_is_back() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2), (1,))
    report(world, 1, t)
    report(world, 1)
    assert world.state("t") == (1, (1,), 7, 11)
    assert world.at("t").offline == ()


def test_a_new_life_does_not_lead_what_is_still_offline() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2), (1,))
    report(world, 1, t)
    world.ask(NodeDown(((1, 0),)))
    world.ask(RegisterNode(1, None, world.image.nodes[1].endpoints, "127.0.0.1", 9, "node-1"))
    assert report(world, 1, t) == 0
    world.ask(UnfenceNode(1, world.image.nodes[1].epoch))
    assert world.state("t")[:2] == (-1, (1,))


def test_the_dead_are_led_by_nobody_offline() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3))
    report(world, 2, t)
    world.ask(NodeDown(((1, 0),)))
    assert world.state("t")[:2] == (3, (3,))


def test_an_older_life_is_not_heard() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3))
    answer = world.ask(ReportOffline(1, 77, ((t, 0),)))
    assert isinstance(answer, Done) and answer.error_code == ErrorCode.STALE_BROKER_EPOCH
    answer = world.ask(ReportOffline(99, 0, ((t, 0),)))
    assert isinstance(answer, Done) and answer.error_code == ErrorCode.STALE_BROKER_EPOCH
    assert world.records == []


def test_what_is_not_there_is_passed_over() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (2, 3))
    assert report(world, 1, t, bytes(16)) == 0
    assert world.records == []

"""AlterIsr: what is refused, with which code, and what a committed change answers."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import ReplicatedWorld
from tidelog.controller.requests import AlteredIsr, AlterIsr, AlterIsrAnswer, IsrChange
from tidelog.protocol.error_codes import ErrorCode


def lives(*node_ids: int, epoch: int = 0) -> tuple[tuple[int, int], ...]:
    return tuple((node_id, epoch) for node_id in node_ids)


def ask(
    world: ReplicatedWorld,
    topic_id: bytes,
    isr: tuple[tuple[int, int], ...],
    *,
    node: int = 1,
    partition: int = 0,
    leader_epoch: int = 5,
    partition_epoch: int = 9,
) -> AlteredIsr:
    change = IsrChange(topic_id, partition, leader_epoch, partition_epoch, isr)
    answer = world.ask(AlterIsr(node, world.image.nodes[node].epoch, (change,)))
    assert isinstance(answer, AlterIsrAnswer)
    assert answer.error_code == 0
    (result,) = answer.partitions
    assert (result.topic_id, result.partition) == (topic_id, partition)
    return result


def test_an_isr_grows_and_shrinks() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3), (1, 2))
    assert ask(world, t, lives(1, 2, 3)) == AlteredIsr(t, 0, 0, 1, 5, (1, 2, 3), 10)
    assert world.state("t") == (1, (1, 2, 3), 5, 10)
    assert ask(world, t, lives(1), partition_epoch=10) == AlteredIsr(t, 0, 0, 1, 5, (1,), 11)
    assert world.state("t") == (1, (1,), 5, 11)


@pytest.mark.parametrize(
    ("isr", "places", "code"),
    [
        (lives(1), {"partition": 1}, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (lives(1), {"partition": -1}, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (lives(1), {"leader_epoch": 6}, ErrorCode.NOT_CONTROLLER),
        (lives(1), {"partition_epoch": 10}, ErrorCode.NOT_CONTROLLER),
        (lives(1), {"leader_epoch": 4, "partition_epoch": 10}, ErrorCode.NOT_CONTROLLER),
        (lives(1), {"leader_epoch": 4}, ErrorCode.FENCED_LEADER_EPOCH),
        (lives(2), {"leader_epoch": 4, "node": 2}, ErrorCode.FENCED_LEADER_EPOCH),
        (lives(2), {"node": 2}, ErrorCode.INVALID_REQUEST),
        (lives(2), {"node": 2, "partition_epoch": 8}, ErrorCode.INVALID_REQUEST),
        (lives(1), {"partition_epoch": 8}, ErrorCode.INVALID_UPDATE_VERSION),
        ((), {}, ErrorCode.INVALID_REQUEST),
        (lives(2), {}, ErrorCode.INVALID_REQUEST),
        (lives(1, 4), {}, ErrorCode.INVALID_REQUEST),
        (lives(1, 2, 2), {}, ErrorCode.INVALID_REQUEST),
        ((*lives(1, 2), (3, 1)), {}, ErrorCode.INELIGIBLE_REPLICA),
        ((*lives(1, 2), (3, -1)), {}, ErrorCode.INELIGIBLE_REPLICA),
        (((1, 7), *lives(2, 3)), {}, ErrorCode.INELIGIBLE_REPLICA),
    ],
)
def test_refused(isr: tuple[tuple[int, int], ...], places: dict[str, int], code: int) -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3), (1, 2))
    partition = places.get("partition", 0)
    assert ask(world, t, isr, **places) == AlteredIsr(t, partition, code)
    assert world.records == []


@pytest.mark.parametrize("state", [{"fenced": True}, {"down": True}, {"shutting_down": True}])
def test_whoever_is_going_or_gone_comes_into_no_isr(state: dict[str, bool]) -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3), (1, 2))
    world.set_node(3, **state)
    assert ask(world, t, lives(1, 2, 3)).error_code == ErrorCode.INELIGIBLE_REPLICA


def test_an_unregistered_node_comes_into_no_isr() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 9), (1,))
    assert ask(world, t, lives(1, 9)).error_code == ErrorCode.INELIGIBLE_REPLICA


def test_an_unknown_topic() -> None:
    unknown = bytes(range(16))
    world = ReplicatedWorld()
    assert ask(world, unknown, lives(1)).error_code == ErrorCode.UNKNOWN_TOPIC_ID


@pytest.mark.parametrize(("node", "epoch"), [(1, 1), (1, -1), (9, 0)])
def test_only_a_present_life_is_heard(node: int, epoch: int) -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2))
    change = IsrChange(t, 0, 5, 9, lives(1))
    answer = world.ask(AlterIsr(node, epoch, (change,)))
    assert answer == AlterIsrAnswer(ErrorCode.STALE_BROKER_EPOCH)
    assert world.records == []


@pytest.mark.parametrize("epoch", [9, 8])
def test_what_is_so_already_needs_no_record(epoch: int) -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2, 3), (1, 2))
    for isr in (lives(1, 2), lives(2, 1)):
        answer = ask(world, t, isr, partition_epoch=epoch)
        assert answer == AlteredIsr(t, 0, 0, 1, 5, (1, 2), 9)
        assert world.records == []


def test_each_partition_is_decided_for_itself() -> None:
    world = ReplicatedWorld()
    t, u = world.put("t", (1, 2)), world.put("u", (1, 3))
    changes = tuple(
        IsrChange(topic_id, 0, leader_epoch, 9, lives(1))
        for topic_id, leader_epoch in ((t, 5), (u, 4), (t, 5))
    )
    answer = world.ask(AlterIsr(1, 0, changes))
    assert isinstance(answer, AlterIsrAnswer)
    assert [each.error_code for each in answer.partitions] == [
        ErrorCode.NONE,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.INVALID_REQUEST,
    ]
    assert (world.state("t")[1], world.state("u")[1]) == ((1,), (1, 3))


def test_a_reassignment_is_complete_when_its_targets_are_in_sync() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 3, 4, 2), (1, 2), adding=(3, 4), removing=(2,))
    assert ask(world, t, lives(1, 2, 3)).isr == (1, 2, 3)
    assert world.at("t").adding_replicas == (3, 4)
    answer = ask(world, t, lives(1, 2, 3, 4), partition_epoch=10)
    # A replica has gone, so a leader epoch begins.
    assert answer == AlteredIsr(t, 0, 0, 1, 6, (1, 3, 4), 11)
    at = world.at("t")
    assert (at.replicas, at.adding_replicas, at.removing_replicas) == ((1, 3, 4), (), ())


def test_a_reassignment_takes_the_leadership_along() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (2, 3, 1), (1,), adding=(2, 3), removing=(1,))
    answer = ask(world, t, lives(1, 2, 3))
    assert answer == AlteredIsr(t, 0, ErrorCode.NEW_LEADER_ELECTED)
    assert world.state("t") == (2, (2, 3), 6, 10)
    assert world.at("t").replicas == (2, 3)


def test_a_leader_that_waits_to_stop_is_relieved() -> None:
    world = ReplicatedWorld()
    t = world.put("t", (1, 2), (1,))
    world.set_node(1, shutting_down=True)
    assert ask(world, t, lives(1, 2)).error_code == ErrorCode.NEW_LEADER_ELECTED
    assert world.state("t") == (2, (2,), 6, 10)

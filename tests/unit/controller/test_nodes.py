"""Lives of nodes: epochs grow, others take over from nodes that are away, a node in use is not
removed.
"""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import ReplicatedWorld, World
from tidelog.controller.requests import (
    Done,
    FenceNode,
    NewTopic,
    NodeDown,
    RegisterNode,
    RegisterNodeAnswer,
    RemoveNode,
    ShutDownNode,
    ShutDownNodeAnswer,
    StartCluster,
    UnfenceNode,
    UnregisterNode,
)
from tidelog.metadata.image import MetadataImage, PartitionImage
from tidelog.metadata.records import Endpoint, NodeRecord, PartitionRecord
from tidelog.protocol.error_codes import ErrorCode


def register(node_id: int, *, unclean: bool = False) -> RegisterNode:
    endpoint = Endpoint("PLAINTEXT", "", 9092)
    return RegisterNode(node_id, "rack", (endpoint,), "127.0.0.1", 9092, f"node-{node_id}", unclean)


def partition(world: World, topic: str = "t", index: int = 0) -> PartitionImage:
    found = world.image.partition(topic, index)
    assert found is not None
    return found


def test_a_new_node_is_fenced_until_it_serves() -> None:
    world = World(nodes=0)
    world.image = MetadataImage()
    assert world.ask(register(1)) == RegisterNodeAnswer(0)
    node = world.image.nodes[1]
    assert (node.fenced, node.rack, node.directory) == (True, "rack", "node-1")
    assert world.ask(UnfenceNode(1, 0)) == Done()
    assert not world.image.nodes[1].fenced
    assert world.ask(UnfenceNode(1, 0)) == Done()
    assert world.records == []


def test_a_new_life_bumps_node_and_leader_epochs_and_moves_nothing() -> None:
    world = World(nodes=2)
    world.create(NewTopic("t", 2))
    assert world.ask(register(1)) == RegisterNodeAnswer(1)
    assert not world.image.nodes[1].fenced
    assert (partition(world).leader, partition(world).leader_epoch) == (1, 1)
    assert partition(world).partition_epoch == 1
    assert partition(world, index=1).leader_epoch == 0
    assert world.ask(register(1)) == RegisterNodeAnswer(2)
    assert partition(world).leader_epoch == 2


def test_a_fenced_node_loses_what_it_leads_and_gets_it_back() -> None:
    world = World(nodes=2)
    world.create(NewTopic("t", 2))
    world.ask(FenceNode(1, 0))
    assert world.image.nodes[1].fenced
    assert (partition(world).leader, partition(world).isr) == (-1, (1,))
    assert partition(world).leader_epoch == 1
    assert partition(world, index=1).leader == 2
    assert world.image.leader_counts == {1: 0, 2: 1}
    assert world.ask(register(1)) == RegisterNodeAnswer(1)
    assert world.image.nodes[1].fenced
    assert partition(world).leader == -1
    world.ask(UnfenceNode(1, 1))
    assert (partition(world).leader, partition(world).leader_epoch) == (1, 2)


def test_leadership_goes_to_a_live_member_of_the_isr() -> None:
    world = World(nodes=3)
    world.create(NewTopic("t", 1))
    topic_id = world.image.topics["t"].topic_id
    world.apply(PartitionRecord(topic_id, 0, (1, 2, 3), (1, 3), 1, 5, 5))
    world.ask(FenceNode(1, 0))
    assert (partition(world).leader, partition(world).leader_epoch) == (3, 6)
    world.ask(FenceNode(3, 0))
    assert partition(world).leader == -1


def test_an_earlier_life_has_no_say() -> None:
    world = World(nodes=1)
    world.ask(register(1))
    assert world.ask(FenceNode(1, 0)) == Done()
    assert world.records == []
    world.ask(FenceNode(1, 1))
    assert world.ask(UnfenceNode(1, 0)) == Done()
    assert world.records == []
    assert world.ask(FenceNode(7, 0)) == Done()


def test_only_an_empty_node_is_removed() -> None:
    world = World(nodes=2)
    world.create(NewTopic("t", 1))
    refused = world.ask(RemoveNode(1))
    assert isinstance(refused, Done) and refused.error_code == 42
    assert world.ask(RemoveNode(2)) == Done()
    assert set(world.image.nodes) == {1}
    assert world.ask(RemoveNode(2)) == Done()
    assert world.records == []


def test_a_store_belongs_to_one_cluster() -> None:
    world = World()
    world.image = MetadataImage()
    assert world.ask(StartCluster("a" * 22, (("f", 1),))) == Done()
    assert world.image.cluster_id == "a" * 22
    assert world.image.features == {"f": 1}
    assert world.ask(StartCluster("a" * 22, (("f", 1),))) == Done()
    assert world.records == []
    # A feature that was changed since then stays as it is.
    assert world.ask(StartCluster("a" * 22, (("f", 2), ("g", 1)))) == Done()
    assert world.image.features == {"f": 1}
    refused = world.ask(StartCluster("b" * 22))
    assert isinstance(refused, Done) and refused.error_code == 104


def is_down(world: World, node_id: int) -> tuple[bool, bool]:
    node = world.image.nodes[node_id]
    return node.down, node.fenced


def test_a_short_death_of_the_only_replica_moves_nothing() -> None:
    world = World(nodes=2)
    world.create(NewTopic("t", 2))
    assert world.ask(NodeDown(((1, 0),))) == Done()
    assert is_down(world, 1) == (True, False)
    assert [type(record) for record in world.records] == [NodeRecord]
    assert (partition(world).leader, partition(world).leader_epoch) == (1, 0)
    assert world.ask(register(1)) == RegisterNodeAnswer(1)
    assert (partition(world).leader, partition(world).leader_epoch) == (1, 1)
    world.ask(UnfenceNode(1, 1))
    assert is_down(world, 1) == (False, False)
    assert len(world.records) == 1


@pytest.mark.parametrize("event", [NodeDown(((1, 0),)), FenceNode(1, 0)])
@pytest.mark.parametrize(
    ("replicas", "isr", "leader", "after"),
    [
        ((1, 2, 3), (1, 2, 3), 1, (2, (2, 3), 6, 10)),
        ((3, 1, 2), (1, 2, 3), 1, (3, (2, 3), 6, 10)),
        ((1, 2, 3), (1, 3), 1, (3, (3,), 6, 10)),
        ((2, 1, 3), (2, 1, 3), 2, (2, (2, 3), 5, 10)),
        # It held no part of the ISR.
        ((2, 1, 3), (2, 3), 2, (2, (2, 3), 5, 9)),
        ((2, 3), (2, 3), 2, (2, (2, 3), 5, 9)),
    ],
)
def test_others_take_over(
    event: NodeDown | FenceNode,
    replicas: tuple[int, ...],
    isr: tuple[int, ...],
    leader: int,
    after: tuple[int, tuple[int, ...], int, int],
) -> None:
    world = ReplicatedWorld()
    world.put("t", replicas, isr, leader)
    world.ask(event)
    assert world.state("t") == after
    assert is_down(world, 1) == ((True, False) if isinstance(event, NodeDown) else (False, True))
    world.ask(event)
    assert world.records == []


def test_the_last_of_the_isr_keeps_a_short_death_and_loses_a_long_one() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1,))
    world.ask(NodeDown(((1, 0),)))
    assert world.state("t") == (1, (1,), 5, 9)
    world.ask(FenceNode(1, 0))
    assert world.state("t") == (-1, (1,), 6, 10)
    assert is_down(world, 1) == (False, True)


def test_a_host_dies_in_one_decision() -> None:
    world = ReplicatedWorld(nodes=5)
    world.put("t", (1, 2, 3))
    world.put("u", (2, 1))
    world.ask(NodeDown(((1, 0), (2, 0), (5, 7), (9, 0)), fence=True))
    assert world.state("t") == (3, (3,), 6, 10)
    # Both have all records: whoever returns first leads.
    assert world.state("u") == (-1, (2, 1), 6, 10)
    assert [is_down(world, node) for node in (1, 2, 5)] == [(False, True)] * 2 + [(False, False)]
    world.ask(register(1))
    world.ask(UnfenceNode(1, 1))
    assert world.state("u") == (1, (2, 1), 7, 11)


def test_two_short_deaths_at_once() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2))
    world.ask(NodeDown(((1, 0), (2, 0))))
    assert world.state("t") == (-1, (1, 2), 6, 10)
    world.ask(register(2))
    assert world.state("t")[0] == -1
    world.ask(UnfenceNode(2, 1))
    assert world.state("t") == (2, (1, 2), 7, 11)
    # The other one is given up after all.
    world.ask(FenceNode(1, 0))
    assert world.state("t") == (2, (2,), 7, 12)


def test_deaths_of_earlier_lives_and_of_the_fenced_change_nothing() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2))
    world.set_node(3, fenced=True)
    for lives in (((1, 1),), ((1, -1),), ((3, 0),), ((9, 0),), ()):
        assert world.ask(NodeDown(lives)) == Done()
        assert world.records == []


def test_a_node_that_starts_is_given_nothing_before_it_serves() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (2, 1), 2)
    world.ask(NodeDown(((1, 0),)))
    world.ask(register(1))
    assert is_down(world, 1) == (True, False)
    world.ask(NodeDown(((2, 0),)))
    assert world.state("t") == (2, (2,), 5, 10)


def test_a_node_that_dies_while_it_starts() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2))
    # Nobody saw its first death: the controller ended with it.
    world.ask(register(1))
    assert world.state("t") == (1, (1, 2), 6, 10)
    world.ask(register(1))
    assert world.state("t") == (1, (1, 2), 7, 11)
    world.ask(NodeDown(((1, 2),)))
    assert world.state("t") == (2, (2,), 8, 12)


@pytest.mark.parametrize(
    ("isr", "leader", "after"),
    [
        ((1, 2), 1, (2, (2,), 6, 10)),
        ((2, 1), 2, (2, (2,), 5, 10)),
        ((1, 3), 1, (-1, (3,), 6, 10)),
        ((1,), 1, (1, (1,), 6, 10)),
        ((2,), 2, (2, (2,), 5, 9)),
    ],
)
def test_after_a_reboot_a_node_leaves_the_isr(
    isr: tuple[int, ...], leader: int, after: tuple[int, tuple[int, ...], int, int]
) -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2, 3), isr, leader)
    world.set_node(3, down=True)
    assert world.ask(register(1, unclean=True)) == RegisterNodeAnswer(1)
    assert world.state("t") == after


def test_after_a_reboot_a_fenced_node_leaves_the_isr_of_others_that_are_away() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1, 2), -1)
    world.set_node(1, fenced=True)
    world.set_node(2, fenced=True)
    world.ask(register(1, unclean=True))
    assert world.state("t") == (-1, (2,), 5, 10)
    world.ask(UnfenceNode(1, 1))
    assert world.state("t") == (-1, (2,), 5, 10)


def test_unclean_elections_only_where_allowed_and_told() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1,))
    world.put("u", (1, 2), (1,))
    world.allow_unclean("u")
    world.ask(NodeDown(((1, 0),)))
    assert (world.state("u")[0], world.unclean) == (1, [])
    world.ask(FenceNode(1, 0))
    assert (world.state("t")[:2], world.state("u")) == ((-1, (1,)), (2, (2,), 6, 10))
    assert world.unclean == [("u", 0, 2)]


def test_an_unclean_election_when_a_node_returns() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1,), -1)
    world.put("u", (1, 2), (1,), -1)
    world.allow_unclean("u")
    for node_id in (1, 2):
        world.set_node(node_id, fenced=True)
    world.ask(UnfenceNode(2, 0))
    assert (world.state("t")[:2], world.state("u")) == ((-1, (1,)), (2, (2,), 6, 10))
    assert world.unclean == [("u", 0, 2)]


def test_an_unclean_election_may_complete_a_reassignment() -> None:
    world = ReplicatedWorld()
    world.put("t", (2, 1), (1,), 1, adding=(2,), removing=(1,))
    world.allow_unclean("t")
    world.ask(FenceNode(1, 0))
    at = world.at("t")
    assert (at.replicas, at.isr, at.leader, at.adding_replicas) == ((2,), (2,), 2, ())


def test_a_controlled_shutdown() -> None:
    world = ReplicatedWorld()
    world.put("led", (1, 2, 3))
    world.put("followed", (2, 1))
    world.put("behind", (1, 2), (1,))
    world.put("alone", (1,))
    answer = world.ask(ShutDownNode(1, 0))
    assert answer == ShutDownNodeAnswer(0, remaining=1)
    assert world.image.nodes[1].shutting_down
    assert world.state("led") == (2, (2, 3), 6, 10)
    assert world.state("followed") == (2, (2,), 5, 10)
    assert world.state("behind") == (1, (1,), 5, 9)
    assert world.state("alone") == (1, (1,), 5, 9)
    assert world.ask(ShutDownNode(1, 0)) == ShutDownNodeAnswer(0, remaining=1)
    assert world.records == []
    # For nodes that are away nobody has to wait.
    world.ask(FenceNode(2, 0))
    assert world.ask(ShutDownNode(1, 0)) == ShutDownNodeAnswer(0, remaining=0)
    # Its process ends and starts again.
    world.ask(NodeDown(((1, 0),)))
    assert world.state("alone") == (1, (1,), 5, 9)
    world.ask(register(1))
    assert not world.image.nodes[1].shutting_down
    world.ask(UnfenceNode(1, 1))
    assert world.image.nodes[1].is_live


def test_a_leader_that_shuts_down_goes_on_when_its_follower_dies() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1, 2), 1)
    world.set_node(1, shutting_down=True)
    world.ask(NodeDown(((2, 0),)))
    assert world.state("t") == (1, (1,), 5, 10)


@pytest.mark.parametrize(("node", "epoch"), [(1, 1), (9, 0)])
def test_only_a_present_life_shuts_down(node: int, epoch: int) -> None:
    world = ReplicatedWorld()
    answer = world.ask(ShutDownNode(node, epoch))
    assert answer == ShutDownNodeAnswer(ErrorCode.STALE_BROKER_EPOCH)
    assert world.records == []


def test_unregistering() -> None:
    world = ReplicatedWorld()
    world.put("t", (1, 2), (1, 2), 2)
    assert world.ask(UnregisterNode(9)) == Done(
        ErrorCode.BROKER_ID_NOT_REGISTERED, "Broker ID 9 is not currently registered"
    )
    for state in ("down", "shutting_down"):
        world.set_node(1, **{state: True})
        refused = world.ask(UnregisterNode(1))
        assert isinstance(refused, Done) and refused.error_code == ErrorCode.INVALID_REQUEST
        world.set_node(1, **{state: False})
    world.set_node(1, fenced=True)
    assert world.ask(UnregisterNode(1)) == Done()
    assert 1 not in world.image.nodes
    assert (world.at("t").replicas, world.state("t")) == ((1, 2), (2, (2,), 5, 10))


def test_epochs_go_on_after_a_node_was_taken_out() -> None:
    world = ReplicatedWorld()
    for _ in range(3):
        world.ask(register(4))
    before = world.image.nodes[4].epoch
    world.ask(FenceNode(4, before))
    world.ask(UnregisterNode(4))
    world.ask(register(4))
    assert world.image.nodes[4].epoch > before


def test_a_thousand_partitions_are_one_transaction() -> None:
    world = ReplicatedWorld(nodes=3)
    world.create(*(NewTopic(f"t{number}", 10, 3) for number in range(100)))
    led = world.image.leader_counts[1]
    world.ask(NodeDown(((1, 0),)))
    changed = [record for record in world.records if isinstance(record, PartitionRecord)]
    assert len(changed) == 1_000
    assert sum(record.leader_epoch for record in changed) == led
    assert world.image.leader_counts[1] == 0
    # What it led goes to both others in equal parts.
    assert abs(world.image.leader_counts[2] - world.image.leader_counts[3]) <= 1
    assert all(1 not in record.isr and len(record.isr) == 2 for record in changed)

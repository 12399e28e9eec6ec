"""Lives of nodes: epochs grow, leadership follows fencing, a node in use is not removed."""

from __future__ import annotations

from tests.unit.controller.worlds import World
from tidelog.controller.requests import (
    Done,
    FenceNode,
    NewTopic,
    RegisterNode,
    RegisterNodeAnswer,
    RemoveNode,
    StartCluster,
    UnfenceNode,
)
from tidelog.metadata.image import MetadataImage, PartitionImage
from tidelog.metadata.records import Endpoint, PartitionRecord


def register(node_id: int) -> RegisterNode:
    endpoint = Endpoint("PLAINTEXT", "", 9092)
    return RegisterNode(node_id, "rack", (endpoint,), "127.0.0.1", 9092, f"node-{node_id}")


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

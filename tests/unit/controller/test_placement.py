"""Placement spreads a topic over the nodes first, and all leaders second."""

from __future__ import annotations

from collections import Counter

import pytest

from tidelog.controller.placement import Placement


def leaders(placed: list[tuple[int, ...]]) -> Counter[int]:
    return Counter(replicas[0] for replicas in placed)


def test_one_topic_is_spread_evenly() -> None:
    assert Placement([3, 1, 2], {}).place(4, 1) == [(1,), (2,), (3,), (1,)]


def test_many_topics_of_one_partition_are_spread_too() -> None:
    placement = Placement([1, 2, 3], {})
    placed = [placement.place(1, 1)[0] for _ in range(300)]
    assert leaders(placed) == {1: 100, 2: 100, 3: 100}


def test_the_least_loaded_node_is_first() -> None:
    placement = Placement([1, 2, 3], {1: 5, 2: 1, 3: 3, 9: 0})
    assert placement.place(4, 1) == [(2,), (3,), (1,), (2,)]
    assert placement.place(1, 1) == [(2,)]


def test_a_topic_is_even_also_where_the_cluster_is_not() -> None:
    assert leaders(Placement([1, 2], {1: 100}).place(10, 1)) == {1: 5, 2: 5}


def test_new_partitions_go_where_the_topic_has_few() -> None:
    existing = [(1,), (1,), (2,)]
    assert leaders(Placement([1, 2, 3], {1: 2, 2: 1}).place(3, 1, existing)) == {2: 1, 3: 2}


def test_manual_assignments_count() -> None:
    placement = Placement([1, 2], {})
    placement.count((1,))
    assert placement.place(1, 1) == [(2,)]


@pytest.mark.parametrize("nodes", [2, 3, 5])
@pytest.mark.parametrize("replication_factor", [1, 2, 3])
def test_replicas_are_different_nodes_and_balanced(nodes: int, replication_factor: int) -> None:
    if replication_factor > nodes:
        with pytest.raises(ValueError, match="nodes"):
            Placement(range(nodes), {}).place(1, replication_factor)
        return
    placed = Placement(range(1, nodes + 1), {}).place(30, replication_factor)
    assert all(len(set(replicas)) == replication_factor for replicas in placed)
    held = Counter(node for replicas in placed for node in replicas)
    assert max(held.values()) - min(held.values()) <= 1
    assert max(leaders(placed).values()) - min(leaders(placed).values()) <= 1


def test_followers_of_one_leader_are_spread() -> None:
    placed = Placement([1, 2, 3], {}).place(12, 2)
    followers = {replicas[1] for replicas in placed if replicas[0] == 1}
    assert followers == {2, 3}


def test_no_node_at_all() -> None:
    with pytest.raises(ValueError, match="0 nodes"):
        Placement([], {}).place(1, 1)


def heirs(placed: list[tuple[int, ...]], leader: int) -> Counter[int]:
    return Counter(replicas[1] for replicas in placed if replicas[0] == leader)


@pytest.mark.parametrize("partitions", [1, 4, 30])
@pytest.mark.parametrize(("nodes", "replication_factor"), [(3, 2), (3, 3), (5, 3), (4, 3)])
def test_what_a_lost_node_led_goes_to_all_others(
    nodes: int, replication_factor: int, partitions: int
) -> None:
    placement = Placement(range(1, nodes + 1), {})
    placed = []
    for _ in range(240 // partitions):
        placed += placement.place(partitions, replication_factor)
    for leader in range(1, nodes + 1):
        found = heirs(placed, leader)
        assert len(found) == nodes - 1
        assert max(found.values()) <= 2 * min(found.values())


RACKS: dict[int, str | None] = {1: "a", 2: "a", 3: "b", 4: "b", 5: "c", 6: "c"}


@pytest.mark.parametrize("replication_factor", [1, 2, 3, 4, 6])
def test_replicas_are_in_different_racks(replication_factor: int) -> None:
    placed = Placement(range(1, 7), {}, RACKS).place(60, replication_factor)
    for replicas in placed:
        racks = Counter(RACKS[node] for node in replicas)
        assert len(racks) == min(replication_factor, 3)
        assert max(racks.values()) - min(racks.values()) <= (1 if replication_factor > 3 else 0)
    held = Counter(node for replicas in placed for node in replicas)
    assert max(held.values()) - min(held.values()) <= 2
    assert set(leaders(placed).values()) == {10}


def test_racks_of_unequal_size() -> None:
    racks = {1: "a", 2: "a", 3: "a", 4: "b"}
    placed = Placement([1, 2, 3, 4], {}, racks).place(40, 2)
    assert all(racks[first] != racks[second] for first, second in placed)
    assert set(leaders(placed).values()) == {10}


def test_nodes_without_a_rack_are_in_one() -> None:
    placed = Placement([1, 2, 3], {}, {1: None, 2: None, 3: "a"}).place(30, 2)
    assert all({1, 2} != set(replicas) for replicas in placed)


def test_nodes_that_are_away_follow_where_the_others_are_too_few() -> None:
    placement = Placement([1, 2], {}, {1: "a", 2: "b", 3: "c"}, reserve=[3])
    assert placement.node_count == 3
    assert all(3 not in replicas for replicas in placement.place(10, 2))
    assert all(replicas[2] == 3 for replicas in placement.place(10, 3))
    with pytest.raises(ValueError, match="nodes"):
        placement.place(1, 4)
    assert Placement([], {}, reserve=[1, 2]).node_count == 0


@pytest.mark.parametrize("partitions", [1, 6, 60])
@pytest.mark.parametrize("hosts", [3, 4])
def test_hosts_with_several_nodes_each(hosts: int, partitions: int) -> None:
    """No two replicas on one host, and all nodes of a host take part."""
    racks = {10 * host + n: f"host{host}" for host in range(1, hosts + 1) for n in (1, 2)}
    placement = Placement(list(racks), {}, racks)
    placed = []
    for _ in range(120 // partitions):
        placed += placement.place(partitions, 3)
    assert all(len({racks[node] for node in replicas}) == 3 for replicas in placed)
    held = Counter(node for replicas in placed for node in replicas)
    assert max(held.values()) - min(held.values()) <= 6
    for leader in racks:
        # When a node is lost, nodes of all other hosts take over.
        assert len({racks[node] for node in heirs(placed, leader)}) == hosts - 1

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

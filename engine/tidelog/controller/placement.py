"""Where new partitions go. Pure: decides from counts, never from a clock or chance.

The first replica of a partition is its preferred leader. Two wishes, in this order: the partitions
of one topic spread evenly over the nodes, so that its load does; and the leaders of all topics do,
so that many topics of one partition don't pile up on one node. Equal nodes are taken by id, which
keeps the result reproducible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


class Placement:
    """Leader counts while a request is decided: each partition placed counts for the next one.

    node_ids: the nodes that take new partitions; leader_counts: what each leads already.
    """

    def __init__(self, node_ids: Sequence[int], leader_counts: Mapping[int, int]) -> None:
        self._node_ids = sorted(node_ids)
        self._leaders = Counter({node: leader_counts.get(node, 0) for node in self._node_ids})

    @property
    def node_count(self) -> int:
        return len(self._node_ids)

    def place(
        self, count: int, replication_factor: int, existing: Sequence[tuple[int, ...]] = ()
    ) -> list[tuple[int, ...]]:
        """Replica lists for `count` new partitions of a topic that has the `existing` ones.

        Raises ValueError when there are fewer nodes than replicas; the caller has refused that
        before.
        """
        if not 1 <= replication_factor <= len(self._node_ids):
            raise ValueError(f"{replication_factor} replicas on {len(self._node_ids)} nodes")
        leaders = Counter(replicas[0] for replicas in existing)
        pairs = Counter((replicas[0], node) for replicas in existing for node in replicas[1:])
        return [self._place_one(replication_factor, leaders, pairs) for _ in range(count)]

    def count(self, replicas: tuple[int, ...]) -> None:
        """Takes a manual assignment into account."""
        self._leaders[replicas[0]] += 1

    def _place_one(
        self, replication_factor: int, leaders: Counter[int], pairs: Counter[tuple[int, int]]
    ) -> tuple[int, ...]:
        leader = min(self._node_ids, key=lambda node: (leaders[node], self._leaders[node], node))
        leaders[leader] += 1
        self._leaders[leader] += 1
        # Each leader's followers are spread on their own: when a node is lost, what it led goes to
        # all others in equal parts. They go round from the leader on, which balances them over
        # all, too.
        start = self._node_ids.index(leader)
        others = self._node_ids[start + 1 :] + self._node_ids[:start]
        followers = sorted(others, key=lambda node: pairs[leader, node])[: replication_factor - 1]
        pairs.update((leader, node) for node in followers)
        return (leader, *followers)

"""Where new partitions go. Pure: decides from counts, never from a clock or chance.

The first replica of a partition is its preferred leader. Wishes, in this order: the partitions of
one topic spread evenly over the nodes, so that its load does; the leaders of all topics do, so that
many topics of one partition don't pile up on one node; the replicas of a partition are in different
racks as far as there are so many; each node's followers are spread over all others. Equal nodes are
taken by id, which keeps the result reproducible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

T = TypeVar("T")


class Placement:
    """Leader counts while a request is decided: each partition placed counts for the next one.

    node_ids: the nodes that take new partitions; leader_counts: what each leads already. racks: the
    rack of each node, or else its host (nodes without both are in one together). reserve: nodes
    that are away; they take what the others are too few for, as followers.
    """

    def __init__(
        self,
        node_ids: Sequence[int],
        leader_counts: Mapping[int, int],
        racks: Mapping[int, str | None] | None = None,
        reserve: Sequence[int] = (),
    ) -> None:
        self._node_ids = sorted(node_ids)
        self._reserve = sorted(reserve)
        self._racks = racks or {}
        self._leaders = Counter({node: leader_counts.get(node, 0) for node in self._node_ids})

    @property
    def node_count(self) -> int:
        """Replicas that a partition may have: none at all while nobody can lead."""
        return len(self._node_ids) + len(self._reserve) if self._node_ids else 0

    def place(
        self, count: int, replication_factor: int, existing: Sequence[tuple[int, ...]] = ()
    ) -> list[tuple[int, ...]]:
        """Replica lists for `count` new partitions of a topic that has the `existing` ones.

        Raises ValueError when there are fewer nodes than replicas; the caller has refused that
        before.
        """
        if not 1 <= replication_factor <= self.node_count:
            raise ValueError(f"{replication_factor} replicas on {self.node_count} nodes")
        topic = _Spread()
        for replicas in existing:
            topic.add(replicas)
        return [self._place_one(replication_factor, topic) for _ in range(count)]

    def count(self, replicas: tuple[int, ...]) -> None:
        """Takes a manual assignment into account."""
        self._leaders[replicas[0]] += 1

    def _place_one(self, replication_factor: int, topic: _Spread) -> tuple[int, ...]:
        leader = min(
            self._node_ids, key=lambda node: (topic.leaders[node], self._leaders[node], node)
        )
        in_rack = Counter((self._racks.get(leader),))

        def choose(possible: list[int], count: int) -> list[int]:
            chosen = []
            for _ in range(min(count, len(possible))):
                one = min(
                    possible,
                    key=lambda node: (in_rack[self._racks.get(node)], topic.pairs[leader, node]),
                )
                possible.remove(one)
                in_rack[self._racks.get(one)] += 1
                chosen.append(one)
            return chosen

        followers = choose(self._others(leader), replication_factor - 1)
        followers.sort(key=lambda node: topic.heirs[leader, node])
        followers += choose(list(self._reserve), replication_factor - 1 - len(followers))
        replicas = (leader, *followers)
        self._leaders[leader] += 1
        topic.add(replicas)
        return replicas

    def _others(self, leader: int) -> list[int]:
        """The other nodes in the order in which they become followers, as far as wishes leave them
        equal.

        Each leader's followers are spread on their own: when a node is lost, what it led goes to
        all others in equal parts. They go round from the leader on, which balances them over all,
        too, and each time from the next one on: the first follower is the heir. With racks that
        goes for the racks, and for the nodes in each of them.
        """
        start = self._node_ids.index(leader)
        others = self._node_ids[start + 1 :] + self._node_ids[:start]
        turn = self._leaders[leader]
        racks: dict[str | None, list[int]] = {}
        for node in others:
            racks.setdefault(self._racks.get(node), []).append(node)
        if len(racks) <= 1:
            return _rotated(others, turn)
        nodes = [_rotated(sorted(of_rack), start + turn) for of_rack in racks.values()]
        rounds = zip_longest(*_rotated(nodes, turn))
        return [node for one_each in rounds for node in one_each if node is not None]


def _rotated(items: list[T], turn: int) -> list[T]:
    turn %= max(len(items), 1)
    return items[turn:] + items[:turn]


class _Spread:
    """How often each node leads in one topic, and follows which leader, as the first one or at
    all.
    """

    def __init__(self) -> None:
        self.leaders: Counter[int] = Counter()
        self.heirs: Counter[tuple[int, int]] = Counter()
        self.pairs: Counter[tuple[int, int]] = Counter()

    def add(self, replicas: tuple[int, ...]) -> None:
        leader = replicas[0]
        self.leaders[leader] += 1
        self.heirs.update((leader, node) for node in replicas[1:2])
        self.pairs.update((leader, node) for node in replicas[1:])

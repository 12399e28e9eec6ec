"""What has to hold in a cluster, looked at after every event that could break it.

- What was acknowledged with acks=all is in the log of every later leader, at its offset.
- One offset never shows two values, to whomever and whenever.
- In one leader epoch one node acknowledges.
- High watermarks never go back within a leader epoch, and never lie behind the log's end.
- ISR within replicas, epochs that only grow: production's own invariants, which raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.sim.cluster.batch_logs import BatchLog
from tidelog._native.partition import Partition

if TYPE_CHECKING:
    from tests.sim.cluster.nodes import SimNode


class Broken(AssertionError):
    """An invariant does not hold."""


class Place(NamedTuple):
    """A partition."""

    topic: str
    index: int


def place_of(partition: Partition) -> Place:
    return Place(partition.topic.decode(), partition.index)


class Checks:
    """Of one run."""

    def __init__(self) -> None:
        #: (partition, offset) -> value of what acks=all acknowledged; of logs of batches: of what
        #: was below a high watermark, since others act on it
        self.committed: dict[tuple[Place, int], Any] = {}
        #: (partition, offset) -> value that a reader could see
        self.seen: dict[tuple[Place, int], Any] = {}
        self._acknowledges: dict[tuple[Place, int], int] = {}
        self._high_watermarks: dict[tuple[int, Place, int], int] = {}
        self.acks_1 = 0

    def acknowledged(
        self, node: SimNode, partition: Partition, offset: int, epoch: int, value: int, acks: int
    ) -> None:
        place = place_of(partition)
        self._one_leader(node, place, epoch)
        if acks != -1:
            self.acks_1 += 1
            return
        log = node.log_of(partition)
        if log.end <= offset or log.stored.records[offset].value != value:
            raise Broken(f"{place}: {value} acknowledged at {offset}, where it is not")
        self._commit(place, offset, value)
        self._look(node, partition)

    def leads(self, node: SimNode, partition: Partition) -> None:
        """The node has just begun to lead."""
        log, place = node.log_of(partition), place_of(partition)
        held = dict(log.values(0, log.end))
        for (where, offset), value in self.committed.items():
            if where == place and held.get(offset) != value:
                raise Broken(
                    f"{place}: node {node.node_id} leads in epoch {partition.leader_epoch} without"
                    f" {value} at {offset}, which was acknowledged (its log ends at {log.end})"
                )

    def look(self, nodes: list[SimNode]) -> None:
        """At everything that is led."""
        for node in nodes:
            for partition in node.replicas.led():
                self._look(node, partition)

    def _look(self, node: SimNode, partition: Partition) -> None:
        log, place = node.log_of(partition), place_of(partition)
        mark = partition.high_watermark
        reign = (node.node_id, place, partition.leader_epoch)
        before = self._high_watermarks.get(reign, 0)
        if mark < before or mark > log.end:
            raise Broken(f"{reign}: high watermark {before} -> {mark}, log end {log.end}")
        if mark == before:
            return
        self._high_watermarks[reign] = mark
        for offset, value in log.values(before, mark):
            known = self.seen.setdefault((place, offset), value)
            if known != value:
                raise Broken(f"{place}: offset {offset} shows {known} and {value}")
            if isinstance(log, BatchLog):
                self._commit(place, offset, value)

    def _commit(self, place: Place, offset: int, value: Any) -> None:
        known = self.committed.setdefault((place, offset), value)
        if known != value:
            raise Broken(f"{place}: offset {offset} acknowledged for {known} and for {value}")

    def _one_leader(self, node: SimNode, place: Place, epoch: int) -> None:
        known = self._acknowledges.setdefault((place, epoch), node.node_id)
        if known != node.node_id:
            raise Broken(f"{place}: {known} and {node.node_id} acknowledge in epoch {epoch}")

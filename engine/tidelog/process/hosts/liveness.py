"""Which hosts are alive, and what the reports about their nodes mean. Pure.

A host is alive while its session with the coordination service lasts and the controller hears it:
one that can reach the service but not the controller would keep leaderships about which it learns
nothing any more. When that is so of most hosts, it is the controller that cannot be reached, and
another one is needed. Whoever takes the seat gives every host as long to be heard as a silence may
last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidelog.controller.requests import NodeDown, UnfenceNode
from tidelog.metadata.image import MetadataImage
from tidelog.process.node_report import NodePhase, NodeReport


class Liveness:
    """See the module. own: the controller's host, which is always alive. Times are monotonic."""

    def __init__(self, own: str, silence_max_ms: int, now_ms: int) -> None:
        self._own = own
        self._silence_max_ms = silence_max_ms
        self._began_ms = now_ms
        self._heard_ms: dict[str, int] = {}
        self._there: frozenset[str] = frozenset()

    def heard(self, host_id: str, now_ms: int) -> None:
        """Something came from the host."""
        self._heard_ms[host_id] = now_ms

    def there(self, host_ids: Iterable[str], now_ms: int) -> None:
        """The hosts that have a session now. A new one gets its time to be heard."""
        there = frozenset(host_ids)
        for host_id in there - self._there:
            self._heard_ms[host_id] = now_ms
        self._there = there

    def stood_still(self, ms: int) -> None:
        """The controller itself stood still: nobody could be heard."""
        self._began_ms += ms
        for host_id in self._heard_ms:
            self._heard_ms[host_id] += ms

    def is_alive(self, host_id: str, now_ms: int) -> bool:
        if host_id == self._own:
            return True
        if host_id not in self._there:
            return False
        heard_ms = self._heard_ms.get(host_id, self._began_ms)
        return now_ms - heard_ms <= self._silence_max_ms

    def is_cut_off(self, now_ms: int) -> bool:
        """Whether most of the hosts that have a session, this one counted, are silent."""
        silent = sum(not self.is_alive(host_id, now_ms) for host_id in self._there)
        return 2 * silent > len(self._there | {self._own})

    def lost_nodes(self, image: MetadataImage, now_ms: int) -> NodeDown | None:
        """What is to be decided about the nodes of lost hosts, all of them in one decision; None
        when that was done.
        """
        lost = tuple(
            (node.node_id, node.epoch)
            for node in image.nodes.values()
            if node.host_id and not node.fenced and not self.is_alive(node.host_id, now_ms)
        )
        return NodeDown(lost, fence=True) if lost else None


def what_reports_say(
    image: MetadataImage, reports: Iterable[NodeReport]
) -> Iterator[UnfenceNode | NodeDown]:
    """What the metadata does not say yet of a host's nodes, e.g. since a host was held for lost,
    or the controller that had been told is gone.
    """
    for report in reports:
        node = image.nodes.get(report.node_id)
        if node is None or node.epoch != report.node_epoch:
            continue
        if report.phase == NodePhase.SERVING and (node.fenced or node.down):
            yield UnfenceNode(node.node_id, node.epoch)
        elif report.phase == NodePhase.GONE and not (node.fenced or node.down):
            yield NodeDown(((node.node_id, node.epoch),))

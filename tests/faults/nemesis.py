"""Brings one fault after the other upon a cluster, in an order that a seed decides, and waits after
each until the cluster is whole again.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple

from tests.faults.client import now_ms
from tests.faults.cluster import Cluster
from tests.faults.faults import FAULTS, Fault
from tests.faults.history import Operation, Send
from tidelog.cli.cluster import CommandError
from tidelog.cli.wire import Wire

#: How long a cluster may take to be whole again after a fault is healed.
WHOLE_TIMEOUT_S: Final = 60.0


class Stroke(NamedTuple):
    """One fault that there was; times of the monotonic clock."""

    fault: str
    target: str
    begin_ms: int
    healed_ms: int
    whole_ms: int


class Nemesis:
    """See the module. `say` gets a line for whatever it does."""

    def __init__(
        self,
        cluster: Cluster,
        seed: int,
        say: Callable[[str], None],
        faults: Sequence[Fault] = FAULTS,
    ) -> None:
        self._cluster = cluster
        self._rng = random.Random(seed)
        self._say = say
        self._faults = faults
        self._deck: list[Fault] = []
        self.strokes: list[Stroke] = []

    def run(self, seconds: float) -> None:
        """Raises what a fault or waiting raises; then something may not be healed."""
        end = time.monotonic() + seconds
        self.wait_whole()
        while time.monotonic() < end:
            self.strike(self._next())
            time.sleep(self._rng.uniform(0.5, 2.5))

    def strike(self, fault: Fault, seconds: float | None = None) -> Stroke:
        """One fault, its healing, and the cluster whole again."""
        lasts_s = self._rng.uniform(*fault.seconds) if seconds is None else seconds
        begin_ms = now_ms()
        target, heal = fault.begin(self._cluster, self._rng)
        self._say(f"{fault.name} {target} for {lasts_s:.1f} s")
        time.sleep(lasts_s)
        heal()
        healed_ms = now_ms()
        self.wait_whole()
        stroke = Stroke(fault.name, target, begin_ms, healed_ms, now_ms())
        self._say(f"{fault.name} healed, whole after {stroke.whole_ms - healed_ms} ms")
        self.strokes.append(stroke)
        return stroke

    def wait_whole(self) -> None:
        """Until every partition has a leader and all replicas in its ISR. Raises TimeoutError."""
        deadline = time.monotonic() + WHOLE_TIMEOUT_S
        while missing := self._missing():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not whole within {WHOLE_TIMEOUT_S:.0f} s: {missing[:5]}")
            time.sleep(0.1)

    def _missing(self) -> list[str]:
        """What any node of any host does not know to be whole."""
        found = []
        for address in self._cluster.addresses():
            try:
                with Wire(address) as wire:
                    metadata = wire.all_topics()
            except CommandError as error:
                return [f"{address}: {error}"]
            if len(metadata.brokers) < len(self._cluster.addresses()):
                found.append(f"{address}: nodes {[one.node_id for one in metadata.brokers]}")
            found += [
                f"{address}: {topic.name}-{one.partition_index}: leader {one.leader_id},"
                f" replicas {one.replica_nodes}, isr {one.isr_nodes}"
                for topic in metadata.topics
                for one in topic.partitions
                if one.leader_id < 0 or len(one.isr_nodes) < len(one.replica_nodes)
            ]
        return found

    def _next(self) -> Fault:
        """Every fault once, in an order of its own, before any comes again."""
        if not self._deck:
            self._deck = self._rng.sample(self._faults, len(self._faults))
        return self._deck.pop()


def gaps_ms(
    operations: Iterable[Operation], stroke: Stroke, topic: str, writer: str = ""
) -> dict[int, int]:
    """By partition: the longest time without an acknowledgement that has to do with the fault.
    writer: of one producer only, whose name begins so.
    """
    ends: dict[int, list[int]] = {}
    for one in operations:
        if (
            isinstance(one, Send)
            and one.result == "ok"
            and one.topic == topic
            and one.producer.startswith(writer)
        ):
            ends.setdefault(one.partition, []).append(one.end_ms)
    found = {}
    for partition, times in ends.items():
        times.sort()
        longest = 0
        for before, after in itertools.pairwise(times):
            if after >= stroke.begin_ms and before <= stroke.whole_ms:
                longest = max(longest, after - before)
        found[partition] = longest
    return found


def gap_lines(operations: Sequence[Operation], strokes: Iterable[Stroke], topic: str) -> list[str]:
    """By kind of fault: how often, and the longest gap of any partition."""
    longest: dict[str, list[int]] = {}
    for stroke in strokes:
        gaps = gaps_ms(operations, stroke, topic)
        longest.setdefault(stroke.fault, []).append(max(gaps.values(), default=0))
    return [
        f"{fault:24} {len(gaps):3} times, longest gap {median(gaps):6.0f} ms median"
        f" {max(gaps):6} ms at most"
        for fault, gaps in sorted(longest.items())
    ]

"""Where a broker's time goes under each load of a profile: one more run of each, while it samples
itself.

Owned by the process of the command; the samples are waited for on a thread. These runs are none of
the measured rounds. A broker that gives no samples costs a note.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from tidelog.benchmarks.shapes import Workload
from tidelog.benchmarks.side_by_side import Bench
from tidelog.cpu_samples import NodeSamples, Order
from tidelog.limits import SAMPLING_MS_MAX
from tidelog.profiling.flame import Path, flame_svg, folded, tree
from tidelog.profiling.gather import ProfileError
from tidelog.profiling.results import Attachment, Column, Row, Section, Table
from tidelog.profiling.sampling import DEFAULT_RATE_HZ, nodes_of, sample_nodes
from tidelog.profiling.stages import STAGES, stage_times

NAME: Final = "stages"


class StageRuns:
    """Takes samples during a run; its section tells of all of them."""

    def __init__(self) -> None:
        self._found: dict[str, list[NodeSamples]] = {}
        self._notes: dict[str, None] = {}

    @property
    def ran(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._found or self._notes)

    def run(self, bench: Bench, name: str, workload: Workload) -> None:
        """One run that is not measured, sampled until it ends: what is asleep before the load
        begins counts for nothing. Raises what the run raises.
        """
        order, enough = Order(SAMPLING_MS_MAX, DEFAULT_RATE_HZ), threading.Event()
        with ThreadPoolExecutor(1) as executor:
            samples = executor.submit(_samples_of, bench.target.bootstrap, order, enough)
            try:
                bench.measure(workload)
            finally:
                enough.set()
            self._take(name, samples)

    def _take(self, name: str, samples: Future[list[NodeSamples]]) -> None:
        try:
            self._found[name] = samples.result()
        except ProfileError as error:
            self._notes[str(error)] = None

    def section(self) -> Section:
        """Stages by load, and one flame graph of all."""
        stacks: list[tuple[Path, int]] = []
        for name, nodes in self._found.items():
            for one in nodes:
                stacks += folded(one, f"{name}, node {one.node_id}, ")
        drawing = flame_svg(tree(stacks), "Where the broker's time goes, by load")
        return Section(
            NAME,
            "Where the broker's time goes",
            "One more run of each load, in which the broker samples itself. The runs are short: "
            "tidelog profile stages looks longer.",
            {"samples a second": DEFAULT_RATE_HZ},
            [table for table in self._tables() if table.rows],
            attachments=[Attachment("flame graph", "svg", drawing)] if stacks else [],
            notes=list(self._notes),
        )

    def _tables(self) -> Sequence[Table]:
        times = {name: stage_times(nodes) for name, nodes in self._found.items()}
        used = [stage for stage in STAGES if any(stage in found for found in times.values())]
        shares, each = [], []
        for stage in used:
            found = [times[name].get(stage) for name in times]
            shares.append(Row(stage, [[100 * one.share] if one else [] for one in found]))
            each.append(
                Row(
                    stage,
                    [[one.each_ns] if one and one.each_ns is not None else [] for one in found],
                )
            )
        return (
            Table(
                "CPU time for a request",
                "stage",
                [Column(name, "ns", "lower") for name in times],
                each,
                "Of the event loop. Of check, append, index and flush for a Produce, of look-up, "
                "header and sendfile for a Fetch, of the others for any request.",
            ),
            Table(
                "share of the loop's CPU time",
                "stage",
                [Column(name, "%") for name in times],
                shares,
            ),
        )


def _samples_of(bootstrap: str, order: Order, enough: threading.Event) -> list[NodeSamples]:
    nodes = nodes_of(bootstrap)
    return sample_nodes(nodes.cluster_id, nodes.node_ids, order, enough)

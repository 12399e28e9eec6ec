"""A whole `tidelog profile`: the parts one after another, and how busy the machine was.

Owned by the process of the command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tidelog.benchmarks import machine, process_stats
from tidelog.profiling import brokers, disk, network
from tidelog.profiling.brokers import BrokerPlace
from tidelog.profiling.gather import Limits, restless
from tidelog.profiling.place import work_folder
from tidelog.profiling.results import Report, Section
from tidelog.profiling.stage_runs import StageRuns

PARTS: Final = ("disk", "network", "floor", "broker")
EVERYTHING: Final = ("disk", "network", "broker")

#: (part, what is being done, which part of it is done: 0..1)
Tell = Callable[[str, str, float], None]
Heard = Callable[[Section], None]


@dataclass(frozen=True)
class Options:
    """What is measured, and where. peer: HOST[:PORT], "" for the loopback."""

    parts: Sequence[str]
    limits: Limits
    directory: Path
    peer: str = ""
    broker: BrokerPlace = field(default_factory=BrokerPlace)

    def settings(self) -> dict[str, Any]:
        """For the report: nothing that names a path of the machine."""
        return {
            "parts": ", ".join(self.parts),
            **asdict(self.limits),
            "peer": self.peer,
            "bootstrap": self.broker.bootstrap,
            "pid": self.broker.pid,
        }


def needed_bytes(options: Options) -> int:
    """On the disk, at the same time."""
    wanted = {
        "disk": lambda: disk.plan(options.limits).needed_bytes,
        "network": lambda: network.file_bytes(options.limits),
        "floor": lambda: brokers.needed_bytes(options.limits, 1),
        "broker": lambda: brokers.needed_bytes(options.limits, 2),
    }
    return max(wanted[part]() for part in options.parts)


def run_profile(options: Options, tell: Tell, heard: Heard) -> Report:
    """Raises ProfileError. What was written is gone afterwards, whatever ended it."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    described, warnings = machine.describe(), busy_before()
    sections, stages = [], StageRuns()
    with work_folder(options.directory, needed_bytes(options)) as folder:
        for part in options.parts:
            place = folder / part
            place.mkdir()
            watch = BusyWatch(options.broker.pid if part == "broker" else 0)

            def told(what: str, share: float, part: str = part) -> None:
                tell(part, what, share)

            with watch:
                section = measured(part, options, place, told, stages)
            more = [*section.warnings, *watch.warnings(section.title), *restless(section)]
            sections.append(replace(section, warnings=more))
            heard(sections[-1])
            if part == "broker" and stages.ran:
                sections.append(stages.section())
                heard(sections[-1])
    return Report(options.settings(), sections, started_at, machine.versions(), described, warnings)


def measured(
    part: str,
    options: Options,
    folder: Path,
    tell: Callable[[str, float], None],
    stages: StageRuns,
) -> Section:
    """One part. Raises ProfileError, or OSError for what the disk refuses."""
    if part == "disk":
        return disk.DiskProbe(folder, options.limits, tell).run()
    if part == "network":
        return network.NetworkProbe(folder, options.limits, options.peer, tell).run()
    sampled = stages.run if part == "broker" else None
    return brokers.measure_brokers(
        folder, options.limits, options.broker, part == "floor", tell, sampled
    )


def busy_before() -> list[str]:
    """A warning when others use the machine before anything has begun."""
    share = process_stats.busy_share()
    if share <= machine.BUSY_SHARE:
        return []
    return [f"the machine was busy before the run: {share:.0%} of its CPUs"]


class BusyWatch:
    """What others took of the machine's CPUs while a part ran. pid: of a broker that runs already
    and is not an other."""

    def __init__(self, pid: int) -> None:
        self._own = [os.getpid(), *([pid] if pid else [])]
        self.share = 0.0

    def _read(self) -> tuple[float, float, float]:
        own_s = process_stats.cpu_s(self._own)
        return time.monotonic(), process_stats.machine_cpu_s(), own_s

    def __enter__(self) -> BusyWatch:
        self._before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        elapsed_s, machine_s, own_s = (
            now - then for now, then in zip(self._read(), self._before, strict=True)
        )
        cpus = os.cpu_count() or 1
        self.share = max(0.0, machine_s - own_s) / max(elapsed_s * cpus, 1e-9)

    def warnings(self, title: str) -> list[str]:
        if self.share <= machine.BUSY_SHARE:
            return []
        return [
            f"{title}: other processes and the kernel's own threads used {self.share:.0%} of the "
            "machine meanwhile"
        ]

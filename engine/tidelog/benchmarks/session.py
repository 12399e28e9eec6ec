"""A whole `bench run`: rounds of one workload, in turn on every broker that is compared.

Owned by the process of the command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tidelog.benchmarks import machine, native
from tidelog.benchmarks.results import Measured, Report, Round
from tidelog.benchmarks.stage import Target, Tell, opened
from tidelog.benchmarks.start import measure_start
from tidelog.benchmarks.transactions import measure_transactions
from tidelog.benchmarks.workloads import Workload

#: (round from 0, target, what it found)
Heard = Callable[[int, Target, Round], None]
Measure = Callable[[Target, Workload, Tell], Round]


def native_measure(target: Target, workload: Workload, tell: Tell) -> Round:
    """One round with the native client. Raises BenchError."""
    if workload.kind == "start":
        return measure_start(target, workload, tell)
    with opened(target, workload, tell) as stage:
        if workload.kind == "transactions":
            return measure_transactions(stage)
        return native.MEASURES[workload.kind](stage)


def run_rounds(
    workload: Workload,
    targets: Sequence[Target],
    rounds: int,
    measure: Measure,
    tell: Tell,
    heard: Heard,
) -> list[list[Round]]:
    """Rounds by target. They are interleaved, and every second time in the opposite order: what
    drifts with time, or is left behind by the one before, hits all alike."""
    found: list[list[Round]] = [[] for _ in targets]
    for number in range(rounds):
        order = list(enumerate(targets))
        if number % 2:
            order.reverse()
        for index, target in order:
            one = measure(target, workload, tell)
            found[index].append(one)
            heard(number, target, one)
    return found


def report_of(
    workload: Workload,
    targets: Sequence[Target],
    rounds: Sequence[Sequence[Round]],
    client: str,
) -> Report:
    """Everything that was found, with all that it depends on."""
    warnings: list[str] = []
    several = len(targets) > 1
    for target, measured in zip(targets, rounds, strict=True):
        for number, one in enumerate(measured, 1):
            where = f"{target.bootstrap}, round {number}: " if several else f"round {number}: "
            warnings += [where + text for text in one.warnings]
    settings = workload.settings() | {"client": client, "rounds": max(map(len, rounds), default=0)}
    return Report(
        workload.name,
        settings,
        [
            Measured(target.bootstrap, list(measured))
            for target, measured in zip(targets, rounds, strict=True)
        ],
        datetime.now(UTC).isoformat(timespec="seconds"),
        machine.versions(),
        machine.describe(),
        warnings,
    )

"""Two sets of rounds beside each other: ratios of medians, and whether they mean anything.

Pure. The rule: where the ranges of the rounds overlap, a difference is within the noise, whatever
the ratio; with fewer than MIN_ROUNDS rounds a side nothing is said. Five rounds a side of the same
broker lie apart by chance once in 126 times, three would do so once in 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidelog.benchmarks.results import Measured, Report, Spread, better_of, spreads

MIN_ROUNDS: Final = 5
#: Medians that lie no further apart are the same to everybody.
ALIKE: Final = 0.005
#: What may differ between two runs that are compared all the same, without a word.
INCIDENTAL: Final = frozenset({"bootstrap", "against", "pid", "against_pid", "command"})


@dataclass(frozen=True)
class Row:
    """One metric of both sides. ratio: median of `other` to that of `base`, nan without a base."""

    metric: str
    base: Spread
    other: Spread
    ratio: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    base: str
    other: str
    rows: Sequence[Row]
    warnings: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "other": self.other,
            "warnings": list(self.warnings),
            "metrics": {
                row.metric: {
                    "base": vars(row.base),
                    "other": vars(row.other),
                    "ratio": None if math.isnan(row.ratio) else round(row.ratio, 4),
                    "verdict": row.verdict,
                }
                for row in self.rows
            },
        }


def compare_rounds(base: Measured, other: Measured) -> Comparison:
    """The metrics that both have."""
    ours, theirs = spreads(base.rounds), spreads(other.rounds)
    fewest = min(len(base.rounds), len(other.rounds))
    rows = [
        Row(
            metric,
            spread,
            theirs[metric],
            theirs[metric].median / spread.median if spread.median else math.nan,
            verdict(metric, spread, theirs[metric], fewest),
        )
        for metric, spread in ours.items()
        if metric in theirs
    ]
    return Comparison(base.name, other.name, rows, few_rounds(fewest))


def few_rounds(fewest: int) -> list[str]:
    """A warning when there are too few of them on a side."""
    if fewest >= MIN_ROUNDS:
        return []
    return [
        f"{fewest} round{'s' if fewest != 1 else ''} a side: too few to tell a difference from "
        f"noise (--rounds {MIN_ROUNDS} or more)"
    ]


def machine_differences(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Warnings about what matters when two machines are compared."""
    return [
        f"the machines differ in {name}: {ours} and {theirs}"
        for name, ours, theirs in differences(base, other)
        if name in ("cpu", "cpus", "kernel")
    ]


def verdict(metric: str, base: Spread, other: Spread, rounds: int) -> str:
    """Of a metric of `results`; see `judged`."""
    return judged(better_of(metric), base, other, rounds)


def judged(better: str, base: Spread, other: Spread, rounds: int) -> str:
    """ "equal", "better", "worse", "higher", "lower", "within the noise" or "" (nothing to be
    said). better: "higher", "lower" or ""; rounds: of the side that has fewer."""
    if abs(other.median - base.median) <= ALIKE * abs(base.median):
        return "equal"
    if rounds < MIN_ROUNDS:
        return ""
    if base.low <= other.high and other.low <= base.high:
        return "within the noise"
    rising = other.median > base.median
    if not better:
        return "higher" if rising else "lower"
    return "better" if rising == (better == "higher") else "worse"


def compare_reports(base: Report, other: Report) -> list[Comparison]:
    """Target by target. Raises ValueError when nothing of them can be compared."""
    if base.workload != other.workload:
        raise ValueError(f"{base.workload} and {other.workload} are different workloads")
    if not base.targets or not other.targets:
        raise ValueError("one of them holds no round")
    warnings = [
        f"{name} differs: {ours} and {theirs}"
        for name, ours, theirs in differences(base.settings, other.settings)
        if name not in INCIDENTAL
    ]
    warnings += machine_differences(base.machine, other.machine)
    warnings += [f"the first: {text}" for text in base.warnings]
    warnings += [f"the second: {text}" for text in other.warnings]
    comparisons = []
    for ours, theirs in zip(base.targets, other.targets, strict=False):
        found = compare_rounds(ours, theirs)
        comparisons.append(
            Comparison(found.base, found.other, found.rows, [*warnings, *found.warnings])
        )
        warnings = []  # said once
    return comparisons


def differences(
    base: Mapping[str, Any], other: Mapping[str, Any]
) -> list[tuple[str, object, object]]:
    """(name, here, there) where two mappings differ; None where there is nothing."""
    names = [*base, *(name for name in other if name not in base)]
    return [
        (name, base.get(name), other.get(name))
        for name in names
        if base.get(name) != other.get(name)
    ]

"""What the rounds of a comparison say: medians, spreads, ratios, and whether thresholds are met.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

#: In place of a peer's name: the floor, and the best peer that writes to disk.
FLOOR: Final = "floor"
BEST_ON_DISK: Final = "the best peer on disk"
#: A ratio to a peer binds no further than so much of what the floor reaches in the same run.
FLOOR_BOUND: Final = 0.85

OK: Final = "OK"
MISSED: Final = "MISSED"
NOT_JUDGED: Final = "not judged"


@dataclass(frozen=True)
class Spread:
    """Median, and the range of the runs."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def ratio(of: float, to: float) -> float:
    return of / to if to else math.nan


@dataclass(frozen=True)
class Threshold:
    """What the subject's median has to be, as a multiple of the opponent's: exactly one of the
    three bounds. Without `floor_bound` nothing but the opponent counts."""

    metric: str
    against: str
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    floor_bound: bool = False

    def __post_init__(self) -> None:
        if sum(b is not None for b in (self.at_least, self.at_most, self.below)) != 1:
            raise ValueError(f"one bound is needed for {self.metric}")

    def holds(self, value: float, opponent: float, floor: float | None = None) -> bool:
        """False as well when a figure is missing (not a number)."""
        if self.at_least is not None:
            wanted = self.at_least * opponent
            if self.floor_bound and floor is not None:
                wanted = min(wanted, FLOOR_BOUND * floor)
            return value >= wanted
        if self.at_most is not None:
            return value <= self.at_most * opponent
        assert self.below is not None
        return value < self.below * opponent

    def text(self, opponent: str) -> str:
        """What is wanted, of which opponent."""
        if self.at_least is not None:
            bound = f", up to {FLOOR_BOUND:g} of the floor" if self.floor_bound else ""
            return f">= {self.at_least:g} x {opponent}{bound}"
        if self.at_most is not None:
            return f"<= {self.at_most:.3g} x {opponent}"
        return f"< {self.below:g} x {opponent}"


@dataclass(frozen=True)
class Found:
    """One contender in one shape: its metrics, or the reason why it has none."""

    peer: str
    durability: str
    metrics: Mapping[str, Spread] = field(default_factory=dict)
    refusal: str = ""


@dataclass(frozen=True)
class Verdict:
    """`opponent` is the peer that a threshold was held against; `ratio` is nan without one."""

    threshold: Threshold
    opponent: str
    ratio: float
    status: str
    note: str = ""


def judge(
    thresholds: Sequence[Threshold],
    found: Mapping[str, Found],
    subject: str,
    durability: str = "page-cache",
) -> list[Verdict]:
    """Each threshold, held against what was found with one durability.

    A subject that refused has missed all of them; without an opponent nothing is judged.
    """
    return [_verdict(threshold, found, subject, durability) for threshold in thresholds]


def _verdict(
    threshold: Threshold, found: Mapping[str, Found], subject: str, durability: str
) -> Verdict:
    measured = {
        one.peer: one.metrics
        for one in found.values()
        if one.durability == durability and threshold.metric in one.metrics
    }
    if subject not in measured:
        reasons = [one.refusal for one in found.values() if one.peer == subject and one.refusal]
        if reasons:
            return Verdict(threshold, threshold.against, math.nan, MISSED, reasons[0])
        note = f"{subject} was not measured"
        return Verdict(threshold, threshold.against, math.nan, NOT_JUDGED, note)
    own = measured.pop(subject)[threshold.metric].median
    medians = {name: metrics[threshold.metric].median for name, metrics in measured.items()}
    floor = medians.get(FLOOR)
    opponent = threshold.against
    if opponent == BEST_ON_DISK:
        peers = [name for name in medians if name != FLOOR]
        best = min if threshold.at_least is None else max
        opponent = best(peers, key=lambda name: medians[name]) if peers else opponent
    if opponent not in medians:
        note = f"{opponent} was not measured"
        return Verdict(threshold, opponent, math.nan, NOT_JUDGED, note)
    status = OK if threshold.holds(own, medians[opponent], floor) else MISSED
    note = ""
    wanted = (threshold.at_least or 0.0) * medians[opponent]
    if threshold.floor_bound and floor and wanted > FLOOR_BOUND * floor:
        note = f"the floor binds: {own / floor:.2f} of it, wanted {FLOOR_BOUND:g}"
    return Verdict(threshold, opponent, ratio(own, medians[opponent]), status, note)

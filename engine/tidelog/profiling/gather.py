"""How the rounds of a profile become tables: values by row and column, limits, and what to be wary
of.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidelog.benchmarks.results import spread_of
from tidelog.profiling.results import Column, Row, Section, Table

UNITS: Final = (("MiB", 1 << 20), ("KiB", 1 << 10))
#: Rounds of a figure that lie further apart than this part of their median are said to be restless.
RESTLESS: Final = 0.5
#: Rounds that are needed to say so.
RESTLESS_ROUNDS: Final = 3


class ProfileError(Exception):
    """A profile that could not be made; the message is one line."""


@dataclass(frozen=True)
class Limits:
    """seconds: of all measured loops of one part (disk, network, broker) together, in all rounds.
    write_bytes: that one part writes to the disk, likewise."""

    rounds: int
    seconds: float
    write_bytes: int

    def step_s(self, steps: int) -> float:
        """For each of the steps of a round."""
        return self.seconds / (self.rounds * max(1, steps))

    def step_bytes(self, steps: int, most: int) -> int:
        """For each of the writing steps of a round, at most `most`."""
        return min(most, self.write_bytes // (self.rounds * max(1, steps)))


class Grid:
    """A table in the making: each value that is added is that of one more round."""

    def __init__(
        self, name: str, key: str, columns: Sequence[Column], text: str = "", axis: str = ""
    ) -> None:
        self._table = Table(name, key, columns, (), text, axis)
        self._at: dict[str, float | None] = {}
        self._values: dict[tuple[str, str], list[float]] = {}

    def add(self, row: str, column: str, value: float, at: float | None = None) -> None:
        """A value that is no number (nothing was moved, no time passed) is left out."""
        self._at.setdefault(row, at)
        if math.isfinite(value):
            self._values.setdefault((row, column), []).append(value)

    def table(self) -> Table:
        """Rows by their place on the axis, else in the order in which they came; without columns
        that no row has a value for."""
        names = list(self._at)
        if self._table.axis:
            names.sort(key=lambda name: self._at[name] or 0.0)
        columns = [
            column
            for column in self._table.columns
            if any((name, column.name) in self._values for name in names)
        ]
        rows = [
            Row(
                name,
                [self._values.get((name, column.name), []) for column in columns],
                self._at[name],
            )
            for name in names
        ]
        return replace(self._table, columns=columns, rows=rows)


def tables_of(grids: Sequence[Grid]) -> list[Table]:
    """Those that hold something."""
    return [table for table in (grid.table() for grid in grids) if table.rows and table.columns]


def size_name(size: int) -> str:
    """512 B, 4 KiB, 1 MiB."""
    for unit, factor in UNITS:
        if size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} B"


def rate(amount: float, elapsed_ns: float) -> float:
    """A second; nan when no time has passed."""
    return amount * 1e9 / elapsed_ns if elapsed_ns > 0 else math.nan


def mb_per_s(size: float, elapsed_ns: float) -> float:
    return rate(size / 1e6, elapsed_ns)


def cpu_s_per_gb(cpu_ns: float, size: float) -> float:
    """nan when nothing was moved."""
    return cpu_ns / size if size else math.nan


def restless(section: Section) -> list[str]:
    """A warning when figures move so much from round to round that little can be said."""
    spreads = [
        spread_of(cell)
        for table in section.tables
        for row in table.rows
        for cell in row.cells
        if len(cell) >= RESTLESS_ROUNDS
    ]
    moving = sum(spread.relative > RESTLESS for spread in spreads)
    if not moving or moving * 10 < len(spreads):
        return []
    return [
        f"{section.title}: the rounds of {moving} of {len(spreads)} figures lie more than "
        f"{RESTLESS:.0%} of their median apart"
    ]

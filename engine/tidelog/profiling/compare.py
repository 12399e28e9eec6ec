"""Two profiles beside each other: every figure that both have, with its ratio and whether that
means anything (the rule is `tidelog.benchmarks.compare`'s).

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidelog.benchmarks.compare import Row, differences, few_rounds, judged, machine_differences
from tidelog.benchmarks.results import spread_of
from tidelog.profiling.results import Report, Section, Table

#: Settings that may differ without a word.
INCIDENTAL: Final = frozenset({"pid", "bootstrap"})


@dataclass(frozen=True)
class TableComparison:
    """The figures of one table that both profiles have."""

    section: str
    table: str
    rows: Sequence[Row]

    def to_json(self) -> dict[str, Any]:
        return {
            "section": self.section,
            "table": self.table,
            "figures": {
                row.metric: {
                    "base": vars(row.base),
                    "other": vars(row.other),
                    "ratio": None if math.isnan(row.ratio) else round(row.ratio, 4),
                    "verdict": row.verdict,
                }
                for row in self.rows
            },
        }


@dataclass(frozen=True)
class Comparison:
    """Of the second profile to the first."""

    tables: Sequence[TableComparison]
    warnings: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "warnings": list(self.warnings),
            "tables": [table.to_json() for table in self.tables],
        }


def compare_reports(base: Report, other: Report) -> Comparison:
    """Raises ValueError when they have no figure in common."""
    theirs = {section.name: section for section in other.sections}
    tables: list[TableComparison] = []
    warnings = [
        f"{name} differs: {ours} and {others}"
        for name, ours, others in differences(base.settings, other.settings)
        if name not in INCIDENTAL
    ]
    warnings += machine_differences(base.machine, other.machine)
    fewest: list[int] = []
    for section in base.sections:
        if section.name not in theirs:
            warnings.append(f"only the first has {section.title}")
            continue
        warnings += fact_differences(section, theirs[section.name])
        tables += section_tables(section, theirs[section.name], fewest)
    ours_names = {section.name for section in base.sections}
    warnings += [
        f"only the second has {s.title}" for s in other.sections if s.name not in ours_names
    ]
    if not any(table.rows for table in tables):
        raise ValueError("they have no figure in common")
    warnings += few_rounds(min(fewest))
    for which, report in (("first", base), ("second", other)):
        texts = [*report.warnings, *(text for s in report.sections for text in s.warnings)]
        warnings += [f"the {which}: {text}" for text in texts]
    return Comparison(tables, warnings)


def fact_differences(base: Section, other: Section) -> list[str]:
    """What was measured under other conditions."""
    return [
        f"{base.title}: {name} differs: {ours} and {theirs}"
        for name, ours, theirs in differences(base.facts, other.facts)
    ]


def section_tables(base: Section, other: Section, fewest: list[int]) -> list[TableComparison]:
    """Table by table; `fewest` gets the rounds of each figure."""
    theirs = {table.name: table for table in other.tables}
    found = []
    for table in base.tables:
        if table.name in theirs:
            rows = compared_rows(table, theirs[table.name], fewest)
            if rows:
                found.append(TableComparison(base.title, table.name, rows))
    return found


def compared_rows(base: Table, other: Table, fewest: list[int]) -> list[Row]:
    theirs = cells(other)
    rows = []
    for (row_name, column_name), values in cells(base).items():
        others = theirs.get((row_name, column_name))
        if not values or not others:
            continue
        column = next(c for c in base.columns if c.name == column_name)
        ours, their = spread_of(values), spread_of(others)
        rounds = min(len(values), len(others))
        fewest.append(rounds)
        rows.append(
            Row(
                f"{row_name}, {column_name}" + (f" ({column.unit})" if column.unit else ""),
                ours,
                their,
                their.median / ours.median if ours.median else math.nan,
                judged(column.better, ours, their, rounds),
            )
        )
    return rows


def cells(table: Table) -> Mapping[tuple[str, str], Sequence[float]]:
    """Values by row and column."""
    return {
        (row.name, column.name): cell
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    }

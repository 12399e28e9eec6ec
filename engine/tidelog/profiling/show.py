"""What terminal and page share: headings, and cells as text.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tidelog.benchmarks.plots import significant
from tidelog.profiling.results import Column, Table, cell_spread

#: Said once where spreads are shown.
LEGEND: Final = "Medians of the rounds; ± is half of the range from the lowest to the highest."

#: From here on it does not matter how much.
WILD: Final = 9.99


def cell_text(cell: Sequence[float]) -> str:
    """The median, and how far the rounds lie apart; "-" for what was not measured."""
    spread = cell_spread(cell)
    if spread is None:
        return "-"
    text = significant(spread.median)
    if len(cell) < 2:
        return text
    half = spread.relative / 2
    return f"{text} ±{half:.0%}" if half < WILD else f"{text} ±>{WILD:.0%}"


def common_unit(table: Table) -> str:
    """The unit that all columns have; "" when they differ."""
    units = {column.unit for column in table.columns}
    return units.pop() if len(units) == 1 else ""


def table_title(table: Table) -> str:
    unit = common_unit(table)
    return f"{table.name}, {unit}" if unit else table.name


def column_title(table: Table, column: Column) -> str:
    if common_unit(table) or not column.unit:
        return column.name
    return f"{column.name}, {column.unit}"


def has_spread(table: Table) -> bool:
    return any(len(cell) > 1 for row in table.rows for cell in row.cells)

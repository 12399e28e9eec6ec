"""Cells and headings as text."""

from __future__ import annotations

from tests.unit.profiling.reports import report
from tidelog.profiling.show import cell_text, column_title, common_unit, has_spread, table_title


def test_cells() -> None:
    assert cell_text([]) == "-"
    assert cell_text([1234.0]) == "1,234"
    assert cell_text([90.0, 100.0, 120.0]) == "100 ±15%"
    assert cell_text([1.0, 2.0, 2000.0]) == "2.00 ±>999%"


def test_headings() -> None:
    append, cost = report().sections[0].tables
    assert common_unit(append) == "MB/s"
    assert table_title(append) == "append, MB/s"
    assert column_title(append, append.columns[0]) == "fresh"
    assert table_title(cost) == "cost"
    assert column_title(cost, cost.columns[0]) == "CPU, s/GB"
    assert column_title(cost, cost.columns[1]) == "of the floor"
    assert has_spread(append)
    assert not has_spread(report(rounds=1).sections[0].tables[0])

"""Rounds into tables, limits, and the warning about figures that move."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tidelog.profiling.gather import (
    Grid,
    Limits,
    cpu_s_per_gb,
    mb_per_s,
    rate,
    restless,
    size_name,
    tables_of,
)
from tidelog.profiling.results import Column, Section

COLUMNS = [Column("a", "MB/s", "higher"), Column("b", "µs", "lower"), Column("c", "", "")]


def test_a_grid_gathers_rounds() -> None:
    grid = Grid("name", "size", COLUMNS, "text", "bytes")
    for value in (3.0, 5.0):
        grid.add("4 KiB", "a", value, 4096)
    grid.add("512 B", "b", 1.0, 512)
    grid.add("512 B", "b", math.nan, 512)
    table = grid.table()
    assert [column.name for column in table.columns] == ["a", "b"]  # nobody has measured c
    assert [(row.name, row.at, row.cells) for row in table.rows] == [
        ("512 B", 512, [[], [1.0]]),
        ("4 KiB", 4096, [[3.0, 5.0], []]),
    ]
    table.check()
    assert tables_of([grid, Grid("empty", "x", COLUMNS)]) == [table]


def test_without_an_axis_rows_stay_in_order() -> None:
    grid = Grid("name", "what", COLUMNS)
    for name in ("z", "a"):
        grid.add(name, "a", 1.0)
    assert [row.name for row in grid.table().rows] == ["z", "a"]


def test_limits_are_shared_out() -> None:
    limits = Limits(rounds=5, seconds=40, write_bytes=10_000_000_000)
    assert limits.step_s(80) == pytest.approx(0.1)
    assert limits.step_bytes(20, 1 << 40) == 100_000_000
    assert limits.step_bytes(20, 5_000_000) == 5_000_000


def test_units() -> None:
    assert [size_name(n) for n in (1, 512, 1024, 1536, 65_536, 4 << 20)] == [
        "1 B",
        "512 B",
        "1 KiB",
        "1536 B",
        "64 KiB",
        "4 MiB",
    ]
    assert rate(10, 2_000_000_000) == 5
    assert mb_per_s(3_000_000, 1_000_000_000) == 3
    assert cpu_s_per_gb(2_000_000_000, 500_000_000) == 4
    assert math.isnan(rate(1, 0))
    assert math.isnan(cpu_s_per_gb(1, 0))


def test_restless_figures_are_told() -> None:
    grid = Grid("name", "what", COLUMNS[:1])
    for value in (1.0, 2.0, 1.5):
        grid.add("moves", "a", value)
        grid.add("stays", "a", 10 + value / 10)
    section = Section("disk", "Disk", tables=[grid.table()])
    [text] = restless(section)
    assert "1 of 2 figures" in text
    few = [replace(row, cells=[row.cells[0][:2]]) for row in grid.table().rows]
    assert restless(replace(section, tables=[replace(grid.table(), rows=few)])) == []

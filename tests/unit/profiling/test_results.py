"""The results of a profile: to JSON and back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.results import Spread
from tidelog.profiling.results import (
    Attachment,
    Column,
    Report,
    Row,
    Section,
    Table,
    cell_spread,
)


def report() -> Report:
    histogram = Histogram()
    for value in (1_000, 2_000, 900_000):
        histogram.record(value)
    table = Table(
        "append",
        "size",
        [Column("fresh", "MB/s", "higher"), Column("CPU", "s/GB", "lower")],
        [Row("512 B", [[1.0, 3.0, 2.0], []], 512), Row("4 KiB", [[9.0], [0.5]], 4096)],
        "Appends.",
        "bytes",
    )
    section = Section(
        "disk",
        "Disk",
        "What it does.",
        {"file system": "ext4"},
        [table],
        {"fsync": histogram},
        {"tree": ["a", "  b"]},
        [Attachment("flame", "svg", "<svg></svg>")],
        ["no O_DIRECT on tmpfs"],
        ["busy"],
    )
    return Report({"seconds": 1}, [section], "now", {"python": "3"}, {"cpus": 2}, ["noisy"])


def test_json_there_and_back() -> None:
    once = report().to_json()
    again = Report.from_json(json.loads(json.dumps(once)))
    assert again.to_json() == once
    assert again.sections[0].tables[0].rows[0].cells == [[1.0, 3.0, 2.0], []]
    assert again.sections[0].histograms["fsync"].max_ns == 900_000


def test_spread_of_a_cell() -> None:
    assert cell_spread([1.0, 3.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert cell_spread([]) is None


@pytest.mark.parametrize("data", [None, [], {}, {"format": "tidelog-bench", "version": 1}])
def test_other_files_are_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="not a result of tidelog profile"):
        Report.from_json(data)


def test_other_versions_are_refused() -> None:
    with pytest.raises(ValueError, match="version 99"):
        Report.from_json(report().to_json() | {"version": 99})


def _without_sections(data: dict[str, Any]) -> None:
    del data["sections"]


def _twice(data: dict[str, Any]) -> None:
    data["sections"] *= 2


def _other_cells(data: dict[str, Any]) -> None:
    data["sections"][0]["tables"][0]["rows"][0]["cells"].append([1.0])


def _no_number(data: dict[str, Any]) -> None:
    data["sections"][0]["tables"][0]["rows"][0]["cells"][0][0] = float("nan")


def _no_list(data: dict[str, Any]) -> None:
    data["sections"][0]["tables"][0]["rows"] = 7


def _same_rows(data: dict[str, Any]) -> None:
    data["sections"][0]["tables"][0]["rows"][1]["name"] = "512 B"


def _other_better(data: dict[str, Any]) -> None:
    data["sections"][0]["tables"][0]["columns"][0]["better"] = "best"


def _script(data: dict[str, Any]) -> None:
    data["sections"][0]["attachments"][0]["kind"] = "html"


def _fewer_buckets(data: dict[str, Any]) -> None:
    data["sections"][0]["histograms"]["fsync"]["histogram"]["buckets"].pop()


def _endless_axis(data: dict[str, Any]) -> None:
    data["sections"][0]["tables"][0]["rows"][0]["at"] = float("inf")


@pytest.mark.parametrize(
    "damage",
    [
        _without_sections,
        _twice,
        _other_cells,
        _no_number,
        _no_list,
        _same_rows,
        _other_better,
        _script,
        _fewer_buckets,
        _endless_axis,
    ],
)
def test_damaged_files_are_refused(damage: Any) -> None:
    data = json.loads(json.dumps(report().to_json()))
    damage(data)
    with pytest.raises(ValueError):
        Report.from_json(data)

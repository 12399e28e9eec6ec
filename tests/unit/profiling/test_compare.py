"""Two profiles beside each other: ratios, verdicts and what differs otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.profiling.reports import report
from tidelog.profiling.compare import compare_reports
from tidelog.profiling.results import Report


def verdicts(base: Report, other: Report) -> dict[str, str]:
    comparison = compare_reports(base, other)
    return {row.metric: row.verdict for table in comparison.tables for row in table.rows}


def test_a_profile_is_equal_to_itself() -> None:
    comparison = compare_reports(report(), report())
    assert [table.table for table in comparison.tables] == ["append", "cost"]
    rows = [row for table in comparison.tables for row in table.rows]
    assert {(row.ratio, row.verdict) for row in rows} == {(1.0, "equal")}
    assert len(rows) == 7
    assert comparison.warnings == ["the first: it was busy", "the second: it was busy"]


def test_ratios_verdicts_and_noise() -> None:
    found = verdicts(report(), report(2.0))
    assert found["512 B, fresh (MB/s)"] == "better"
    assert found["all, of the floor"] == "equal"
    assert verdicts(report(), report(0.5))["4 KiB, fresh (MB/s)"] == "worse"
    assert verdicts(report(), report(1.03))["4 KiB, fresh (MB/s)"] == "within the noise"


def test_too_few_rounds_say_nothing() -> None:
    comparison = compare_reports(report(), report(2.0, rounds=2))
    assert comparison.tables[0].rows[0].ratio == pytest.approx(2 * 100.5 / 102)
    assert comparison.tables[0].rows[0].verdict == ""
    assert any("2 rounds a side: too few" in text for text in comparison.warnings)
    assert "rounds differs: 5 and 2" in comparison.warnings


def test_what_differs_otherwise_is_told() -> None:
    base, other = report(), report()
    section = replace(other.sections[0], facts={"file system": "xfs"})
    more = replace(section, name="network", title="Network")
    other = replace(other, sections=[section, more], machine={"cpus": 4})
    warnings = compare_reports(base, other).warnings
    assert "Disk: file system differs: ext4 and xfs" in warnings
    assert "the machines differ in cpus: 2 and 4" in warnings
    assert "only the second has Network" in warnings
    assert "only the first has Network" in compare_reports(other, base).warnings


def test_nothing_in_common() -> None:
    with pytest.raises(ValueError, match="no figure in common"):
        compare_reports(report(), replace(report(), sections=[]))


def test_as_json() -> None:
    data = json.loads(json.dumps(compare_reports(report(), report(2.0)).to_json()))
    figure = data["tables"][0]["figures"]["512 B, fresh (MB/s)"]
    assert figure["ratio"] == 2.0
    assert figure["base"] == {"median": 102.0, "low": 100.0, "high": 104.0}

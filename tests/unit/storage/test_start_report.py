"""Tests of what an operator reads about a start."""

from __future__ import annotations

import logging

import pytest

from tidelog.storage.loader import LoadReport
from tidelog.storage.start_report import StartReport, log_report


def lines(
    report: StartReport, caplog: pytest.LogCaptureFixture, *, tell_unknown: bool = True
) -> list[tuple[str, str]]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        log_report("/d", report, tell_unknown=tell_unknown)
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_quiet_start_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert lines(StartReport(True, loaded=3), caplog) == [
        ("INFO", "log directory ready directory=/d clean=True logs=3 failed=0 unknown=0 strays=0")
    ]


def test_what_went_wrong_has_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    report = StartReport(
        False,
        failed=[("t-0", "disk")],
        unknown=["x"],
        set_aside=[("u-0", "u-0.1-stray")],
        reports=[LoadReport("/d/v-0", False, cut_bytes=9, cut_at_offset=4, cut_reason="torn")],
    )
    found = lines(report, caplog)[1:]
    assert [level for level, _ in found] == ["ERROR", "WARNING", "WARNING", "WARNING"]
    events = ("log offline", "unknown folder left alone", "unknown log set aside", "log recovered")
    for (_, text), event in zip(found, events, strict=True):
        assert text.startswith(f"{event} ")
    assert "cut_bytes=9 cut_at_offset=4 reason='torn'" in found[-1][1]


def test_other_folders_need_not_be_told(caplog: pytest.LogCaptureFixture) -> None:
    assert len(lines(StartReport(True, unknown=["x"]), caplog, tell_unknown=False)) == 1

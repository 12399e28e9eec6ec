"""The runner of the suites: what is slow is told, what hangs has failed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.house import suites
from tests.house.suites import Suite, judge, run_suite

SUITE = Suite("unit", "test", ("tests/unit",), budget_s=10)


def test_a_suite_over_its_budget_is_slow_and_has_not_failed() -> None:
    outcome = judge(SUITE, 0, (5, 0, 0), 12.0, 40.0)
    assert not outcome.problem and outcome.failed == 0
    assert "over its budget of 10 s" in outcome.note
    assert not judge(SUITE, 0, (5, 0, 0), 9.0, 40.0).note


def test_a_suite_that_was_stopped_has_failed() -> None:
    outcome = judge(SUITE, None, (5, 0, 0), 41.0, 40.0)
    assert outcome.failed == 1
    assert "stopped after 40 s" in outcome.problem


def test_a_suite_without_tests_has_failed() -> None:
    assert judge(SUITE, 5, (0, 0, 0), 1.0, 40.0).problem == "no tests were found"


def test_what_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suites, "REPORTS", tmp_path)
    monkeypatch.setattr(suites, "GRACE_S", 0.2)
    ignoring = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    monkeypatch.setattr(suites, "command", lambda *_: [sys.executable, "-c", ignoring])
    outcome = run_suite(Suite("hangs", "test", ("tests/unit",), budget_s=1), 0.5)
    assert outcome.failed == 1
    assert 0.5 <= outcome.seconds < 30

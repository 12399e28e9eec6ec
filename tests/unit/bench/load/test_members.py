"""What is printed of members' costs."""

from __future__ import annotations

import pytest

from bench.load.members import quantiles, show


def test_quantiles() -> None:
    found = quantiles([n / 1000 for n in range(100)])
    assert (found["p50_ms"], found["p99_ms"], found["max_ms"]) == (50.0, 99.0, 99.0)
    assert quantiles([])["p99_ms"] == 0.0


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    show({"a": {"costs": {"heartbeat": {"cpu_us": 12.4, "p50_ms": 0.5, "p99_ms": 2.0}}}})
    assert capsys.readouterr().out.splitlines()[2:] == ["| a | heartbeat | 12 | 0.50 | 2.00 |"]

"""What the terminal shows of a profile."""

from __future__ import annotations

import pytest

from tests.unit.profiling.reports import report
from tidelog.cli.profile_view import Progress, show_comparison, show_report
from tidelog.profiling.compare import compare_reports


def test_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    show_report(report(warnings=["noisy"]))
    out, err = capsys.readouterr()
    assert "DISK" in out
    assert "append, MB/s" in out
    assert "102 ±2%" in out
    assert "note: no <O_DIRECT>" in out
    assert "latency: fsync & co, 3 times" in out
    assert "A tree" in out
    assert "  b" in out
    assert "± is half of the range" in out
    assert err == "warning: noisy\nwarning: it was busy\n"


def test_one_round_tells_no_noise(capsys: pytest.CaptureFixture[str]) -> None:
    show_report(report(rounds=1))
    assert "nothing is known of the noise" in capsys.readouterr().out


def test_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(compare_reports(report(), report(2.0)))
    out, err = capsys.readouterr()
    assert "Disk: append" in out
    [line] = [line for line in out.splitlines() if line.startswith("512 B, fresh (MB/s)")]
    assert line.split()[-5:] == ["2.00", "4%", "/", "4%", "better"]
    assert "the first: it was busy" in err


def test_without_a_terminal_progress_is_a_line_for_each_part(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress() as progress:
        progress.tell("disk", "append", 0.5)
        progress.heard(report().sections[0])
    assert capsys.readouterr().err == "Disk is measured\n"

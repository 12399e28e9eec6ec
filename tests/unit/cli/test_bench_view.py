"""What is shown of a report."""

import pytest

from tidelog.benchmarks.compare import compare_rounds
from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.results import Measured, Report, Round, Second
from tidelog.benchmarks.stage import Target
from tidelog.cli.bench_view import Progress, show_comparison, show_report


def a_round(rate: float, *latencies_us: int) -> Round:
    histogram = Histogram()
    for value in latencies_us:
        histogram.record(value * 1000)
    seconds = [Second(1.0, 10, 1000, 20), Second(2.0, 30, 3000, 20)]
    return Round(
        {"records_per_s": rate, "client_cpu_share": 0.0}, {"end_to_end": histogram}, seconds
    )


def measured(name: str, *rates: float) -> Measured:
    return Measured(name, [a_round(rate, 100, 200, 3000) for rate in rates])


def test_a_report_of_one_broker(capsys: pytest.CaptureFixture[str]) -> None:
    show_report(Report("w", {}, [measured("h:1", 10, 30, 20)], warnings=["busy", "busy"]))
    out, err = capsys.readouterr()
    assert "w on h:1, 3 rounds" in out
    assert "20.0  10.0 to 30.0" in out
    assert "end to end latency, from when a record was due" in out
    assert "p99.9" in out
    assert "written  ▃█" in out.replace("▂", "▃")
    assert "read" in out
    assert err == "warning: busy\n"


def test_a_report_of_two_brokers_compares_them(capsys: pytest.CaptureFixture[str]) -> None:
    show_report(
        Report("w", {}, [measured("h:1", 9, 10, 11, 12, 13), measured("h:2", 19, 20, 21, 22, 23)])
    )
    out, _ = capsys.readouterr()
    assert "h:2 to h:1" in out
    assert "1.91" in out
    assert "better" in out


def test_a_metric_of_nothing_has_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(compare_rounds(measured("h:1", 1), measured("h:1", 2)))
    out, err = capsys.readouterr()
    [line] = [line for line in out.splitlines() if line.startswith("client_cpu_share")]
    assert line.split()[3] == "-"
    assert "(other)" in out
    assert "too few" in err


def test_progress_without_a_terminal_is_a_line_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("w", 2) as progress:
        progress.tell("measuring", 0.5)
        progress.heard(0, Target("h:1"), a_round(12.0, 100))
    assert capsys.readouterr().err == ("round 1, h:1: 12.0 records/s, end to end p99 100 µs\n")

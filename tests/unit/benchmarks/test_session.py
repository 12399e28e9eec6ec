"""Rounds in turn, and the report of them."""

from tidelog.benchmarks.results import Report, Round
from tidelog.benchmarks.session import report_of, run_rounds
from tidelog.benchmarks.stage import Target, Tell
from tidelog.benchmarks.workloads import WORKLOADS, Workload

TARGETS = [Target("a:1"), Target("b:1")]


def test_rounds_are_interleaved_and_change_places() -> None:
    order: list[str] = []
    heard: list[tuple[int, str]] = []

    def measure(target: Target, workload: Workload, tell: Tell) -> Round:
        order.append(target.bootstrap)
        return Round({"records_per_s": float(len(order))})

    found = run_rounds(
        WORKLOADS["latency"],
        TARGETS,
        3,
        measure,
        lambda what, share: None,
        lambda number, target, one: heard.append((number, target.bootstrap)),
    )
    assert order == ["a:1", "b:1", "b:1", "a:1", "a:1", "b:1"]
    assert [number for number, _ in heard] == [0, 0, 1, 1, 2, 2]
    assert [[r.figures["records_per_s"] for r in rounds] for rounds in found] == [
        [1.0, 4.0, 5.0],
        [2.0, 3.0, 6.0],
    ]


def test_a_report_holds_what_the_result_depends_on() -> None:
    rounds = [[Round({}), Round({}, warnings=["busy"])], [Round({}), Round({})]]
    report = report_of(WORKLOADS["latency"], TARGETS, rounds, "native")
    assert report.warnings == ["a:1, round 2: busy"]
    assert report.settings["client"] == "native"
    assert report.settings["rounds"] == 2
    assert report.settings["partitions"] == 16
    assert report.started_at
    assert Report.from_json(report.to_json()).to_json() == report.to_json()

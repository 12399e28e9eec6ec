"""Side by side: the arithmetic, and a whole comparison of two floors."""

import json
import math
from pathlib import Path

import pytest

from bench.load.process_stats import Memory
from bench.load.versus import (
    THRESHOLDS,
    Measurement,
    Threshold,
    chosen_workloads,
    judge,
    main,
    make_target,
    parse_arguments,
    spread,
    summarise,
    table,
    to_json,
    warm_memory,
)
from bench.load.workload import WORKLOADS, Report


def measurement(rate: float, cpu_s: float) -> Measurement:
    report = Report(
        "produce-16k",
        requests_per_s=rate,
        mb_per_s=rate * 0.016384,
        elapsed_s=2.0,
        latency_us={"p50": 10.0, "p99": 20.0},
        client_cpu_s=1.0,
        counts={"record_bytes": 2_000_000_000},
    )
    return Measurement(report, cpu_s, 0.1, Memory(5, 4))


RUNS = {
    "tidelog": [measurement(r, 1.0) for r in (900, 1000, 3000)],
    "kafka": [measurement(r, 4.0) for r in (400, 350, 500)],
}


def test_medians_ratios_and_verdicts() -> None:
    summary = summarise(RUNS)
    assert vars(summary["tidelog"]["requests_per_s"]) == {"median": 1000, "low": 900, "high": 3000}
    assert summary["kafka"]["cpu_s_per_gb"].median == 2.0
    assert summary["kafka"]["client_cpu_share"].median == 0.5
    verdicts = list(judge("produce-16k", summary, "tidelog", "kafka"))
    assert [(t.metric, round(found, 6), holds) for t, found, holds in verdicts] == [
        ("mb_per_s", 2.5, True),
        ("cpu_s_per_gb", 0.25, True),
    ]
    assert list(judge("produce-16k", summary, "tidelog", "floor")) == []
    reverse = [holds for _, _, holds in judge("produce-16k", summary, "kafka", "tidelog")]
    assert reverse == [False, False]


def test_thresholds() -> None:
    assert Threshold("m", at_least=2).holds(2)
    assert not Threshold("m", at_least=2).holds(1.99)
    assert Threshold("m", at_most=2).holds(2)
    assert not Threshold("m", at_most=2).holds(2.01)
    assert not Threshold("m", at_most=2).holds(math.nan)
    assert str(THRESHOLDS["fetch-1m"][1]) == "<= 0.667"
    assert spread([3, 1, 2]).median == 2
    assert set(THRESHOLDS) <= set(WORKLOADS)


def test_warm_memory_tells_how_long_it_took() -> None:
    assert warm_memory(3_000_000) > 0


def test_table_and_json() -> None:
    args = parse_arguments([])
    text = table("produce-16k", summarise(RUNS), args)
    assert "ratio to kafka" in text
    assert "mb_per_s ratio 2.50, wanted >= 2: met" in text
    found = json.loads(json.dumps(to_json({"produce-16k": RUNS}, args)))["workloads"]["produce-16k"]
    assert found["medians"]["tidelog"]["requests_per_s"]["median"] == 1000
    assert [run["cpu_s_per_gb"] for run in found["runs"]["kafka"]] == [2.0] * 3
    assert [t["met"] for t in found["thresholds"]] == [True, True]


def test_arguments_reach_workloads_and_targets(tmp_path: Path) -> None:
    args = parse_arguments(
        ["--workloads", "produce-16k,fetch-1m", "--connections", "5", "--discard"]
    )
    produce, fetch = chosen_workloads(args)
    assert (produce.connections, produce.discard) == (5, False)
    assert (fetch.connections, fetch.discard) == (5, True)
    names = [make_target(n, tmp_path, args).name for n in ("tidelog", "kafka", "floor", "x=h:1")]
    assert names[:3] == ["tidelog", "kafka", "floor"]
    with pytest.raises(SystemExit, match="no such target"):
        make_target("pulsar", tmp_path, args)


def test_a_comparison_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    options = (
        "--targets floor --workloads produce-16k,fetch-1m --rounds 2 --seconds 0.05 --warmup 0.05 "
        "--fill-bytes 2000000 --max-run-bytes 2000000 --warm-bytes 0"
    )
    status = main([*options.split(), "--json", str(out), "--data-parent", str(tmp_path)])
    assert status == 0
    workloads = json.loads(out.read_text())["workloads"]
    assert {name: len(w["runs"]["floor"]) for name, w in workloads.items()} == {
        "produce-16k": 2,
        "fetch-1m": 2,
    }
    assert "floor: up in" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]

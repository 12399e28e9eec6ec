"""The command line for one workload."""

import json
from pathlib import Path

import pytest

from bench.load.run import main, parse_arguments, workload_of
from tests.unit.benchmarks.floors import running_floor
from tidelog.benchmarks.shapes import WORKLOADS


def test_options_change_the_workload() -> None:
    base = ["--bootstrap", "h:1", "--workload", "produce-16k"]
    assert workload_of(parse_arguments(base)) == WORKLOADS["produce-16k"]
    changed = workload_of(
        parse_arguments([*base, "--in-flight", "3", "--acks", "0", "--idempotent"])
    )
    assert (changed.in_flight, changed.acks, changed.idempotent) == (3, 0, True)
    assert changed.batch_bytes == 16_384


def test_run_prints_json_or_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_floor(tmp_path) as (_, (host, port)):
        arguments = ["--bootstrap", f"{host}:{port}", "--floor", "--workload", "produce-255"]
        arguments += ["--warmup", "0.01", "--seconds", "5", "--max-requests", "300"]
        main([*arguments, "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["counts"]["requests"] == 300
        assert found["log_end_offset_grew_by"] > 300  # the warm-up wrote too
        main(arguments)
        assert "produce-255: " in capsys.readouterr().out


def test_a_log_that_did_not_grow_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.benchmarks.floor.FloorCluster.offsets", lambda *_: (0, 0))
    with running_floor(tmp_path) as (_, (host, port)), pytest.raises(SystemExit, match="grew by 0"):
        arguments = f"--bootstrap {host}:{port} --floor --workload produce-255"
        main(f"{arguments} --max-requests 5 --warmup 0".split())

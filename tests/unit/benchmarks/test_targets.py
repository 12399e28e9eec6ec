"""Targets that are quick to start; the others are tried where their brokers are tested."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tidelog.benchmarks.floor import FloorCluster
from tidelog.benchmarks.native_load import BenchError
from tidelog.benchmarks.shapes import WORKLOADS, Load, prepare_topic
from tidelog.benchmarks.targets import (
    FloorTarget,
    ForeignTarget,
    ProcessTarget,
    TidelogTarget,
    parse_ready_line,
)


def test_the_floor_as_a_process(tmp_path: Path) -> None:
    folder = tmp_path / "floor"
    with FloorTarget(folder) as target:
        first = target.bootstrap
        cluster = target.cluster()
        assert isinstance(cluster, FloorCluster)
        workload = WORKLOADS["produce-16k"]
        layout = prepare_topic(cluster, workload)
        with Load(cluster, workload, layout) as load:
            load.run(max_requests=50)
        assert target.disk_bytes() >= 50 * 16_384
        assert target.memory().rss > 0
        assert target.cpu_s() > 0
        assert target.start_s > 0
        assert target.renew()
        assert target.bootstrap != first
        assert target.cluster().offsets(layout, 0) == (0, 0)
        target.settle(1 << 20)
        pid = target.pid
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_ends_before_it_is_ready(tmp_path: Path) -> None:
    class Broken(ProcessTarget):
        name = "broken"

        def command(self) -> list[str]:
            return ["sh", "-c", "echo some line; echo no luck >&2", "sh"]

    folder = tmp_path / "broken"
    with pytest.raises(BenchError, match="no luck"), Broken(folder):
        pass
    assert not folder.exists()


def test_ready_lines() -> None:
    line = "tidelog ready bootstrap=127.0.0.1:9092,127.0.0.1:9093 pid=7\n"
    assert parse_ready_line(line) == "127.0.0.1:9092,127.0.0.1:9093"
    with pytest.raises(ValueError, match="not a ready line"):
        parse_ready_line("tidelog is ready")


def test_tidelog_command(tmp_path: Path) -> None:
    command = TidelogTarget(tmp_path, workers=2, settings=["a.b=c"]).command()
    assert command[1:7] == ["-P", "-m", "tidelog", "serve", "--listen", "127.0.0.1:0"]
    assert command[command.index("--workers") + 1] == "2"
    assert command[-2:] == ["--set", "a.b=c"]
    assert "log.segment.delete.delay.ms=0" in command


def test_a_foreign_broker_is_left_alone(tmp_path: Path) -> None:
    with ForeignTarget(tmp_path / "x", f"mine=127.0.0.1:9@{os.getpid()}") as target:
        assert (target.name, target.bootstrap, target.pid) == ("mine", "127.0.0.1:9", os.getpid())
        assert target.cpu_s() > 0
        assert not target.renew()
    with ForeignTarget(tmp_path / "y", "mine=127.0.0.1:9") as target:
        assert target.cpu_s() != target.cpu_s()  # unknown: not a number


def test_the_process_ends_with_its_owner(tmp_path: Path) -> None:
    owner = f"""
import sys, time
from pathlib import Path
from tidelog.benchmarks.targets import FloorTarget
target = FloorTarget(Path({str(tmp_path / "floor")!r}))
target.__enter__()
print(target.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        ended = os.pidfd_open(pid)
        running.kill()
    try:
        assert select.select([ended], [], [], 30)[0] == [ended]
    finally:
        os.close(ended)

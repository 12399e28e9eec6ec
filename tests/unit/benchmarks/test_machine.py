"""The machine as /proc has it; what is warned about."""

import json
import os

import pytest

from tidelog.benchmarks.machine import (
    Meter,
    Reading,
    check_pid,
    client_warning,
    describe,
    versions,
)


def test_a_description_is_plain_json() -> None:
    found = json.loads(json.dumps(describe()))
    assert found["cpus"] == os.cpu_count()
    assert found["memory_bytes"] > 1 << 20
    assert os.uname().nodename not in found.values()
    assert {"python", "tidelog"} <= set(versions())


def metered(pid: int, machine_s: float, broker_s: float, client_s: float, load: float) -> Meter:
    meter = Meter(pid)
    meter.before = Reading(100.0, 0.0, 0.0, 0.0, load)
    meter.after = Reading(110.0, machine_s, broker_s, client_s, load)
    return meter


def test_what_the_broker_costs() -> None:
    meter = metered(os.getpid(), 9.0, 5.0, 4.0, 0.0)
    found = meter.figures(2 * 10**9)
    assert (found["broker_cpu_share"], found["broker_cpu_s_per_gb"]) == (0.5, 2.5)
    assert found["broker_rss_mb"] > 1
    assert "broker_cpu_s_per_gb" not in meter.figures(0)
    assert metered(0, 9.0, 0.0, 4.0, 0.0).figures(10) == {}


def test_a_busy_machine_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    pid = os.getpid()
    assert metered(pid, 9.0, 5.0, 4.0, 99.0).warnings() == []
    assert metered(pid, 15.0, 5.0, 4.0, 0.0).warnings() == [
        "other processes used 30% of the machine during the run"
    ]
    assert metered(0, 15.0, 0.0, 4.0, 0.3).warnings() == []
    assert "load average 1.2" in metered(0, 15.0, 0.0, 4.0, 1.2).warnings()[0]


def test_a_client_at_its_limit_is_warned_about() -> None:
    assert client_warning("reading", 0.5) == []
    assert "reading thread was busy for 95%" in client_warning("reading", 0.95)[0]


def test_a_meter_reads_this_process() -> None:
    meter = Meter(os.getpid())
    meter.start()
    sum(range(200_000))
    meter.finish()
    assert meter.elapsed_s > 0
    assert meter.broker_cpu_s >= 0
    assert meter.client_cpu_s >= 0
    assert check_pid(os.getpid())
    assert not check_pid(2**30)

"""Workloads from end to end on the floor server, and how partitions are shared out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.benchmarks.floors import running_floor
from tidelog._native.loadgen import Histogram
from tidelog.benchmarks.cluster import TopicLayout
from tidelog.benchmarks.shapes import WORKLOADS, Load, make_report, prepare_topic, share_out

A, B = ("a", 1), ("b", 2)


def test_every_partition_gets_a_connection_to_its_leader() -> None:
    layout = TopicLayout("t", {0: A, 1: B, 2: A, 3: B, 4: A})
    assert share_out(layout, 2) == [(A, [0, 2, 4]), (B, [1, 3])]
    assert share_out(layout, 3) == [(A, [0, 4]), (B, [1, 3]), (A, [2])]
    assert share_out(layout, 8) == [
        (A, [0]),
        (B, [1]),
        (A, [2]),
        (B, [3]),
        (A, [4]),
        (B, [1]),
        (A, [0]),
        (B, [3]),
    ]
    for connections in range(2, 12):
        shares = share_out(layout, connections)
        assert len(shares) == connections
        assert {p for _, partitions in shares for p in partitions} == set(range(5))
        assert all(layout.leaders[p] == leader for leader, parts in shares for p in parts)
    with pytest.raises(ValueError, match="2 leaders"):
        share_out(layout, 1)


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_named_workloads_run(name: str, tmp_path: Path) -> None:
    workload = replace(WORKLOADS[name], fill_bytes=3 << 20)
    with running_floor(tmp_path) as (cluster, _):
        layout = prepare_topic(cluster, workload)
        with Load(cluster, workload, layout) as load:
            report = load.run(max_requests=10)
        end = cluster.offsets(layout, 0)[1]
    assert report.counts["requests"] == 10
    if workload.kind == "produce":
        assert report.record_bytes == 10 * workload.batch_bytes
        assert end == report.counts["records"]
        assert (tmp_path / "0.log").stat().st_size == report.record_bytes
    else:
        assert report.record_bytes == 10 * (1 << 20)
    assert 0 < report.latency_us["p50"] <= report.latency_us["p99"] <= report.latency_us["max"]
    assert json.loads(json.dumps(report.to_json()))["workload"] == name


@pytest.mark.parametrize("acks", [-1, 0, 1])
@pytest.mark.parametrize("idempotent", [False, True])
def test_many_connections_and_partitions(acks: int, idempotent: bool, tmp_path: Path) -> None:
    workload = replace(
        WORKLOADS["produce-255"],
        connections=3,
        partitions=8,
        partitions_per_request=2,
        acks=acks,
        idempotent=idempotent,
        in_flight=4,
    )
    with running_floor(tmp_path) as (cluster, _):
        layout = prepare_topic(cluster, workload)
        with Load(cluster, workload, layout) as load:
            report = load.run(max_requests=600)
        ends = [cluster.offsets(layout, p)[1] for p in range(8)]
    assert sum(ends) == report.counts["records"] == report.counts["batches"]
    assert all(ends)
    assert report.counts["requests"] == 600


def test_fetching_several_partitions_in_turn(tmp_path: Path) -> None:
    workload = replace(
        WORKLOADS["fetch-1m"], connections=2, partitions=2, fill_bytes=2 << 20, verify_crc=True
    )
    with running_floor(tmp_path) as (cluster, _):
        layout = prepare_topic(cluster, workload)
        with Load(cluster, workload, layout) as load:
            assert load.run(max_requests=8).record_bytes >= 8 << 20


def test_report_rates() -> None:
    latency = Histogram()
    latency.record(2_000_000)
    names = (
        "bytes_sent bytes_received records batches empty_responses wraps throttled_responses "
        "send_calls receive_calls last_base_offset"
    )
    counts = dict.fromkeys(names.split(), 0)
    counts |= {"requests": 500, "record_bytes": 4_000_000, "elapsed_ns": 2 * 10**9}
    counts |= {"user_ns": 10**9, "system_ns": 5 * 10**8}
    report = make_report("w", {**counts, "latency": latency})  # type: ignore[typeddict-item]
    assert (report.requests_per_s, report.mb_per_s) == (250, 2)
    assert (report.client_cpu_s, report.client_cpu_share) == (1.5, 0.75)
    assert report.latency_us["max"] == 2000

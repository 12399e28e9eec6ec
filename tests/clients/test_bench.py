"""`tidelog bench` against a running broker: every kind of workload, what it counts, and what it
says when it cannot. No test looks at how fast anything was.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.house.broker import ServedBroker
from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.results import Report
from tidelog.benchmarks.stage import PREFIX
from tidelog.benchmarks.start import answers
from tidelog.cli.main import main


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    data = tmp_path_factory.mktemp("bench") / "data"
    with ServedBroker(data, ["--workers", "2"]) as running:
        yield running


def tidelog(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def bench(broker: ServedBroker, name: str, *options: str, **settings: object) -> dict[str, Any]:
    """The only round of a short run, as JSON has it."""
    settings = {"warmup_s": 0.1, "max_bytes": 50_000_000, "fetch_wait_ms": 50} | settings
    given = [part for k, v in settings.items() for part in ("--set", f"{k}={v}")]
    short = ("--rounds", "1", "--seconds", "0.4", "--json", "--bootstrap", broker.bootstrap_servers)
    status, out, err = tidelog("bench", "run", name, *short, *given, *options)
    assert status == 0, err
    report = json.loads(out)
    assert Report.from_json(report).to_json() == report
    [target] = report["targets"]
    [found] = target["rounds"]
    for latency in found["latencies"].values():
        assert Histogram.from_json(latency["histogram"]).count == latency["count"] > 0
    assert topics(broker) == []
    return dict(found)


def topics(broker: ServedBroker) -> list[str]:
    """What benchmarks have left behind."""
    client = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    return [name for name in client.list_topics(timeout=30).topics if name.startswith(PREFIX)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("produce-16k", {}),
        ("produce-16k", {"acks": "0"}),
        ("produce-single", {"codec": "zstd", "keys": "5"}),
        ("produce-keyed", {"partitions": "20", "producers": "5"}),
        ("produce-100b-x3", {"idempotent": "true", "acks": "all", "codec": "gzip"}),
    ],
)
def test_produce(broker: ServedBroker, name: str, settings: dict[str, str]) -> None:
    found = bench(broker, name, **settings)
    counts = found["counts"]
    assert counts["written_records"] > 0
    assert found["latencies"]["produce"]["count"] == counts["written_requests"]
    assert sum(second[1] for second in found["seconds"]) <= counts["written_records"]
    assert found["figures"]["records_per_s"] > 0


def test_a_fixed_rate_sends_what_is_due(broker: ServedBroker) -> None:
    found = bench(broker, "produce-rate", rate="1000", batch_records="5", producers="2")
    due = found["counts"]["written_requests"] + found["figures"]["unsent_requests"]
    assert due == pytest.approx(80, abs=2)  # 0.4 s of 200 requests a second
    assert found["counts"]["written_records"] == 5 * found["counts"]["written_requests"]
    assert found["figures"]["target_records_per_s"] == 1000


def test_consume_reads_what_was_written(broker: ServedBroker) -> None:
    found = bench(broker, "consume-1k", backlog_bytes=2_000_000, verify_crc="true", partitions=3)
    assert found["counts"]["read_records"] > 0
    assert found["latencies"]["fetch"]["count"] == found["counts"]["read_requests"]
    assert found["figures"]["consumed_mb_per_s"] > 0


@pytest.mark.parametrize(
    ("name", "settings", "groups"),
    [
        ("latency", {"rate": "2000", "verify_crc": "true"}, 1),
        ("latency-exactly-once", {"rate": "1000", "partitions": "4"}, 1),
        ("latency-sync", {"rate": "400", "partitions": "2"}, 1),
        ("fan-out-5", {"rate": "1000", "consumers": "2", "partitions": "4"}, 5),
        ("rate-10-topics", {"rate": "5000", "partitions": "3", "topics": "3"}, 1),
    ],
)
def test_end_to_end_every_batch_is_seen_by_every_group(
    broker: ServedBroker, name: str, settings: dict[str, str], groups: int
) -> None:
    found = bench(broker, name, **settings)
    counts = found["counts"]
    assert counts["written_records"] > 0
    assert counts["read_records"] == groups * counts["written_records"]
    assert found["latencies"]["end_to_end"]["count"] == groups * counts["written_batches"]
    assert sum(second[3] for second in found["seconds"]) == counts["read_records"]


def test_as_fast_as_can_be_and_read_to_the_end(broker: ServedBroker) -> None:
    found = bench(broker, "max-16-pairs", partitions="4", producers="4", consumers="4")
    assert found["counts"]["read_records"] == found["counts"]["written_records"] > 0
    assert "end_to_end" not in found["latencies"]


def test_several_producers_in_one_partition_have_no_end_to_end_latency(
    broker: ServedBroker,
) -> None:
    found = bench(broker, "latency", partitions="1", producers="2", rate="1000")
    assert "end_to_end" not in found["latencies"]
    assert any("several producers" in text for text in found["warnings"])


def test_backlog(broker: ServedBroker) -> None:
    found = bench(broker, "backlog", "--seconds", "30", backlog_bytes=3_000_000, rate="500")
    assert found["figures"]["drain_s"] > 0
    backlog = 3_000_000 // 1024
    assert found["counts"]["read_records"] >= backlog * 0.9


@pytest.mark.parametrize("rate", ["0", "2000"])
def test_transactions_are_committed_and_read(broker: ServedBroker, rate: str) -> None:
    settings = {"commit_interval_ms": "50", "producers": "2", "partitions": "3", "groups": "2"}
    found = bench(broker, "transactions", rate=rate, **settings)
    counts = found["counts"]
    assert counts["transactions"] > 1
    assert counts["written_records"] > 0
    assert counts["read_records"] == 2 * counts["written_records"]
    assert found["latencies"]["commit"]["count"] == counts["transactions"]
    assert not [text for text in found["warnings"] if "not read" in text]


def test_a_start_is_measured_and_undone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
    program = Path(sys.executable).with_name("tidelog")
    command = f"{program} serve --workers 1 --listen {place} --data-dir {tmp_path / 'data'}"
    run = ("bench", "run", "start", "--rounds", "2", "--bootstrap", place, "--json")
    status, out, err = tidelog(*run, "--command", command)
    assert status == 0, err
    rounds = json.loads(out)["targets"][0]["rounds"]
    for found in rounds:
        assert found["figures"]["ready_s"] > 0
        assert found["figures"]["broker_rss_mb"] > 1
        assert found["latencies"]["first_ack"]["count"] == 1
    assert not answers(place)
    wrong_option = f"{program} serve --none"
    for wrong, problem in (
        ("false", "status 1"),
        (wrong_option, "--none"),
        ("/no/such/program", "No such file"),
    ):
        status, _, err = tidelog(*run, "--command", wrong)
        assert status == 1
        assert problem in err


def test_partitions_and_idle_measure_the_brokers_process(broker: ServedBroker) -> None:
    found = bench(broker, "partitions-1000", "--pid", str(broker.pid), partitions="40", rate="1000")
    assert found["figures"]["create_s"] > 0
    assert found["latencies"]["metadata"]["count"] == 50
    assert found["figures"]["broker_rss_mb"] > 1
    found = bench(broker, "idle", "--pid", str(broker.pid))
    assert set(found["figures"]) >= {"broker_cpu_share", "broker_rss_mb"}
    assert found["latencies"] == {}


def test_two_brokers_take_turns_and_are_compared(broker: ServedBroker, tmp_path: Path) -> None:
    place, file = broker.bootstrap_servers, tmp_path / "a.json"
    run = ("bench", "run", "produce-16k", "--rounds", "3", "--seconds", "0.1")
    run += ("--set", "warmup_s=0", "--bootstrap", place, "--against", place, "--output", str(file))
    status, out, err = tidelog(*run)
    assert status == 0, err
    assert err.count("round ") >= 6
    assert f"{place} to {place}" in out
    assert "ratio" in out
    assert "p99.9" in out
    report = json.loads(file.read_text())
    assert [len(target["rounds"]) for target in report["targets"]] == [3, 3]
    assert report["machine"]["cpus"] == os.cpu_count()
    assert report["settings"]["client"] == "native"
    status, out, err = tidelog("bench", "compare", str(file), str(file), "--json")
    assert status == 0, err
    compared = json.loads(out)
    assert compared[0]["metrics"]["records_per_s"]["ratio"] == 1.0
    status, out, err = tidelog("bench", "compare", str(file), str(file))
    assert (status, "equal" in out) == (0, True)


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (("none",), 2, "no workload none"),
        (("latency", "--set", "partitions=0"), 2, "between 1 and 100000"),
        (("latency", "--set", "x=1"), 2, "x is no setting"),
        (("latency", "--client", "x"), 2, "native, librdkafka"),
        (("latency", "--client-set", "a=b"), 2, "--client librdkafka"),
        (("start",), 2, "--command"),
        (("latency", "--command", "x"), 2, "--command is for"),
        (("latency", "--pid", "4194999"), 1, "no process 4194999"),
        (("latency", "--output", "/no/such/place"), 1, "/no/such/place: No such file"),
        (("idle",), 1, "--pid is needed"),
        (("latency", "--set", "replication_factor=9"), 1, "INVALID_REPLICATION_FACTOR"),
        (("latency", "--set", "topic_configs=no.such=1"), 1, "INVALID_CONFIG"),
        (("produce-1m", "--set", "topic_configs=max.message.bytes=999"), 1, "MESSAGE_TOO_LARGE"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    broker: ServedBroker, options: tuple[str, ...], status: int, problem: str
) -> None:
    place = ("--rounds", "1", "--bootstrap", broker.bootstrap_servers)
    found, out, err = tidelog("bench", "run", *options, *place)
    assert (found, out) == (status, ""), err
    assert problem in err
    assert err.count("\n") == 1
    assert topics(broker) == []


def test_nobody_listens() -> None:
    status, out, err = tidelog("bench", "run", "latency", "--bootstrap", "127.0.0.1:1")
    assert (status, out) == (1, "")
    assert "127.0.0.1:1: Connection refused" in err


def test_files_that_are_no_results(tmp_path: Path) -> None:
    broken = tmp_path / "b.json"
    broken.write_text("[]")
    for file, problem in ((broken, "not a result"), (tmp_path / "none", "No such file")):
        status, _, err = tidelog("bench", "compare", str(file), str(file))
        assert status == 1
        assert problem in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("client", ["native", "librdkafka"])
def test_ctrl_c_leaves_no_topic(broker: ServedBroker, client: str) -> None:
    command = [str(Path(sys.executable).with_name("tidelog")), "bench", "run", "latency"]
    command += [
        "--client",
        client,
        "--seconds",
        "60",
        "--rounds",
        "2",
        "--bootstrap",
        broker.bootstrap_servers,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        try:
            while not topics(broker):
                assert running.poll() is None
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=40)
        finally:
            running.kill()
    assert (running.returncode, out, err) == (130, b"", b"tidelog: stopped\n")
    assert topics(broker) == []


def test_workloads_are_listed() -> None:
    status, out, _ = tidelog("bench", "list")
    assert (status, "fan-out-20" in out) == (0, True)
    status, out, _ = tidelog("bench", "list", "--json")
    assert {"name", "kind", "text"} == set(json.loads(out)[0])
    status, out, _ = tidelog("bench", "list", "latency")
    assert (status, "partitions" in out) == (0, True)
    assert tidelog("bench", "list", "none")[0] == 2


REAL = ("--client", "librdkafka")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("produce-16k", {"producers": "2", "keys": "100", "codec": "lz4"}),
        ("produce-rate", {"rate": "500", "acks": "all", "idempotent": "true"}),
    ],
)
def test_librdkafka_produces(broker: ServedBroker, name: str, settings: dict[str, str]) -> None:
    found = bench(broker, name, *REAL, **settings)
    written = found["counts"]["written_records"]
    assert 0 < written == found["latencies"]["produce"]["count"]
    assert found["counts"]["written_bytes"] == written * 1024


def test_librdkafka_end_to_end(broker: ServedBroker) -> None:
    settings = {"rate": "500", "partitions": "3", "groups": "2", "consumers": "2", "topics": "2"}
    found = bench(broker, "latency", *REAL, **settings)
    written = found["counts"]["written_records"]
    assert found["counts"]["read_records"] == 2 * written > 0
    assert found["latencies"]["end_to_end"]["count"] == 2 * written


def test_librdkafka_reads_a_backlog(broker: ServedBroker) -> None:
    found = bench(
        broker, "consume-1k", *REAL, "--seconds", "30", backlog_bytes=1_024_000, partitions=2
    )
    assert found["counts"]["read_records"] == 1000
    assert found["figures"]["drain_s"] > 0
    found = bench(broker, "backlog", *REAL, "--seconds", "30", backlog_bytes=1_024_000, rate="500")
    assert found["counts"]["read_records"] == 1000 + found["counts"].get("written_records", 0)


def test_librdkafka_commits(broker: ServedBroker) -> None:
    found = bench(
        broker, "transactions", *REAL, "--seconds", "1", commit_interval_ms="50", rate="300"
    )
    counts = found["counts"]
    assert counts["transactions"] == found["latencies"]["commit"]["count"] > 0
    assert counts["read_records"] == counts["written_records"] > 0


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (("idle",), 2, "librdkafka cannot run idle workloads"),
        (("latency", "--client-set", "no.such=1"), 1, "no.such"),
        (("latency", "--set", "replication_factor=9"), 1, "INVALID_REPLICATION_FACTOR"),
        (("produce-1m", "--set", "topic_configs=max.message.bytes=9"), 1, "MSG_SIZE_TOO_LARGE"),
    ],
)
def test_what_librdkafka_cannot_run_is_one_line(
    broker: ServedBroker, options: tuple[str, ...], status: int, problem: str
) -> None:
    place = ("--rounds", "1", "--bootstrap", broker.bootstrap_servers)
    found, out, err = tidelog("bench", "run", *options, *REAL, *place)
    assert (found, out) == (status, ""), err
    assert problem in err
    assert err.count("\n") == 1
    assert topics(broker) == []

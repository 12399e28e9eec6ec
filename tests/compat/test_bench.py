"""`tidelog bench` drives Apache Kafka as it drives Tidelog: short runs, and what they count."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import Target
from tests.house.broker import ServedBroker
from tidelog.cli.main import main

pytestmark = pytest.mark.timeout(240, func_only=True)
SHORT = ("--rounds", "1", "--seconds", "0.5", "--set", "warmup_s=0.1", "--json")


def bench(*arguments: str) -> dict[str, Any]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(["bench", "run", *arguments, *SHORT, "--set", "max_bytes=50000000"])
    assert status == 0, err.getvalue()
    return dict(json.loads(out.getvalue()))


def counts(report: dict[str, Any]) -> dict[str, int]:
    return dict(report["targets"][0]["rounds"][0]["counts"])


@pytest.mark.parametrize(
    ("name", "settings", "groups"),
    [
        ("latency", ("rate=1000", "verify_crc=true"), 1),
        ("latency-exactly-once", ("rate=500", "partitions=3", "codec=zstd"), 1),
        ("fan-out-2", ("rate=500", "keys=10"), 2),
        ("max-16-pairs", ("partitions=4", "producers=2"), 1),
        ("transactions", ("rate=500", "partitions=2", "commit_interval_ms=50"), 1),
    ],
)
def test_what_was_written_is_read(
    reference: Target, name: str, settings: tuple[str, ...], groups: int
) -> None:
    given = [part for text in settings for part in ("--set", text)]
    found = counts(bench(name, *given, "--bootstrap", reference.bootstrap))
    assert found["read_records"] == groups * found["written_records"] > 0


def test_reading_alone_many_partitions_and_a_real_client(reference: Target) -> None:
    place = ("--bootstrap", reference.bootstrap)
    assert counts(bench("consume-1k", "--set", "backlog_bytes=2000000", *place))["read_records"] > 0
    many = bench("partitions-1000", "--set", "partitions=30", "--set", "rate=1000", *place)
    assert counts(many)["written_records"] > 0
    real = bench("latency", "--set", "rate=500", "--client", "librdkafka", *place)
    assert counts(real)["read_records"] == counts(real)["written_records"] > 0


def test_kafka_and_tidelog_in_turn(reference: Target, tmp_path: Path) -> None:
    with ServedBroker(tmp_path / "data") as tidelog:
        places = ("--bootstrap", reference.bootstrap, "--against", tidelog.bootstrap_servers)
        page = tmp_path / "page.html"
        report = bench("latency", "--set", "rate=500", *places, "--html", str(page))
    assert [target["name"] for target in report["targets"]] == [
        reference.bootstrap,
        tidelog.bootstrap_servers,
    ]
    assert page.read_text().count("<svg") == 3

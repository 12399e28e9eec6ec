"""The table of workloads, and settings given as text."""

import json

import pytest

from tidelog.benchmarks.workloads import (
    KINDS,
    WORKLOADS,
    WorkloadError,
    changed,
    checked,
    workload_named,
)


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_named_workload_is_sound(name: str) -> None:
    workload = checked(workload_named(name))
    assert workload.kind in KINDS
    assert workload.name == name
    assert 0 < len(workload.text) <= 70
    assert workload.records_per_batch >= 1
    assert json.loads(json.dumps(workload.settings()))["partitions"] == workload.partitions


def test_every_kind_has_a_workload() -> None:
    assert {workload.kind for workload in WORKLOADS.values()} == set(KINDS)


def test_settings_are_changed_by_text() -> None:
    workload = changed(
        WORKLOADS["latency"],
        {
            "partitions": "1_000",
            "rate": "5e3",
            "idempotent": "true",
            "acks": "all",
            "topic-configs": "a=1, b=2",
        },
    )
    assert (workload.partitions, workload.rate, workload.idempotent) == (1000, 5000.0, True)
    assert workload.acks_number == -1
    assert workload.configs == {"a": "1", "b": "2"}
    assert WORKLOADS["latency"].configs == {}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"none": "1"}, "no setting; there are topics, partitions"),
        ({"name": "x"}, "no setting"),
        ({"partitions": "x"}, "a number is expected"),
        ({"partitions": "0"}, "between 1 and 100000"),
        ({"rate": "nan"}, "between 0"),
        ({"idempotent": "yes"}, "true or false"),
        ({"idempotent": "true"}, "acks=all"),
        ({"codec": "zip"}, "one of none, gzip"),
        ({"acks": "2"}, "0, 1 or all"),
        ({"topic_configs": "a"}, "a is not KEY=VALUE"),
    ],
)
def test_wrong_settings(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(WorkloadError, match=problem):
        changed(WORKLOADS["latency"], changes)


def test_an_unknown_name_and_a_missing_rate() -> None:
    with pytest.raises(WorkloadError, match=r"no workload latence; perhaps latency"):
        workload_named("latence")
    with pytest.raises(WorkloadError, match="no workload"):
        workload_named("")
    with pytest.raises(WorkloadError, match="needs a rate"):
        changed(WORKLOADS["backlog"], {"rate": "0"})


def test_batches_are_filled_by_bytes_or_by_records() -> None:
    by_bytes = changed(WORKLOADS["produce-16k"], {"batch_bytes": "16384", "record_bytes": "1000"})
    assert by_bytes.records_per_batch == 16
    assert changed(by_bytes, {"batch_records": "3"}).records_per_batch == 3
    assert changed(by_bytes, {"record_bytes": "99999"}).records_per_batch == 1

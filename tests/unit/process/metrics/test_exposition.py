"""The text of a scrape, read back by prometheus_client's own parser."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.process.metrics.views import host, node, samples
from tidelog._native.request_stats import BUCKETS_S
from tidelog.process.metrics import exposition
from tidelog.process.metrics.exposition import HostView, render
from tidelog.process.metrics.samples import Buckets, LogSample, OffsetSample
from tidelog.storage.durations import BOUNDS_S

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(view: HostView) -> Values:
    text, content_type = render(view, "")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float:
    return values[name, frozenset(labels.items())]


def test_the_cluster() -> None:
    values = scraped(host(node()))
    assert value(values, "tidelog_metadata_version") == 7
    assert value(values, "kafka_brokers") == 2
    assert value(values, "kafka_topic_partitions", topic="orders") == 2
    assert value(values, "kafka_controller_kafkacontroller_offlinepartitionscount") == 1
    assert value(values, "kafka_topic_partition_leader", topic="orders", partition="1") == -1


def test_too_many_leaders_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "METRICS_CLUSTER_PARTITIONS_MAX", 1)
    values = scraped(host(node()))
    leaders = [name for name, _ in values if name == "kafka_topic_partition_leader"]
    assert len(leaders) == 1
    labels = {"node": "supervisor", "kind": "leader"}
    assert value(values, "tidelog_metrics_dropped_series", **labels) == 1
    assert value(values, "kafka_controller_kafkacontroller_globalpartitioncount") == 2
    monkeypatch.setattr(exposition, "METRICS_CLUSTER_PARTITIONS_MAX", 0)
    values = scraped(host(node()))
    assert "kafka_topic_partitions" not in {name for name, _ in values}
    assert value(values, "tidelog_metrics_dropped_series", **labels) == 2


def test_a_node_that_does_not_answer_costs_its_own_series() -> None:
    told = samples({"tidelog_connections": [((), 4)]})
    values = scraped(host(node(1, samples=told), node(2, state=None, deaths=3)))
    assert value(values, "tidelog_node_up", node="1") == 1
    assert value(values, "tidelog_node_up", node="2") == 0
    assert value(values, "tidelog_node_deaths_total", node="2") == 3
    assert value(values, "tidelog_connections", node="1") == 4
    assert ("tidelog_connections", frozenset({("node", "2")})) not in values
    # It hangs, but it is there.
    assert value(values, "process_resident_memory_bytes", node="2") > 0


def test_processes_are_read_from_the_system() -> None:
    values = scraped(host(node(1), node(2, pid=None)))
    assert value(values, "process_open_fds", node="supervisor") > 0
    assert value(values, "process_cpu_seconds_total", node="1") > 0
    assert ("process_cpu_seconds_total", frozenset({("node", "2")})) not in values


def test_a_lag_is_made_of_what_two_nodes_told() -> None:
    ends = samples(
        {}, LogSample("orders", 0, 2, 100, 101, 900, 3), LogSample("orders", 1, 0, 5, 5, 50, 1)
    )
    committed = samples(
        {},
        OffsetSample("g", "orders", 0, 60),
        OffsetSample("g", "orders", 1, 7),
        OffsetSample("g", "gone", 0, 1),
    )
    values = scraped(host(node(1, samples=ends), node(2, samples=committed)))
    lag = {
        tuple(sorted(dict(labels).items())): found
        for (name, labels), found in values.items()
        if name == "kafka_consumergroup_lag"
    }
    assert lag == {
        (("consumergroup", "g"), ("partition", "0"), ("topic", "orders")): 40,
        (("consumergroup", "g"), ("partition", "1"), ("topic", "orders")): 0,
    }
    gone = {"consumergroup": "g", "topic": "gone", "partition": "0"}
    assert value(values, "kafka_consumergroup_current_offset", **gone) == 1
    of_log = {"topic": "orders", "partition": "0"}
    assert value(values, "kafka_topic_partition_oldest_offset", **of_log) == 2
    assert value(values, "kafka_topic_partition_current_offset", **of_log) == 100
    assert value(values, "kafka_log_log_logendoffset", **of_log) == 101
    assert value(values, "kafka_log_log_size", **of_log) == 900
    assert value(values, "kafka_log_log_numlogsegments", **of_log) == 3


def test_histograms_are_cumulative() -> None:
    told = samples(
        {},
        tidelog_request_stage_seconds=[
            Buckets(("Produce", "append"), [2, 1, *[0] * (len(BUCKETS_S) - 2), 3], 4.5)
        ],
        tidelog_fsync_seconds=[Buckets((), [0, 1, *[0] * (len(BOUNDS_S) - 1)], 0.1)],
    )
    values = scraped(host(node(1, samples=told)))
    labels = {"node": "1", "request": "Produce", "stage": "append"}
    name = "tidelog_request_stage_seconds"
    assert value(values, f"{name}_bucket", **labels, le="0.00001") == 2
    assert value(values, f"{name}_bucket", **labels, le="0.00003") == 3
    assert value(values, f"{name}_bucket", **labels, le="30") == 3
    assert value(values, f"{name}_bucket", **labels, le="+Inf") == 6
    assert value(values, f"{name}_count", **labels) == 6
    assert value(values, f"{name}_sum", **labels) == 4.5
    assert value(values, "tidelog_fsync_seconds_bucket", node="1", le="0.0001") == 0
    assert value(values, "tidelog_fsync_seconds_count", node="1") == 1


def test_openmetrics_for_those_who_ask_for_it() -> None:
    told = samples({"kafka_network_requestmetrics_requests_total": [(("Fetch", "12"), 2)]})
    view = host(node(1, samples=told))
    text, content_type = render(view, "application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(text.decode())}
    assert "kafka_network_requestmetrics_requests" in families

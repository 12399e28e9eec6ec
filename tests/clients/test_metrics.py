"""A real broker, scraped: the values are what the clients did."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import admin as confluent

from tests.clients.python_clients import TIMEOUT_S
from tests.clients.read_groups import filled_topic, reader
from tests.clients.scrapes import get_json, scrape
from tests.house.broker import ServedBroker
from tidelog.process.metrics.definitions import METRICS

RECORDS = 40
NODES = ("1", "2")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    arguments = ["--workers", "2", "--metrics", "127.0.0.1:0"]
    with ServedBroker(tmp_path_factory.mktemp("metrics") / "data", arguments) as running:
        yield running


@pytest.fixture
def topic(broker: ServedBroker) -> str:
    """A topic with a partition on each node, and RECORDS records in each."""
    return filled_topic(broker.bootstrap_servers, RECORDS)


def consume(
    broker: ServedBroker, topic: str, group: str, committed: int, protocol: str = "classic"
) -> confluent_kafka.Consumer:
    """A member that has read everything and committed `committed` in each partition."""
    servers = broker.bootstrap_servers
    return reader(servers, topic, group, records=RECORDS, committed=committed, protocol=protocol)


def test_every_metric_is_there_and_no_other(broker: ServedBroker, topic: str) -> None:
    consume(broker, topic, uuid.uuid4().hex, 1).close()
    found = scrape(broker.metrics).families
    assert found == {metric.name.removesuffix("_total") for metric in METRICS}


def test_produced_records_and_bytes(broker: ServedBroker, topic: str) -> None:
    told = scrape(broker.metrics)
    for node in NODES:
        labels = {"topic": topic, "node": node}
        assert told.one("kafka_server_brokertopicmetrics_messagesin_total", **labels) == RECORDS
    size = told.total("kafka_log_log_size", topic=topic)
    assert told.total("kafka_server_brokertopicmetrics_bytesin_total", topic=topic) == size
    assert size > 2 * RECORDS * 100
    files = broker.data_dir.glob(f"node-*/{topic}-*/*.log")
    assert sum(path.stat().st_size for path in files) == size
    for partition in ("0", "1"):
        labels = {"topic": topic, "partition": partition}
        assert told.one("kafka_topic_partition_current_offset", **labels) == RECORDS
        assert told.one("kafka_topic_partition_oldest_offset", **labels) == 0
        assert told.one("kafka_log_log_logendoffset", **labels) == RECORDS
        assert told.one("kafka_log_log_numlogsegments", **labels) == 1
    assert told.one("kafka_topic_partitions", topic=topic) == 2


def test_requests_are_counted_and_timed(broker: ServedBroker, topic: str) -> None:
    before = scrape(broker.metrics)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap_servers})
    for _ in range(10):
        producer.produce(topic, b"x", partition=0)
        assert producer.flush(TIMEOUT_S) == 0
    after = scrape(broker.metrics)
    count = "kafka_network_requestmetrics_requests_total"
    assert after.total(count, request="Produce") - before.total(count, request="Produce") == 10
    for stage in ("queue", "parse", "append", "send", "total"):
        for name in ("count", "sum"):
            stages = f"tidelog_request_stage_seconds_{name}"
            labels = {"request": "Produce", "stage": stage}
            assert after.total(stages, **labels) > before.total(stages, **labels)


def test_errors_are_counted_by_code(broker: ServedBroker) -> None:
    labels = {"request": "DescribeConfigs", "error": "UNKNOWN_TOPIC_OR_PARTITION"}
    before = scrape(broker.metrics).total("kafka_network_requestmetrics_errors_total", **labels)
    client = confluent.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    resource = confluent.ConfigResource(confluent.ResourceType.TOPIC, f"no-{uuid.uuid4().hex}")
    (future,) = client.describe_configs([resource]).values()
    with pytest.raises(confluent_kafka.KafkaException):
        future.result(TIMEOUT_S)
    after = scrape(broker.metrics).total("kafka_network_requestmetrics_errors_total", **labels)
    assert after == before + 1


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_their_members_and_their_lag(
    broker: ServedBroker, topic: str, protocol: str
) -> None:
    group = uuid.uuid4().hex
    consumer = consume(broker, topic, group, RECORDS - 7, protocol)
    told = scrape(broker.metrics)
    assert told.one("kafka_consumergroup_members", consumergroup=group) == 1
    assert (
        told.one(
            "tidelog_consumergroup_state",
            consumergroup=group,
            state="Stable",
            protocol=protocol,
        )
        == 1
    )
    # The partitions are on both nodes, the coordinator is one of them.
    for partition in ("0", "1"):
        labels = {"consumergroup": group, "topic": topic, "partition": partition}
        assert told.one("kafka_consumergroup_current_offset", **labels) == RECORDS - 7
        assert told.one("kafka_consumergroup_lag", **labels) == 7
    assert told.total("kafka_server_brokertopicmetrics_bytesout_total", topic=topic) == told.total(
        "kafka_server_brokertopicmetrics_bytesin_total", topic=topic
    )
    assert told.total("tidelog_topic_messages_out_total", topic=topic) == 2 * RECORDS
    consumer.close()
    told = scrape(broker.metrics)
    assert told.one("kafka_consumergroup_members", consumergroup=group) == 0
    assert told.all("tidelog_consumergroup_state", consumergroup=group, state="Empty") == [1]


def test_processes_and_nodes(broker: ServedBroker) -> None:
    told = scrape(broker.metrics)
    assert told.one("kafka_brokers") == 2
    for node in (*NODES, "supervisor"):
        assert told.one("tidelog_event_loop_lag_seconds_count", node=node) > 0
        for name in ("process_resident_memory_bytes", "process_cpu_seconds_total"):
            assert told.one(name, node=node) > 0
    for node in NODES:
        assert told.one("tidelog_node_up", node=node) == 1
        assert told.one("tidelog_connections", node=node) >= 0
        assert told.one("tidelog_fsync_seconds_count", node=node) > 0


def test_health_and_readiness(broker: ServedBroker) -> None:
    assert get_json(broker.metrics, "/health")[0] == 200
    status, told = get_json(broker.metrics, "/ready")
    assert (status, told["status"]) == (200, "ready")


def test_a_node_that_hangs_is_down_and_the_others_are_shown(tmp_path: Path) -> None:
    arguments = ["--workers", "2", "--metrics", "127.0.0.1:0"]
    arguments += ["--set", "broker.session.timeout.ms=60000"]
    with ServedBroker(tmp_path / "data", arguments) as broker:
        children = Path(f"/proc/{broker.pid}/task/{broker.pid}/children").read_text().split()
        workers = [
            int(pid)
            for child in children
            for pid in Path(f"/proc/{child}/task/{child}/children").read_text().split()
        ]
        stopped = next(
            pid for pid in workers if b"node=2" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        os.kill(stopped, signal.SIGSTOP)
        try:
            told = scrape(broker.metrics)
            status, ready = get_json(broker.metrics, "/ready")
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert told.one("tidelog_node_up", node="1") == 1
        assert told.one("tidelog_node_up", node="2") == 0
        assert told.all("tidelog_connections", node="2") == []
        assert told.one("process_resident_memory_bytes", node="2") > 0
        assert status == 503
        assert [node["ready"] for node in ready["nodes"]] == [True, False]
        assert scrape(broker.metrics).one("tidelog_node_up", node="2") == 1

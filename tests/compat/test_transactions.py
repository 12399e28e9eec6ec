"""Transactions with franz-go (its group session, too), kafkajs, and Apache's tools."""

from __future__ import annotations

from collections import Counter
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from tests.compat.conftest import Target
from tests.compat.java_cli import Tools
from tests.compat.programs import Client, ProgramMissing, client
from tests.compat.tools import ToolServer

PARTITIONS = 3
ROUNDS = 9
TIMEOUT_S = 30.0
pytestmark = pytest.mark.timeout(120, func_only=True)

#: What a producer that was replaced is told, in the words of its client.
FENCED = {"INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED", "INVALID_TXN_STATE", "TRANSACTION_ABORTABLE"}


def program(name: str) -> Client:
    try:
        return client(name)
    except ProgramMissing as missing:
        pytest.skip(str(missing))


def values(lines: list[dict[str, Any]]) -> Counter[str]:
    return Counter(line["value"] for line in lines)


@pytest.mark.parametrize("name", ["franz-go", "kafkajs"])
def test_commits_aborts_copies_and_fencing(cluster: Target, name: str) -> None:
    topic = f"transactions-{name}"
    used = program(name)
    for each in (topic, f"{topic}-copy"):
        used.create(cluster.bootstrap, each, PARTITIONS)
    found = used.run(
        "transactions",
        bootstrap=cluster.bootstrap,
        topic=topic,
        partitions=PARTITIONS,
        count=ROUNDS,
    )
    assert len(found["committed"]) == 2 * PARTITIONS * ROUNDS * 2 // 3
    assert len(found["aborted"]) == 2 * PARTITIONS * ROUNDS // 3
    assert values(found["read_stable"]) == values(found["committed"])
    assert values(found["read_all"]) == values(found["committed"]) + values(found["aborted"])
    assert values(found["copied"]) == values(found["committed"])
    assert set(values(found["copied"]).values()) == {1}
    assert found["group_rounds"] > 1
    assert found["fenced"] in FENCED, found["fenced"]


# ---- Apache's tools


@pytest.fixture
def apache(java: object, tools: ToolServer, cluster: Target) -> Tools:
    return Tools(tools, cluster)


def create(cluster: Target, topic: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(TIMEOUT_S)


def begun(cluster: Target, transactional_id: str, topic: str) -> confluent_kafka.Producer:
    """A producer with one record of an open transaction."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": cluster.bootstrap, "transactional.id": transactional_id}
    )
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    assert producer.flush(TIMEOUT_S) == 0
    return producer


def rows(text: str) -> list[dict[str, str]]:
    """A table as the tool prints it."""
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    head = [name.strip() for name in lines[0]]
    return [dict(zip(head, (cell.strip() for cell in line), strict=False)) for line in lines[1:]]


def test_the_performance_test_in_transactions(apache: Tools, cluster: Target) -> None:
    create(cluster, "perf-txn")
    apache.ok(
        "kafka-producer-perf-test",
        "--topic", "perf-txn",
        "--num-records", "3000",
        "--throughput", "-1",
        "--record-size", "100",
        "--transactional-id", "perf",
        "--transaction-duration-ms", "50",
    )  # fmt: skip
    lines = apache.consume("perf-txn", 3000, "--isolation-level", "read_committed")
    assert len(lines) == 3000
    assert apache.offsets("perf-txn")[0] > 3000  # markers have offsets, too


def test_kafka_transactions(apache: Tools, cluster: Target) -> None:
    create(cluster, "tool-txn")
    producer = begun(cluster, "tool-id", "tool-txn")
    listed = rows(apache.ok("kafka-transactions", "list"))
    (mine,) = [one for one in listed if one["TransactionalId"] == "tool-id"]
    assert mine["TransactionState"] == "Ongoing"
    (described,) = rows(
        apache.ok("kafka-transactions", "describe", "--transactional-id", "tool-id")
    )
    assert described["TopicPartitions"] == "tool-txn-0"
    assert described["ProducerId"] == mine["ProducerId"]
    place = ["--topic", "tool-txn", "--partition", "0"]
    (writer,) = rows(apache.ok("kafka-transactions", "describe-producers", *place))
    assert writer["ProducerId"] == mine["ProducerId"]
    assert writer["CurrentTransactionStartOffset"] == "0"
    # Its coordinator knows it: it does not hang.
    hanging = ["find-hanging", "--topic", "tool-txn", "--max-transaction-timeout", "0"]
    assert rows(apache.ok("kafka-transactions", *hanging)) == []
    apache.ok("kafka-transactions", "abort", *place, "--start-offset", "0")
    (writer,) = rows(apache.ok("kafka-transactions", "describe-producers", *place))
    assert writer["CurrentTransactionStartOffset"] == "None"
    producer.abort_transaction(TIMEOUT_S)
    assert apache.offsets("tool-txn") == {0: 2}


def test_the_coordinator_s_records_are_kafka_s(apache: Tools, cluster: Target) -> None:
    create(cluster, "formatted-txn")
    producer = begun(cluster, "formatted-id", "formatted-txn")
    producer.commit_transaction(TIMEOUT_S)
    out = apache.run(
        "kafka-console-consumer",
        "--topic", "__transaction_state",
        "--from-beginning",
        "--timeout-ms", "3000",
        "--formatter", "org.apache.kafka.tools.consumer.TransactionLogMessageFormatter",
    ).out  # fmt: skip
    # (The formatter ends no line.)
    assert out.count('"transactionalId":"formatted-id"') > 2
    assert out.count('"transactionalId"') == out.count('"transactionStatus"')


def test_the_files_are_kafka_s(apache: Tools, cluster: Target) -> None:
    create(cluster, "files-txn")
    for number in range(3):
        producer = begun(cluster, f"files-{number}", "files-txn")
        (producer.commit_transaction if number == 1 else producer.abort_transaction)(TIMEOUT_S)
    (folder,) = cluster.data_dir.glob("node-*/files-txn-0")
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    # The files are written when the log is flushed.
    resource = ConfigResource(ConfigResource.Type.TOPIC, "files-txn")
    change = ConfigEntry("flush.messages", "1", incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(change)
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)
    begun(cluster, "files-3", "files-txn").abort_transaction(TIMEOUT_S)
    (index,) = folder.glob("*.txnindex")
    shown = apache.server.run("kafka-dump-log", "--files", str(index)).ok().out
    entries = [line for line in shown.splitlines() if "producerId" in line]
    assert len(entries) == index.stat().st_size // 34 == 3
    (log,) = folder.glob("*.log")
    shown = apache.server.run("kafka-dump-log", "--files", str(log), "--deep-iteration").ok().out
    assert shown.count("endTxnMarker: ABORT") == 3
    assert shown.count("endTxnMarker: COMMIT") == 1

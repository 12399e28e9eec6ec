"""Apache's tools on a cluster of three workers whose partitions have copies: describe, reassign,
elect, verify.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.conftest import TARGET_IS_REFERENCE, Target, running_target
from tests.compat.java_cli import Tools
from tests.compat.tools import JavaTool, ToolServer

pytestmark = [
    pytest.mark.usefixtures("java"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(TARGET_IS_REFERENCE, reason="the reference is run as one node"),
]
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_target(tmp_path_factory.mktemp("copies"), "--workers", "3") as running:
        yield running


@pytest.fixture
def cli(tools: ToolServer, target: Target) -> Tools:
    return Tools(tools, target)


def partitions(cli: Tools, topic: str) -> dict[int, tuple[int, list[int], list[int]]]:
    """(leader, replicas, ISR) by partition, as kafka-topics describes them."""
    shown = cli.ok("kafka-topics", "--describe", "--topic", topic)
    rows = re.findall(r"Partition: (\d+)\tLeader: (\S+)\tReplicas: (\S+)\tIsr: (\S+)", shown)
    return {
        int(index): (
            int(leader),
            list(map(int, replicas.split(","))),
            list(map(int, isr.split(","))),
        )
        for index, leader, replicas, isr in rows
    }


def test_topics_with_copies(cli: Tools) -> None:
    cli.ok(
        "kafka-topics", "--create", "--topic", "rt-three", "--partitions", "3",
        "--replication-factor", "3", "--config", "min.insync.replicas=2",
    )  # fmt: skip
    found = partitions(cli, "rt-three")
    assert sorted(leader for leader, _, _ in found.values()) == [1, 2, 3]
    assert all(sorted(isr) == [1, 2, 3] for _, _, isr in found.values())
    for words in ("--under-replicated-partitions", "--under-min-isr-partitions"):
        assert cli.ok("kafka-topics", "--describe", words) == ""
    cli.produce("rt-three", [f"line {n}" for n in range(200)], "--command-property", "acks=all")
    assert sorted(cli.consume("rt-three", 200)) == sorted(f"line {n}" for n in range(200))


def test_reassignment_and_election(cli: Tools, tmp_path: Path) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "rt-moves", "--replica-assignment", "1:2")
    cli.produce("rt-moves", [f"line {n}" for n in range(500)])
    move = {"topic": "rt-moves", "partition": 0, "replicas": [3, 1]}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [move]}))
    file = ("--reassignment-json-file", str(plan))
    assert "Successfully started" in cli.ok("kafka-reassign-partitions", *file, "--execute")
    deadline = time.monotonic() + TIMEOUT_S
    while "is completed" not in (shown := cli.ok("kafka-reassign-partitions", *file, "--verify")):
        assert time.monotonic() < deadline, shown
    ((leader, replicas, isr),) = partitions(cli, "rt-moves").values()
    assert (replicas, sorted(isr)) == ([3, 1], [1, 3])
    assert cli.consume("rt-moves", 500) == [f"line {n}" for n in range(500)]
    election = ("--topic", "rt-moves", "--partition", "0", "--election-type", "preferred")
    cli.run("kafka-leader-election", *election)
    ((leader, _, _),) = partitions(cli, "rt-moves").values()
    assert leader == 3
    assert "rt-moves" not in cli.ok("kafka-reassign-partitions", "--list")


def test_a_throttled_reassignment(cli: Tools, tmp_path: Path) -> None:
    """The tool sets the rates and lists, raises the rate of what is under way, and takes everything
    away when it is done.
    """
    cli.ok("kafka-topics", "--create", "--topic", "rt-slow", "--replica-assignment", "1:2")
    cli.ok(
        "kafka-producer-perf-test", "--topic", "rt-slow", "--num-records", "100",
        "--record-size", "100000", "--throughput", "-1", "--command-property", "acks=all",
    )  # fmt: skip
    move = {"topic": "rt-slow", "partition": 0, "replicas": [3, 2]}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [move]}))
    file = ("--reassignment-json-file", str(plan))

    def configs(kind: str, name: str) -> dict[str, str]:
        shown = cli.ok("kafka-configs", "--describe", "--entity-type", kind, "--entity-name", name)
        return dict(re.findall(r"^\s*(\w+\.replication\.throttled\.\w+)=(\S+)", shown, re.M))

    # (10 MB at 2 kB/s.)
    shown = cli.ok("kafka-reassign-partitions", *file, "--execute", "--throttle", "2000")
    assert "The inter-broker throttle limit was set to 2000 B/s" in shown
    for node in ("1", "2", "3"):
        assert configs("brokers", node) == {
            f"{side}.replication.throttled.rate": "2000" for side in ("leader", "follower")
        }
    assert configs("topics", "rt-slow") == {
        "leader.replication.throttled.replicas": "0:1,0:2",
        "follower.replication.throttled.replicas": "0:3",
    }
    assert "is still in progress" in cli.ok("kafka-reassign-partitions", *file, "--verify")
    # Who is in sync is written to as before.
    cli.produce("rt-slow", [f"line {n}" for n in range(100)], "--command-property", "acks=all")
    assert sorted(partitions(cli, "rt-slow")[0][2]) == [1, 2]
    more = ("--execute", "--additional", "--throttle", "50000000")
    assert "limit was set to 50000000 B/s" in cli.ok("kafka-reassign-partitions", *file, *more)
    deadline = time.monotonic() + TIMEOUT_S
    while "is completed" not in (shown := cli.ok("kafka-reassign-partitions", *file, "--verify")):
        assert time.monotonic() < deadline, shown
    assert "Clearing broker-level throttles on brokers 1,2,3" in shown
    assert "Clearing topic-level throttles on topic rt-slow" in shown
    assert [configs("brokers", node) for node in "123"] == [{}] * 3
    assert configs("topics", "rt-slow") == {}
    ((_, replicas, isr),) = partitions(cli, "rt-slow").values()
    assert (replicas, sorted(isr)) == ([3, 2], [2, 3])


def test_replica_verification(cli: Tools) -> None:
    """It fetches from every replica as a debugging consumer and compares checksums, until it is
    ended.
    """
    cli.ok("kafka-topics", "--create", "--topic", "rt-same", "--replica-assignment", "2:3:1")
    cli.produce("rt-same", [f"line {n}" for n in range(100)])
    tool = JavaTool("kafka-replica-verification").start(
        "--broker-list", cli.target.bootstrap, "--topics-include", "rt-same",
        "--report-interval-ms", "500", "--time", "-2",
    )  # fmt: skip
    assert tool.stdout is not None
    reports = []
    try:
        for line in tool.stdout:
            reports.append(line.decode())
            if "max lag" in reports[-1] and len(reports) > 3:
                break
    finally:
        tool.kill()
        tool.communicate()
    assert "max lag is 0 for partition rt-same-0" in reports[-1], reports

"""Apache's tools for configs, quotas, elections, reassignments and log directories print the same
on Tidelog as on Apache Kafka, apart from addresses and paths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.compat.conftest import Target
from tests.compat.java_cli import Tools
from tests.compat.tools import ToolServer
from tidelog.config.broker_configs import DEFAULT_DIFFERENCES, OWN_PREFIX

pytestmark = [pytest.mark.usefixtures("java"), pytest.mark.timeout(240)]

#: Has a value of its own at the reference because of a feature that Tidelog does not have.
LEFT_OUT = {"min.insync.replicas"}
_CONFIG = re.compile(r"^ +([a-z][a-zA-Z0-9._]*)=")

Both = Callable[..., str]


@pytest.fixture
def both(tools: ToolServer, target: Target, reference: Target) -> Iterator[Both]:
    """Runs a tool on both brokers, compares, and gives Tidelog's output."""
    ours, theirs = Tools(tools, target), Tools(tools, reference)

    def run(tool: str, *args: str, stdin: bytes = b"") -> str:
        mine = ours.run(tool, *args, stdin=stdin)
        other = theirs.run(tool, *args, stdin=stdin)
        assert mine.code == other.code, (mine, other)
        left_out = LEFT_OUT | static_names(mine.out) | static_names(other.out)
        for here, there in ((mine.out, other.out), (mine.err, other.err)):
            assert masked(here, target, left_out) == masked(there, reference, left_out)
        return mine.out

    yield run


def static_names(text: str) -> set[str]:
    """The configs that a broker was started with, which is a matter of how it was started."""
    lines = (line for line in text.splitlines() if "STATIC_BROKER_CONFIG" in line)
    return {found[1] for line in lines if (found := _CONFIG.match(line))}


def masked(text: str, target: Target, left_out: set[str]) -> list[str]:
    """The lines in an order of their own, without what belongs to one broker."""
    text = text.replace(target.bootstrap, "BOOTSTRAP")
    lines = []
    for line in text.splitlines():
        found = _CONFIG.match(line)
        if found and (found[1] in left_out or differs(found[1])):
            continue
        if line.startswith("{"):
            line = masked_json(line)
        # A stack trace of the client is the same; the sentence of the broker is each one's own.
        lines.append(re.sub(r"(Exception: ).*", r"\1...", line))
    return sorted(lines)


def differs(name: str) -> bool:
    """Configs with other defaults, each with its reason, and those that only Tidelog has."""
    return name in DEFAULT_DIFFERENCES or name.startswith(OWN_PREFIX)


def masked_json(line: str) -> str:
    value = json.loads(line)
    for broker in value.get("brokers", ()):
        for directory in broker["logDirs"]:
            directory["logDir"] = "DIRECTORY"
            directory["partitions"].sort(key=lambda each: each["partition"])
    return json.dumps(value, sort_keys=True)


def configs(both: Both, kind: str, name: str | None, *args: str) -> str:
    entity = ("--entity-default",) if name is None else ("--entity-name", name)
    return both("kafka-configs", "--entity-type", kind, *entity, *args)


def test_topics(both: Both) -> None:
    both("kafka-topics", "--create", "--topic", "jc-t", "--partitions", "2")
    change = "retention.ms=1000000,cleanup.policy=[compact,delete]"
    configs(both, "topics", "jc-t", "--alter", "--add-config", change)
    assert "retention.ms=1000000" in configs(both, "topics", "jc-t", "--describe")
    assert "segment.bytes=" in configs(both, "topics", "jc-t", "--describe", "--all")
    configs(both, "topics", "jc-t", "--alter", "--delete-config", "retention.ms")
    configs(both, "topics", "jc-t", "--describe")
    for refused in ("retention.ms=x", "nope=1", "segment.bytes=1"):
        configs(both, "topics", "jc-t", "--alter", "--add-config", refused)
    configs(both, "topics", "jc-t", "--alter", "--delete-config", "nope")
    configs(both, "topics", "jc-none", "--describe")
    configs(both, "topics", "jc-none", "--alter", "--add-config", "retention.ms=1")


def test_brokers(both: Both) -> None:
    configs(both, "brokers", "1", "--describe")
    assert "log.segment.bytes=" in configs(both, "brokers", "1", "--describe", "--all")
    configs(both, "brokers", "1", "--alter", "--add-config", "log.cleaner.threads=2")
    configs(both, "brokers", None, "--alter", "--add-config", "max.connections=1000001")
    assert "log.cleaner.threads=2" in configs(both, "brokers", "1", "--describe")
    assert "max.connections=1000001" in configs(both, "brokers", None, "--describe")
    both("kafka-configs", "--entity-type", "brokers", "--describe")
    for refused in ("num.partitions=2", "max.connections=x"):
        configs(both, "brokers", "1", "--alter", "--add-config", refused)
    configs(both, "brokers", "1", "--alter", "--delete-config", "log.cleaner.threads")
    configs(both, "brokers", None, "--alter", "--delete-config", "max.connections")
    assert "max.connections" not in configs(both, "brokers", "1", "--describe")


def test_groups(both: Both) -> None:
    change = ("--alter", "--add-config", "consumer.session.timeout.ms=50000")
    configs(both, "groups", "jc-g", *change)
    assert "50000" in configs(both, "groups", "jc-g", "--describe")
    configs(both, "groups", "jc-g", "--alter", "--add-config", "consumer.session.timeout.ms=1")
    both("kafka-configs", "--entity-type", "groups", "--describe")
    configs(both, "groups", "jc-g", "--alter", "--delete-config", "consumer.session.timeout.ms")
    configs(both, "groups", "jc-g", "--describe")


def test_users_and_clients(both: Both) -> None:
    rates = "producer_byte_rate=1048576000,consumer_byte_rate=2097152000"
    configs(both, "users", "jc-u", "--alter", "--add-config", rates)
    configs(both, "users", None, "--alter", "--add-config", "request_percentage=1000.5")
    configs(both, "clients", "jc-c", "--alter", "--add-config", "controller_mutation_rate=1000")
    configs(both, "clients", None, "--alter", "--add-config", rates)
    pair = ("--entity-type", "users", "--entity-name", "jc-u", "--entity-type", "clients")
    both("kafka-configs", *pair, "--entity-name", "jc-c", "--alter", "--add-config", rates)
    both("kafka-configs", *pair, "--entity-default", "--alter", "--add-config", rates)

    assert "producer_byte_rate=1.048576E9" in configs(both, "users", "jc-u", "--describe")
    assert "request_percentage=1000.5" in configs(both, "users", None, "--describe")
    assert "controller_mutation_rate" in configs(both, "clients", "jc-c", "--describe")
    both("kafka-configs", "--entity-type", "users", "--describe")
    both("kafka-configs", "--entity-type", "clients", "--describe")
    both("kafka-configs", "--entity-type", "users", "--entity-type", "clients", "--describe")
    both("kafka-configs", *pair, "--entity-name", "jc-c", "--describe")
    both("kafka-configs", *pair, "--describe")

    for refused in ("nope=1", "consumer_byte_rate=1.5", "consumer_byte_rate=0"):
        configs(both, "users", "jc-u", "--alter", "--add-config", refused)
    gone = "producer_byte_rate,consumer_byte_rate"
    for kind, name, keys in (
        ("users", "jc-u", gone),
        ("users", None, "request_percentage"),
        ("clients", "jc-c", "controller_mutation_rate"),
        ("clients", None, gone),
    ):
        configs(both, kind, name, "--alter", "--delete-config", keys)
    both("kafka-configs", *pair, "--entity-name", "jc-c", "--alter", "--delete-config", gone)
    both("kafka-configs", *pair, "--entity-default", "--alter", "--delete-config", gone)
    assert configs(both, "users", "jc-u", "--describe").strip() == ""


def test_ips(both: Both) -> None:
    change = ("--alter", "--add-config", "connection_creation_rate=1000")
    configs(both, "ips", "10.1.2.3", *change)
    configs(both, "ips", None, *change)
    assert "connection_creation_rate=1000" in configs(both, "ips", "10.1.2.3", "--describe")
    both("kafka-configs", "--entity-type", "ips", "--describe")
    configs(both, "ips", "10.1.2.3", "--alter", "--add-config", "producer_byte_rate=1")
    configs(both, "ips", "10.1.2.3", "--alter", "--delete-config", "connection_creation_rate")
    configs(both, "ips", None, "--alter", "--delete-config", "connection_creation_rate")
    configs(both, "ips", "10.1.2.3", "--describe")


def test_client_metrics(both: Both) -> None:
    change = ("--alter", "--add-config", "interval.ms=1000")
    configs(both, "client-metrics", "jc-m", *change)
    assert "interval.ms=1000" in configs(both, "client-metrics", "jc-m", "--describe")
    both("kafka-configs", "--entity-type", "client-metrics", "--describe")
    configs(both, "client-metrics", "jc-m", "--alter", "--delete-config", "interval.ms")


def test_leader_election(both: Both) -> None:
    both("kafka-topics", "--create", "--topic", "jc-e", "--partitions", "2")
    one = ("--topic", "jc-e", "--partition")
    for kind in ("PREFERRED", "UNCLEAN"):
        both("kafka-leader-election", "--election-type", kind, *one, "0")
        both("kafka-leader-election", "--election-type", kind, *one, "7")
        both("kafka-leader-election", "--election-type", kind, "--all-topic-partitions")


def test_reassignments_and_topics_under_change(both: Both) -> None:
    both("kafka-topics", "--create", "--topic", "jc-r", "--partitions", "2")
    both("kafka-reassign-partitions", "--list")
    for narrow in (
        "--under-replicated-partitions",
        "--unavailable-partitions",
        "--under-min-isr-partitions",
        "--at-min-isr-partitions",
    ):
        both("kafka-topics", "--describe", "--topic", "jc-r", narrow)


def test_log_dirs(both: Both) -> None:
    both("kafka-topics", "--create", "--topic", "jc-d", "--partitions", "2")
    assert "jc-d-1" in both("kafka-log-dirs", "--describe", "--topic-list", "jc-d")
    both("kafka-log-dirs", "--describe", "--topic-list", "jc-d", "--broker-list", "1")
    both("kafka-log-dirs", "--describe", "--topic-list", "jc-none")

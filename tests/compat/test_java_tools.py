"""Apache's own command-line tools (Java 4.3.1) do their work against the broker under test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.compat.conftest import TARGET_IS_REFERENCE, Target, running_target
from tests.compat.java_cli import Tools
from tests.compat.tools import ToolServer

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
pytestmark = [pytest.mark.usefixtures("java"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module", params=[1, 3], ids=["one worker", "three workers"])
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """The broker under test, once as one node and once as a cluster of three."""
    if request.param > 1 and TARGET_IS_REFERENCE:
        pytest.skip("the reference is run as one node")
    folder = tmp_path_factory.mktemp("tools")
    with running_target(folder, "--workers", str(request.param)) as running:
        yield running


@pytest.fixture
def cli(tools: ToolServer, target: Target) -> Tools:
    return Tools(tools, target)


def test_topics(cli: Tools) -> None:
    create = ("--create", "--topic", "jt-topics", "--partitions", "3")
    assert "Created topic jt-topics" in cli.ok(
        "kafka-topics", *create, "--config", "retention.ms=86400000"
    )
    again = cli.run("kafka-topics", *create)
    assert again.code == 1
    assert "TopicExistsException" in again.err
    assert cli.ok("kafka-topics", *create, "--if-not-exists") is not None
    assert "jt-topics" in cli.ok("kafka-topics", "--list").split()

    described = cli.ok("kafka-topics", "--describe", "--topic", "jt-topics")
    assert "PartitionCount: 3" in described
    assert "retention.ms=86400000" in described
    assert len(re.findall(r"Leader: [1-3]\t", described)) == 3
    assert len(re.findall(r"Isr: [1-3]\t", described)) == 3

    cli.ok("kafka-topics", "--alter", "--topic", "jt-topics", "--partitions", "5")
    assert "PartitionCount: 5" in cli.ok("kafka-topics", "--describe", "--topic", "jt-topics")
    fewer = cli.run("kafka-topics", "--alter", "--topic", "jt-topics", "--partitions", "2")
    assert fewer.code == 1

    cli.ok("kafka-topics", "--delete", "--topic", "jt-topics")
    assert "jt-topics" not in cli.ok("kafka-topics", "--list").split()
    assert cli.run("kafka-topics", "--describe", "--topic", "jt-topics").code == 1


@pytest.mark.parametrize("codec", CODECS)
def test_console_producer_and_consumer(cli: Tools, codec: str) -> None:
    topic = f"jt-console-{codec}"
    lines = [f"line {n} {'x' * (n % 70)} äöü 日本" for n in range(300)]
    cli.produce(topic, lines, "--compression-codec", codec)
    assert cli.consume(topic, len(lines)) == lines


def test_console_keys_and_headers(cli: Tools) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "jt-keys", "--partitions", "1")
    cli.produce(
        "jt-keys",
        ["a:1,b:2\tkey\tvalue", "c:3\tother\tmore"],
        "--reader-property", "parse.key=true",
        "--reader-property", "parse.headers=true",
    )  # fmt: skip
    shown = cli.consume(
        "jt-keys",
        2,
        "--formatter-property", "print.key=true",
        "--formatter-property", "print.headers=true",
        "--formatter-property", "print.offset=true",
    )  # fmt: skip
    assert shown == ["Offset:0\ta:1,b:2\tkey\tvalue", "Offset:1\tc:3\tother\tmore"]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_goes_on_where_it_stopped(cli: Tools, protocol: str) -> None:
    topic, group = f"jt-group-{protocol}", f"jt-g-{protocol}"
    member = ("--group", group, "--command-property", f"group.protocol={protocol}")
    cli.ok("kafka-topics", "--create", "--topic", topic, "--partitions", "1")
    cli.produce(topic, ["1", "2", "3", "4"])
    assert cli.consume(topic, 2, *member) == ["1", "2"]
    rest = cli.ok(
        "kafka-console-consumer",
        "--topic", topic,
        "--max-messages", "2",
        "--timeout-ms", "30000",
        *member,
    )  # fmt: skip
    assert rest.splitlines() == ["3", "4"]


def test_configs(cli: Tools) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "jt-configs")
    entity = ("--entity-type", "topics", "--entity-name", "jt-configs")
    change = "retention.ms=1000000,cleanup.policy=[compact,delete]"
    cli.ok("kafka-configs", *entity, "--alter", "--add-config", change)
    described = cli.ok("kafka-configs", *entity, "--describe")
    assert "retention.ms=1000000 sensitive=false" in described
    assert "cleanup.policy=compact,delete" in described
    everything = cli.ok("kafka-configs", *entity, "--describe", "--all")
    assert (
        "segment.bytes=1073741824 sensitive=false "
        "synonyms={DEFAULT_CONFIG:log.segment.bytes=1073741824}"
    ) in everything
    cli.ok("kafka-configs", *entity, "--alter", "--delete-config", "retention.ms")
    assert "retention.ms=" not in cli.ok("kafka-configs", *entity, "--describe")
    refused = cli.run("kafka-configs", *entity, "--alter", "--add-config", "retention.ms=x")
    assert refused.code == 1

    brokers = ("--entity-type", "brokers", "--entity-name", "1")
    assert "log.segment.bytes=" in cli.ok("kafka-configs", *brokers, "--describe", "--all")
    cli.ok("kafka-configs", *brokers, "--alter", "--add-config", "log.cleaner.threads=2")
    assert "log.cleaner.threads=2" in cli.ok("kafka-configs", *brokers, "--describe")
    cli.ok("kafka-configs", *brokers, "--alter", "--delete-config", "log.cleaner.threads")
    fixed = cli.run("kafka-configs", *brokers, "--alter", "--add-config", "num.partitions=2")
    assert fixed.code == 1


def test_offsets_and_delete_records(cli: Tools) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "jt-offsets", "--partitions", "1")
    cli.produce("jt-offsets", [str(n) for n in range(10)])
    assert cli.offsets("jt-offsets") == {0: 10}
    assert cli.offsets("jt-offsets", "--time", "earliest") == {0: 0}
    assert cli.offsets("jt-offsets", "--time", "max-timestamp")[0] >= 0
    assert cli.offsets("jt-offsets", "--time", "1000") == {0: 0}
    assert cli.offsets("jt-offsets", "--time", "earliest-local") == {0: 0}

    request = {
        "version": 1,
        "partitions": [{"topic": "jt-offsets", "partition": 0, "offset": 4}],
    }
    deleted = cli.ok(
        "kafka-delete-records", "--offset-json-file", _written(cli, "delete.json", request)
    )
    assert "partition: jt-offsets-0\tlow_watermark: 4" in deleted
    assert cli.offsets("jt-offsets", "--time", "earliest") == {0: 4}
    assert cli.consume("jt-offsets", 6) == [str(n) for n in range(4, 10)]


def _written(cli: Tools, name: str, value: object) -> str:
    path = cli.target.data_dir.parent / name
    path.write_text(json.dumps(value))
    return str(path)


def test_log_dirs(cli: Tools) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "jt-dirs", "--partitions", "2")
    cli.produce("jt-dirs", ["something"])
    out = cli.ok("kafka-log-dirs", "--describe", "--topic-list", "jt-dirs")
    answer = json.loads(out.splitlines()[-1])
    partitions = [p for b in answer["brokers"] for d in b["logDirs"] for p in d["partitions"]]
    assert {p["partition"] for p in partitions} == {"jt-dirs-0", "jt-dirs-1"}
    assert sum(p["size"] for p in partitions) > 0
    assert all(d["error"] is None for b in answer["brokers"] for d in b["logDirs"])


def test_broker_api_versions(cli: Tools) -> None:
    out = cli.ok("kafka-broker-api-versions")
    assert "(id: 1 rack:" in out
    for line in ("Produce(0): 0 to 13 [usable: 13]", "Fetch(1): 4 to 18 [usable: 18]"):
        assert line in out
    assert "ApiVersions(18): 0 to 4 [usable: 4]" in out


@pytest.mark.parametrize("codec", CODECS)
def test_perf_tools(cli: Tools, codec: str) -> None:
    topic = f"jt-perf-{codec}"
    cli.ok("kafka-topics", "--create", "--topic", topic, "--partitions", "2")
    out = cli.ok(
        "kafka-producer-perf-test",
        "--topic", topic,
        "--num-records", "5000",
        "--record-size", "200",
        "--throughput", "-1",
        "--command-property", f"compression.type={codec}",
    )  # fmt: skip
    assert "5000 records sent" in out
    assert sum(cli.offsets(topic).values()) == 5000
    out = cli.ok("kafka-consumer-perf-test", "--topic", topic, "--num-records", "5000")
    columns = out.splitlines()[-1].split(", ")
    assert int(columns[4]) >= 5000


@pytest.mark.parametrize("acks", ["0", "1", "-1"])
def test_verifiable_producer(cli: Tools, acks: str) -> None:
    topic = f"jt-verifiable-{acks}"
    cli.ok("kafka-topics", "--create", "--topic", topic, "--partitions", "1")
    out = cli.ok(
        "kafka-verifiable-producer",
        "--topic", topic,
        "--max-messages", "200",
        "--throughput", "1000000",
        "--acks", acks,
    )  # fmt: skip
    events = [json.loads(line) for line in out.splitlines()]
    data = [e for e in events if e["name"] == "tool_data"]
    assert data, events[-3:]
    assert (data[-1]["sent"], data[-1]["acked"]) == (200, 200)
    assert not [e for e in events if e["name"] == "producer_send_error"]
    assert cli.consume(topic, 200) == [str(n) for n in range(200)]

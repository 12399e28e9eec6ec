"""Apache's tools for groups tell and do the same on the broker under test as on the reference.

One script of kafka-consumer-groups and kafka-groups is run against both, with a live member and
without; what they print has to be equal, apart from member ids, times and addresses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import confluent_kafka
import pytest

from tests.compat.conftest import Target
from tests.compat.java_cli import Tools
from tests.compat.tools import ToolResult, ToolServer
from tidelog.coordinator.partitioning import coordinator_partition

GROUPS = "kafka-consumer-groups"
TIMEOUT_S = 30.0
#: What is a matter of chance in a record's value.
CHANCE = (
    (r'(Timestamp": )\d+', r"\1NOW"),
    (r'("topicId": )"[^"]+"', r"\1ID"),
    (r'(": )"\S+-[0-9a-f-]{36}"', r"\1MEMBER"),
)
pytestmark = [pytest.mark.usefixtures("java"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def theirs(tools: ToolServer, reference: Target) -> list[str]:
    """What the script shows on the reference."""
    return script(Tools(tools, reference))


def test_the_tools_show_the_same_as_on_the_reference(
    tools: ToolServer, cluster: Target, theirs: list[str]
) -> None:
    ours = script(Tools(tools, cluster))
    assert "\n".join(ours) == "\n".join(theirs)


def test_what_the_reference_shows_is_what_the_script_is_for(theirs: list[str]) -> None:
    text = "\n".join(theirs)
    for line in (
        "g Stable",
        "g Classic",
        "g jg 0 4 4 0 MEMBER HOST me",
        "g jg 1 6 6 0 MEMBER HOST me",
        "g MEMBER HOST me 2",
        "* Group 'g' could not be deleted due to: "
        "org.apache.kafka.common.errors.GroupNotEmptyException: The group is not empty.",
        "g jg 1 4",
        '{"type": 1, "data": {"group": "g", "topic": "jg", "partition": 1}}: null',
        '{"type": 2, "data": {"group": "g"}}: null',
        "These consumer groups were deleted successfully: 'new', 'g'",
    ):
        assert line in text, (line, text)
    assert "GroupSubscribedToTopicException" in text


def script(cli: Tools) -> list[str]:
    """Everything that the tools print, masked."""
    shown = [*with_a_member(cli), *without_members(cli), *records(cli)]
    return [line for lines in shown for line in lines]


def run(cli: Tools, *arguments: str, tool: str = GROUPS) -> list[str]:
    result = cli.run(tool, *arguments)
    return [f"$ {' '.join(arguments)} -> {result.code}", *masked(result)]


def masked(result: ToolResult) -> list[str]:
    text = re.sub(r"\S+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "MEMBER", result.out)
    text = re.sub(r"/?127\.0\.0\.1(:\d+ +\(\d+\))?", "HOST", text)
    # Columns are as wide as ids and addresses.
    return [" ".join(line.split()) for line in text.splitlines()]


@contextmanager
def consuming(cli: Tools, topic: str, count: int) -> Iterator[None]:
    """A live member of group g that has read and committed everything."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": cli.target.bootstrap,
            "group.id": "g",
            "client.id": "me",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(count, TIMEOUT_S)
        assert [m.error() for m in messages] == [None] * count
        consumer.commit(asynchronous=False)
        yield
    finally:
        consumer.close()


def with_a_member(cli: Tools) -> Iterator[list[str]]:
    cli.ok("kafka-topics", "--create", "--topic", "jg", "--partitions", "2")
    producer = confluent_kafka.Producer({"bootstrap.servers": cli.target.bootstrap})
    for partition, count in enumerate((4, 6)):
        for n in range(count):
            producer.produce("jg", b"%d" % n, partition=partition)
    assert producer.flush(TIMEOUT_S) == 0
    with consuming(cli, "jg", 10):
        for words in (
            (),
            ("--state",),
            ("--type",),
            ("--state", "Stable,Empty"),
            ("--state", "Empty"),
            ("--type", "classic"),
            ("--type", "consumer"),
        ):
            yield run(cli, "--list", *words)
        yield run(cli, "--list", tool="kafka-groups")
        for words in (
            (),
            ("--verbose",),
            ("--members",),
            ("--members", "--verbose"),
            ("--state",),
        ):
            yield run(cli, "--describe", "--group", "g", *words)
        yield run(cli, "--describe", "--all-groups")
        yield run(cli, "--describe", "--group", "nothing")
        yield run(cli, "--delete", "--group", "g")
        yield run(cli, "--delete-offsets", "--group", "g", "--topic", "jg")
        yield run(
            cli, "--reset-offsets", "--group", "g", "--topic", "jg", "--to-earliest", "--execute"
        )


def without_members(cli: Tools) -> Iterator[list[str]]:
    yield run(cli, "--list", "--state")
    for words in ((), ("--members",), ("--state",)):
        yield run(cli, "--describe", "--group", "g", *words)
    for words in (
        ("--to-earliest",),
        ("--to-latest",),
        ("--shift-by", "-2"),
        ("--to-offset", "3"),
        ("--to-current",),
        ("--by-duration", "PT1H"),
        ("--to-datetime", "2020-01-01T00:00:00.000"),
        ("--to-offset", "100"),
    ):
        yield reset(cli, "--topic", "jg", *words, "--execute")
    yield reset(cli, "--topic", "jg:0", "--to-offset", "2", "--dry-run")
    yield reset(cli, "--all-topics", "--to-offset", "3", "--execute")
    plan = cli.target.data_dir.parent / "plan.csv"
    plan.write_text(
        cli.ok(
            GROUPS, "--reset-offsets", "--group", "g", "--topic", "jg",
            "--to-offset", "1", "--dry-run", "--export",
        )
    )  # fmt: skip
    result = cli.run(
        GROUPS, "--reset-offsets", "--group", "g", "--from-file", str(plan), "--execute"
    )
    yield [f"from a file -> {result.code}", plan.read_text(), *masked(result)]
    yield run(cli, "--reset-offsets", "--group", "new", "--topic", "jg", "--to-latest", "--execute")
    yield run(cli, "--delete-offsets", "--group", "g", "--topic", "jg:0")
    yield run(cli, "--delete-offsets", "--group", "g", "--topic", "no-such")
    yield run(cli, "--delete-offsets", "--group", "nothing", "--topic", "jg")
    yield run(cli, "--describe", "--group", "g")
    yield run(cli, "--delete", "--group", "g", "--group", "new", "--group", "nothing")
    yield run(cli, "--list")


def reset(cli: Tools, *words: str) -> list[str]:
    return run(cli, "--reset-offsets", "--group", "g", *words)


def records(cli: Tools) -> Iterator[list[str]]:
    """What was written for group g to the offsets topic, up to the tombstones: by key, the values
    in their order.
    """
    partition = coordinator_partition("g", 50)
    end = cli.offsets("__consumer_offsets")[partition]
    for formatter in ("OffsetsMessageFormatter", "GroupMetadataMessageFormatter"):
        text = cli.ok(
            "kafka-console-consumer",
            "--topic", "__consumer_offsets",
            "--partition", str(partition),
            "--offset", "earliest",
            "--max-messages", str(end),
            "--timeout-ms", "30000",
            "--formatter", f"org.apache.kafka.tools.consumer.{formatter}",
        )  # fmt: skip
        values: dict[str, list[str]] = {}
        for record in objects(text):
            if record["value"] and record["value"]["data"].get("generation") == 0:
                continue  # The reference writes a group down before its first generation, too.
            value = json.dumps(record["value"])
            for pattern, mask in CHANCE:
                value = re.sub(pattern, mask, value)
            values.setdefault(json.dumps(record["key"]), []).append(value)
        yield [formatter, *(f"{key}: {each}" for key in sorted(values) for each in values[key])]


def objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects that stand one after another without anything between them."""
    decoder = json.JSONDecoder()
    position = 0
    text = text.strip()
    while position < len(text):
        found, position = decoder.raw_decode(text, position)
        yield found

"""Apache's tools for groups tell and do the same on the broker under test as on the reference.

One script of kafka-consumer-groups and kafka-groups is run against both, with a live member of
either protocol and without; what they print has to be equal, apart from member ids, times and
addresses.
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
from tests.compat.tools import ToolServer
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


PROTOCOLS = ("classic", "consumer")


class Shown(Tools):
    """Runs tools, and keeps what they print without what is a matter of chance."""

    def __init__(self, server: ToolServer, target: Target, protocol: str) -> None:
        super().__init__(server, target)
        self.protocol = protocol
        #: Of the live member.
        self.member_id = "none"

    def show(self, *arguments: str, tool: str = GROUPS) -> list[str]:
        result = self.run(tool, *arguments)
        return [f"$ {' '.join(arguments)} -> {result.code}", *self.masked(result.out)]

    def masked(self, text: str) -> list[str]:
        text = text.replace(self.member_id, "MEMBER")
        text = re.sub(r"/?127\.0\.0\.1(:\d+ +\(\d+\))?", "HOST", text)
        # Columns are as wide as ids and addresses.
        return [" ".join(line.split()) for line in text.splitlines()]


@pytest.fixture(scope="module")
def theirs(tools: ToolServer, reference: Target) -> dict[str, list[str]]:
    """What the script shows on the reference, by protocol."""
    return {protocol: script(Shown(tools, reference, protocol)) for protocol in PROTOCOLS}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_tools_show_the_same_as_on_the_reference(
    tools: ToolServer, cluster: Target, theirs: dict[str, list[str]], protocol: str
) -> None:
    ours = script(Shown(tools, cluster, protocol))
    assert "\n".join(ours) == "\n".join(theirs[protocol])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_the_reference_shows_is_what_the_script_is_for(
    theirs: dict[str, list[str]], protocol: str
) -> None:
    text = "\n".join(theirs[protocol])
    for line in (
        "g Stable",
        f"g {protocol.capitalize()}",
        "g jg 0 4 4 0 MEMBER HOST me",
        "g jg 1 6 6 0 MEMBER HOST me",
        "g MEMBER HOST me 2",
        "* Group 'g' could not be deleted due to: "
        "org.apache.kafka.common.errors.GroupNotEmptyException: The group is not empty.",
        "g jg 1 4",
        "These consumer groups were deleted successfully: 'new', 'g'",
    ):
        assert line in text, (line, text)
    assert "GroupSubscribedToTopicException" in text
    if protocol == "classic":
        assert '{"type": 1, "data": {"group": "g", "topic": "jg", "partition": 1}}: null' in text
        assert '{"type": 2, "data": {"group": "g"}}: null' in text


def script(cli: Shown) -> list[str]:
    """Everything that the tools print, masked."""
    shown = [*with_a_member(cli), *without_members(cli), *records(cli)]
    cli.ok("kafka-topics", "--delete", "--topic", "jg")
    return [line for lines in shown for line in lines]


@contextmanager
def consuming(cli: Shown, topic: str, count: int) -> Iterator[None]:
    """A live member of group g that has read and committed everything."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": cli.target.bootstrap,
            "group.id": "g",
            "client.id": "me",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "group.protocol": cli.protocol,
        }
    )
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(count, TIMEOUT_S)
        assert [m.error() for m in messages] == [None] * count
        consumer.commit(asynchronous=False)
        cli.member_id = consumer.memberid()
        yield
    finally:
        consumer.close()


def with_a_member(cli: Shown) -> Iterator[list[str]]:
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
            yield cli.show("--list", *words)
        yield cli.show("--list", tool="kafka-groups")
        for words in (
            (),
            ("--verbose",),
            ("--members",),
            ("--members", "--verbose"),
            ("--state",),
        ):
            yield cli.show("--describe", "--group", "g", *words)
        yield cli.show("--describe", "--all-groups")
        yield cli.show("--describe", "--group", "nothing")
        yield cli.show("--delete", "--group", "g")
        yield cli.show("--delete-offsets", "--group", "g", "--topic", "jg")
        yield cli.show(
            "--reset-offsets", "--group", "g", "--topic", "jg", "--to-earliest", "--execute"
        )


def without_members(cli: Shown) -> Iterator[list[str]]:
    yield cli.show("--list", "--state")
    for words in ((), ("--members",), ("--state",)):
        yield cli.show("--describe", "--group", "g", *words)
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
    yield [f"from a file -> {result.code}", plan.read_text(), *cli.masked(result.out)]
    yield cli.show("--reset-offsets", "--group", "new", "--topic", "jg", "--to-latest", "--execute")
    yield cli.show("--delete-offsets", "--group", "g", "--topic", "jg:0")
    yield cli.show("--delete-offsets", "--group", "g", "--topic", "no-such")
    yield cli.show("--delete-offsets", "--group", "nothing", "--topic", "jg")
    yield cli.show("--describe", "--group", "g")
    yield cli.show("--delete", "--group", "g", "--group", "new", "--group", "nothing")
    yield cli.show("--list")


def reset(cli: Shown, *words: str) -> list[str]:
    return cli.show("--reset-offsets", "--group", "g", *words)


def records(cli: Shown) -> Iterator[list[str]]:
    """What was written for group g to the offsets topic, up to the tombstones: by key, the values
    in their order. The formatters know offsets and classic groups.
    """
    if cli.protocol != "classic":
        return
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

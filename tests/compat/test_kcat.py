"""kcat (librdkafka) at work: what it lists, every codec, keys, headers, groups, offsets by time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.compat import on_disk
from tests.compat.conftest import Target
from tests.compat.programs import ProgramMissing, client, kcat

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
COUNT = 200
PARTITIONS = 3
RUN_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 30.0
pytestmark = pytest.mark.timeout(120, func_only=True)


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    try:
        client("kcat")
    except ProgramMissing as missing:
        pytest.skip(str(missing))


def run(target: Target, *arguments: str, stdin: str = "") -> str:
    """Standard output of kcat, which has to end with 0."""
    done = subprocess.run(
        [*kcat(), "-b", target.bootstrap, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def create(target: Target, topic: str, partitions: int) -> None:
    """kcat itself has no command for this."""
    admin = AdminClient({"bootstrap.servers": target.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(ANSWER_TIMEOUT_S)


def messages(output: str) -> list[dict[str, Any]]:
    """What `kcat -J` printed; each with topic, partition, offset, ts, headers, key, payload."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def consume(target: Target, topic: str, *arguments: str) -> list[dict[str, Any]]:
    """All messages of a topic to its end, or what the arguments ask for."""
    return messages(run(target, "-C", "-t", topic, "-e", "-q", "-J", *arguments))


def places(found: Sequence[dict[str, Any]]) -> set[tuple[int, int]]:
    taken = {(message["partition"], message["offset"]) for message in found}
    assert len(taken) == len(found)
    return taken


def test_listing(cluster: Target) -> None:
    create(cluster, "kc-list", 6)
    listed = json.loads(run(cluster, "-L", "-J"))
    addresses = cluster.bootstrap.split(",")
    assert sorted(broker["name"] for broker in listed["brokers"]) == sorted(addresses)
    nodes = {broker["id"] for broker in listed["brokers"]}
    assert nodes == set(range(1, len(addresses) + 1))
    assert listed["controllerid"] in nodes
    assert "kc-list" in {topic["topic"] for topic in listed["topics"]}
    [topic] = json.loads(run(cluster, "-L", "-J", "-t", "kc-list"))["topics"]
    assert sorted(part["partition"] for part in topic["partitions"]) == list(range(6))
    assert {part["leader"] for part in topic["partitions"]} == nodes
    for part in topic["partitions"]:
        assert part["replicas"] == part["isrs"] == [{"id": part["leader"]}]
    text = run(cluster, "-L", "-t", "kc-list")
    assert f" {len(addresses)} brokers:" in text
    assert 'topic "kc-list" with 6 partitions:' in text


def test_default_settings_on_a_topic_that_is_not_there_yet(cluster: Target) -> None:
    lines = [f"line {number} äöü 日本" for number in range(COUNT)]
    run(cluster, "-P", "-t", "kc-auto", stdin="".join(f"{line}\n" for line in lines))
    assert run(cluster, "-C", "-t", "kc-auto", "-e", "-q").splitlines() == lines
    assert on_disk.codecs(cluster.data_dir, "kc-auto") == {"none"}


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_with_keys_and_headers(cluster: Target, codec: str) -> None:
    topic = f"kc-codec-{codec}"
    create(cluster, topic, PARTITIONS)
    wanted = {
        f"k{number}": f"v{number} " + "tide" * (100 + number * 97 % 1000) for number in range(COUNT)
    }
    text = "".join(f"{key}={value}\n" for key, value in wanted.items())
    headers = ("-H", "origin=harbour", "-H", "empty=")
    run(cluster, "-P", "-t", topic, "-K", "=", "-z", codec, *headers, stdin=text)

    found = consume(cluster, topic)
    assert len(found) == COUNT
    assert {message["key"]: message["payload"] for message in found} == wanted
    assert all(message["headers"] == ["origin", "harbour", "empty", ""] for message in found)
    per_partition = [
        sorted(m["offset"] for m in found if m["partition"] == partition)
        for partition in range(PARTITIONS)
    ]
    assert all(offsets == list(range(len(offsets))) and offsets for offsets in per_partition)
    assert on_disk.codecs(cluster.data_dir, topic) == {codec}


@pytest.mark.parametrize("settings", ["acks=0", "acks=1", "acks=all", "enable.idempotence=true"])
def test_acknowledgements(cluster: Target, settings: str) -> None:
    topic = f"kc-{settings.replace('=', '-')}"
    create(cluster, topic, 1)
    run(cluster, "-P", "-t", topic, "-X", settings, stdin="".join(f"{n}\n" for n in range(COUNT)))
    # With acks=0 kcat may end before the broker has them, so it is asked for a number of them.
    found = messages(run(cluster, "-C", "-t", topic, "-q", "-J", "-c", str(COUNT)))
    assert [(m["offset"], m["payload"]) for m in found] == [(n, str(n)) for n in range(COUNT)]


def test_null_keys_values_and_a_given_partition(cluster: Target) -> None:
    create(cluster, "kc-null", PARTITIONS)
    given = ("-P", "-t", "kc-null", "-p", "1", "-K", "=", "-Z")
    run(cluster, *given, stdin="a=1\nb=\n=2\n")
    found = consume(cluster, "kc-null")
    assert [(m["partition"], m["key"], m["payload"]) for m in found] == [
        (1, "a", "1"),
        (1, "b", None),
        (1, None, "2"),
    ]


def test_a_group_goes_on_where_it_stopped(cluster: Target) -> None:
    topic = "kc-group"
    create(cluster, topic, PARTITIONS)
    text = "".join(f"k{number}=v{number}\n" for number in range(COUNT))
    run(cluster, "-P", "-t", topic, "-K", "=", stdin=text)
    group = ("-G", "kc-g", "-X", "auto.offset.reset=earliest", "-q", "-J")
    first = messages(run(cluster, *group, "-c", str(COUNT // 2), topic))
    assert len(first) == COUNT // 2
    rest = messages(run(cluster, *group, "-e", topic))
    assert len(places(first + rest)) == COUNT
    assert messages(run(cluster, *group, "-e", topic)) == []


def test_offsets_by_time(cluster: Target) -> None:
    topic = "kc-times"
    create(cluster, topic, 2)
    for number in range(6):  # each from a program of its own, so that the times differ
        run(cluster, "-P", "-t", topic, "-p", "0", stdin=f"{number}\n")
    found = consume(cluster, topic)
    times = [message["ts"] for message in found]
    assert times == sorted(times)
    for time_ms in {times[0] - 1000, *times}:
        wanted = next(n for n, message in enumerate(found) if message["ts"] >= time_ms)
        assert offset_at(cluster, topic, 0, time_ms) == wanted
    assert offset_at(cluster, topic, 0, times[-1] + 1) == -1
    assert offset_at(cluster, topic, 0, -1) == 6
    assert offset_at(cluster, topic, 0, -2) == 0
    assert offset_at(cluster, topic, 1, -1) == 0
    from_middle = consume(cluster, topic, "-p", "0", "-o", f"s@{times[3]}")
    assert [m["offset"] for m in from_middle] == list(range(times.index(times[3]), 6))


def offset_at(target: Target, topic: str, partition: int, time_ms: int) -> int:
    """What `kcat -Q` answers; its line is `topic [partition] offset N`."""
    words = run(target, "-Q", "-t", f"{topic}:{partition}:{time_ms}").split()
    assert words[:3] == [topic, f"[{partition}]", "offset"]
    return int(words[3])


def test_places_to_begin_at(cluster: Target) -> None:
    create(cluster, "kc-from", 1)
    run(cluster, "-P", "-t", "kc-from", stdin="".join(f"{number}\n" for number in range(10)))

    def seen(*arguments: str) -> list[str]:
        return [message["payload"] for message in consume(cluster, "kc-from", *arguments)]

    assert seen("-o", "beginning", "-c", "2") == ["0", "1"]
    assert seen("-o", "7") == ["7", "8", "9"]
    assert seen("-o", "-4") == ["6", "7", "8", "9"]
    assert seen("-o", "end") == []

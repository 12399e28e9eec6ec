"""`tidelog produce`, `consume`, `offsets`, `configs` and `metadata` against a running broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.broker import ServedBroker

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    data = tmp_path_factory.mktemp("command-line") / "data"
    with ServedBroker(data, ["--workers", "2"]) as served:
        yield served


def start(broker: ServedBroker, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tidelog", *arguments],
        env=os.environ | {"TIDELOG_BOOTSTRAP": broker.bootstrap_servers},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(
    broker: ServedBroker, *arguments: str, given: bytes = b"", status: int = 0
) -> tuple[bytes, str]:
    """Standard output and error of a command that ends with that status."""
    process = start(broker, *arguments)
    out, err = process.communicate(given, TIMEOUT_S)
    assert process.returncode == status, err
    if status:
        assert err.count(b"\n") == 1, err
        assert err.startswith(b"tidelog: ")
    return out, err.decode()


def read(broker: ServedBroker, topic: str, *options: str) -> bytes:
    return run(broker, "consume", topic, "--from-beginning", "--exit-at-end", *options)[0]


def test_lines_come_back(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "lines")
    given = b"one\ntwo\r\n\n\xff\x00\nlast without end"
    run(broker, "produce", "lines", given=given)
    assert read(broker, "lines") == b"one\ntwo\n\n\xff\x00\nlast without end\n"
    assert read(broker, "lines", "--max-messages", "2") == b"one\ntwo\n"


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_codecs_and_files(broker: ServedBroker, tmp_path: Path, codec: str) -> None:
    run(broker, "topics", "create", codec)
    given = b"".join(b"%d " % i + b"x" * 50 + b"\n" for i in range(5000))
    (tmp_path / "in").write_bytes(given)
    run(broker, "produce", codec, "--file", str(tmp_path / "in"), "--compression", codec)
    assert read(broker, codec) == given


def test_keys_headers_and_tombstones(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "keyed", "--partitions", "3")
    options = ("--key-separator", "\\t", "--null-value", "-", "--header", "h=1", "--partition", "2")
    run(broker, "produce", "keyed", *options, given=b"a\t1\tx\nb\t-\n")
    found = [json.loads(line) for line in read(broker, "keyed", "--format", "json").splitlines()]
    assert [(one["partition"], one["key"], one["value"]) for one in found] == [
        (2, "a", "1\tx"),
        (2, "b", None),
    ]
    assert found[0]["headers"] == [{"name": "h", "value": "1"}]
    shown = run(
        broker, "consume", "keyed", "--offset", "-1", "--exit-at-end", "--format", "%o %k\\n"
    )
    assert shown[0] == b"1 b\n"
    shown = run(broker, "consume", "keyed", "--partition", "0", "--offset", "0", "--exit-at-end")
    assert shown[0] == b""


def test_a_group_commits_what_was_printed(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "grouped")
    run(broker, "produce", "grouped", given=b"".join(b"%d\n" % i for i in range(10)))
    first = read(broker, "grouped", "--group", "g", "--max-messages", "4")
    assert first == b"0\n1\n2\n3\n"
    rows = json.loads(run(broker, "offsets", "--group", "g", "--json")[0])
    assert [(one["committed"], one["latest"], one["lag"]) for one in rows] == [(4, 10, 6)]
    assert read(broker, "grouped", "--group", "g") == b"4\n5\n6\n7\n8\n9\n"
    out = run(broker, "offsets", "grouped", "--group", "g", "--reset-to", "8")[0]
    assert out.split()[-3:] == [b"8", b"10", b"2"]
    assert read(broker, "grouped", "--group", "g") == b"8\n9\n"


def test_offsets_of_topics(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "measured", "--partitions", "2")
    run(broker, "produce", "measured", "--partition", "1", given=b"a\nb\n")
    rows = json.loads(run(broker, "offsets", "measured", "--time", "0", "--json")[0])
    assert [(r["earliest"], r["latest"], r["records"], r["at_time"]) for r in rows] == [
        (0, 0, 0, None),
        (0, 2, 2, 0),
    ]
    late = json.loads(run(broker, "offsets", "measured", "--time", "2099-01-01", "--json")[0])
    assert [r["at_time"] for r in late] == [None, None]


def test_configs(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "configured")
    change = ("configs", "alter", "--topic", "configured")
    run(broker, *change, "--set", "retention.ms=5000", "--append", "cleanup.policy=compact")
    run(broker, *change, "--set", "retention.ms=-7", status=1)
    run(broker, *change, "--set", "retention.ms=6000", "--validate-only")
    described = ("configs", "describe", "--topic", "configured", "--json")
    rows = json.loads(run(broker, *described)[0])
    found = {one["name"]: (one["value"], one["source"]) for one in rows}
    assert found == {
        "cleanup.policy": ("delete,compact", "topic"),
        "retention.ms": ("5000", "topic"),
    }
    run(broker, *change, "--delete", "retention.ms")
    assert len(json.loads(run(broker, *described)[0])) == 1
    assert len(json.loads(run(broker, *described, "--all")[0])) > 25
    rows = json.loads(run(broker, "configs", "describe", "--broker", "2", "--json")[0])
    assert {"name": "node.id", "value": "2"}.items() <= rows[-1].items()


def test_metadata(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "seen", "--partitions", "2")
    found = json.loads(run(broker, "metadata", "--json")[0])
    assert [node["id"] for node in found["nodes"]] == [1, 2]
    assert [node["address"] for node in found["nodes"]] == broker.bootstrap_servers.split(",")
    assert found["controller_id"] in (1, 2)
    (seen,) = [topic for topic in found["topics"] if topic["name"] == "seen"]
    assert {one["leader"] for one in seen["partitions"]} == {1, 2}
    assert not any(topic["name"].startswith("__") for topic in found["topics"])
    out = run(broker, "metadata", "--no-topics")[0].decode()
    assert f"cluster {found['cluster_id']}" in out
    assert "seen" not in out


@pytest.mark.parametrize(
    ("arguments", "status", "hint"),
    [
        ("consume none", 1, "none is not known"),
        ("produce fresh --partition 5", 1, "topic fresh has no partition 5"),
        ("consume none --format %z", 2, "%z"),
        ("consume none --group g --offset 3", 2, "--group"),
        ("produce none --compression brotli", 2, "brotli"),
        ("produce none --acks 2", 2, "--acks"),
        ("produce none --header x", 2, "KEY=VALUE"),
        ("offsets none", 1, "none is not known"),
        ("offsets", 2, "--group"),
        ("offsets --group nobody", 1, "nobody has no committed"),
        ("offsets none --time yesterday", 1, "not known"),
        ("configs describe", 2, "--topic, --broker"),
        ("configs describe --topic none", 1, "none"),
        ("configs alter --topic none", 2, "nothing to change"),
        ("configs describe --broker x", 2, "node id"),
    ],
)
def test_refusals_are_one_line(
    broker: ServedBroker, arguments: str, status: int, hint: str
) -> None:
    out, err = run(broker, *arguments.split(), status=status)
    assert out == b""
    assert hint in err


def test_a_line_without_its_separator(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "separated")
    produce = ("produce", "separated", "--key-separator", ":")
    _, err = run(broker, *produce, given=b"a:1\nbad\nc:3\n", status=1)
    assert "line 2" in err
    assert read(broker, "separated") == b"1\n", "what came before it was written"


def test_what_is_too_large_is_told(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "small", "--config", "max.message.bytes=1000")
    run(broker, "produce", "small", given=b"fits\n")
    _, err = run(broker, "produce", "small", given=b"x" * 5000 + b"\n", status=1)
    assert "0 records were written, these were not: 1 records: " in err
    assert read(broker, "small") == b"fits\n"


def test_a_reader_that_leaves_ends_it_quietly(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "left")
    run(broker, "produce", "left", given=b"a\nb\n")
    process = start(broker, "consume", "left", "--from-beginning")
    assert process.stdout is not None
    assert process.stdout.readline() == b"a\n"
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_pipe_that_ends_early(broker: ServedBroker, tmp_path: Path) -> None:
    (tmp_path / "many").write_bytes(b"x" * 100 + b"\n" * 50_000)
    run(broker, "topics", "create", "piped")
    run(broker, "produce", "piped", "--file", str(tmp_path / "many"))
    (log,) = Path(broker.data_dir).glob("node-*/piped-0/*.log")
    process = start(broker, "dump-log", "--records", str(log))
    assert process.stdout is not None
    assert process.stdout.readline().startswith(str(log).encode())
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_member_that_is_terminated_leaves_its_group(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "terminated")
    run(broker, "produce", "terminated", given=b"a\n")
    process = start(broker, "consume", "terminated", "--from-beginning", "--group", "leavers")
    assert process.stdout is not None
    assert process.stdout.readline() == b"a\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=TIMEOUT_S) == (b"", b"")
    assert process.returncode == 143
    (group,) = json.loads(run(broker, "groups", "describe", "leavers", "--json")[0])
    assert group["members"] == []


def test_a_broker_that_is_gone_is_no_end(tmp_path: Path) -> None:
    with ServedBroker(tmp_path / "data", ["--workers", "1"]) as broker:
        run(broker, "topics", "create", "gone")
        run(broker, "produce", "gone", given=b"a\n")
        process = start(broker, "consume", "gone", "--from-beginning", "--timeout", "5")
        assert process.stdout is not None
        assert process.stdout.readline() == b"a\n"
        broker.kill()
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert err == b"tidelog: topic gone cannot be read: the cluster cannot be reached\n"


def test_control_c(broker: ServedBroker) -> None:
    run(broker, "topics", "create", "stopped")
    run(broker, "produce", "stopped", given=b"a\n")
    process = start(broker, "consume", "stopped", "--from-beginning")
    assert process.stdout is not None
    assert process.stdout.readline() == b"a\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=TIMEOUT_S) == (b"", b"")
    assert process.returncode == 130
    process = start(broker, "produce", "stopped")
    assert process.stdin is not None
    process.stdin.write(b"b\n")
    process.stdin.flush()
    consumer = start(broker, "consume", "stopped", "--offset", "1", "--max-messages", "1")
    # The producer sends when it has waited a moment, without the end of its input.
    assert consumer.communicate(timeout=TIMEOUT_S)[0] == b"b\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert err == b"1 records were written\n"

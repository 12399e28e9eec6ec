"""`tidelog topics` from the command line's words to what it prints, with a cluster in memory."""

from __future__ import annotations

import json

import pytest
from confluent_kafka.admin import AdminClient

from tests.unit.cli.clusters import FakeCluster
from tidelog.cli.app import run
from tidelog.cli.cluster import silent_logger


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()
    monkeypatch.setattr("tidelog.cli.topics.connect", lambda bootstrap: fake)
    return fake


Output = pytest.CaptureFixture[str]


def test_create(cluster: FakeCluster, capsys: Output) -> None:
    options = "--partitions 3 --replication-factor 1 --config retention.ms=5 --config a=b=c"
    assert run(f"topics create t u {options}".split()) == 0
    assert capsys.readouterr().out == "created t\ncreated u\n"
    assert cluster.calls == [("create", "t", 3, 1), ("create", "u", 3, 1)]
    assert cluster.topics["t"]["configs"] == {"retention.ms": "5", "a": "b=c"}


def test_create_leaves_the_counts_to_the_broker(cluster: FakeCluster) -> None:
    assert run(["topics", "create", "t"]) == 0
    assert cluster.calls == [("create", "t", -1, -1)]


def test_a_failure_is_one_line_and_the_rest_is_done(cluster: FakeCluster, capsys: Output) -> None:
    run(["topics", "create", "t"])
    capsys.readouterr()
    assert run(["topics", "create", "t", "u"]) == 1
    out, err = capsys.readouterr()
    assert out == "created u\n"
    assert err == "tidelog: topic t was not created: it exists already (TOPIC_ALREADY_EXISTS)\n"
    assert run(["topics", "create", "t", "v", "--if-not-exists", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"created": ["v"], "errors": []}


def test_list(cluster: FakeCluster, capsys: Output) -> None:
    run(["topics", "create", "b", "a", "__consumer_offsets"])
    capsys.readouterr()
    assert run(["topics", "list"]) == 0
    assert capsys.readouterr().out == "a\nb\n"
    assert run(["topics", "list", "--internal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["__consumer_offsets", "a", "b"]


def test_describe(cluster: FakeCluster, capsys: Output) -> None:
    run(["topics", "create", "t", "--partitions", "2", "--config", "retention.ms=5"])
    capsys.readouterr()
    assert run(["topics", "describe", "t"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "t  id _Z-A  retention.ms=5"
    assert lines[1].split() == ["partition", "leader", "replicas", "in", "sync"]
    assert [line.split() for line in lines[2:]] == [["0", "1", "1", "1"], ["1", "none", "1", "1"]]
    assert run(["topics", "describe", "--json"]) == 0
    (topic,) = json.loads(capsys.readouterr().out)
    assert topic["configs"] == {"retention.ms": "5"}
    assert topic["partitions"][1] == {"partition": 1, "leader": None, "replicas": [1], "isr": [1]}


def test_delete(cluster: FakeCluster, capsys: Output) -> None:
    run(["topics", "create", "t"])
    capsys.readouterr()
    assert run(["topics", "delete", "t", "none"]) == 1
    out, err = capsys.readouterr()
    assert out == "deleted t\n"
    assert err.startswith("tidelog: topic none was not deleted: no such topic")
    assert cluster.topics == {}


@pytest.mark.parametrize("name", ["__consumer_offsets", "__transaction_state"])
def test_the_brokers_own_topics_are_not_deleted_by_mistake(
    cluster: FakeCluster, capsys: Output, name: str
) -> None:
    run(["topics", "create", "t", name])
    capsys.readouterr()
    assert run(["topics", "delete", "t", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{name} holds the broker's " in err and "--internal" in err
    assert set(cluster.topics) == {"t", name}
    assert run(["topics", "delete", "t", name, "--internal"]) == 0
    assert cluster.topics == {}


def test_what_the_client_library_does_not_take(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    client = AdminClient({"bootstrap.servers": "127.0.0.1:1"}, logger=silent_logger())
    monkeypatch.setattr("tidelog.cli.topics.connect", lambda bootstrap: client)
    for command in ("create", "alter"):
        for count in ("1000000", str(10**12)):
            assert run(["topics", command, "t", "--partitions", count]) == 2
            err = capsys.readouterr().err
            assert err.startswith("tidelog: ") and err.count("\n") == 1


def test_alter(cluster: FakeCluster, capsys: Output) -> None:
    run(["topics", "create", "t", "--config", "retention.ms=5"])
    capsys.readouterr()
    options = ["--partitions", "4", "--config", "segment.ms=7", "--delete-config", "retention.ms"]
    assert run(["topics", "alter", "t", *options]) == 0
    assert cluster.topics["t"] == {"partitions": 4, "configs": {"segment.ms": "7"}}
    assert run(["topics", "alter", "t", "--partitions", "4"]) == 1
    assert "no increase" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "alter", "t"],
        ["topics", "create"],
        ["topics", "create", "t", "--config", "k"],
        ["topics", "create", "t", "--config", "k=1", "--config", "k=2"],
        ["topics", "create", "t", "--partitions", "many"],
        ["topics", "nonsense"],
        ["topics", "list", "--nonsense"],
    ],
)
def test_a_wrong_command_line(cluster: FakeCluster, capsys: Output, arguments: list[str]) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tidelog: ") and err.count("\n") == 1
    assert cluster.topics == {}

"""`tidelog configs` from the command line's words to what it prints, with a cluster in memory."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.clusters import FakeCluster
from tidelog.cli.app import run
from tidelog.cli.configs import source_name

Output = pytest.CaptureFixture[str]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()
    fake.topics["t"] = {"partitions": 1, "configs": {"retention.ms": "5"}}
    monkeypatch.setattr("tidelog.cli.configs.connect", lambda bootstrap: fake)
    return fake


def test_what_was_set_and_everything(cluster: FakeCluster, capsys: Output) -> None:
    assert run(["configs", "describe", "--topic", "t", "--json"]) == 0
    expected = {"name": "retention.ms", "value": "5", "source": "topic", "read_only": False}
    assert json.loads(capsys.readouterr().out) == [expected]
    assert run(["configs", "describe", "--topic", "t", "--all"]) == 0
    out = capsys.readouterr().out
    assert "segment.bytes" in out
    assert "default" in out


def test_changes(cluster: FakeCluster, capsys: Output) -> None:
    assert (
        run(["configs", "alter", "--topic", "t", "--set", "a=1", "--delete", "retention.ms"]) == 0
    )
    assert capsys.readouterr().out == "changed topic t\n"
    assert cluster.topics["t"]["configs"] == {"a": "1"}
    assert run(["configs", "alter", "--topic", "none", "--set", "a=1"]) == 1
    assert "topic none was not changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--topic t --broker 1",
        "--broker one --set a=1",
        "--broker default",
        "--broker default --topic t --set a=1",
        "--topic t --set x",
        "--topic t --set a=1 --set a=2",
    ],
)
def test_wrong_options(cluster: FakeCluster, options: str) -> None:
    assert run(["configs", "alter", *options.split()]) == 2


@pytest.mark.parametrize("option", ["--set", "--append", "--subtract"])
def test_the_option_that_is_wrong_is_named(
    cluster: FakeCluster, capsys: Output, option: str
) -> None:
    assert run(["configs", "alter", "--topic", "t", option, "retention.ms"]) == 2
    assert f"{option} retention.ms: it is not KEY=VALUE" in capsys.readouterr().err


def test_sources_in_words() -> None:
    assert (source_name(5), source_name(1), source_name(99)) == ("default", "topic", "unknown")


def test_a_node_that_is_not_there_is_not_waited_for(cluster: FakeCluster, capsys: Output) -> None:
    assert run(["configs", "describe", "--broker", "99"]) == 1
    err = capsys.readouterr().err
    assert "node 99 is not known: there are 1, 2" in err

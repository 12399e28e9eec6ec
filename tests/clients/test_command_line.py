"""`tidelog topics` against a running broker, as a user types it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout

import pytest

from tests.house.broker import ServedBroker
from tidelog.cli.main import main


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("command-line") / "data"
    with ServedBroker(data, ["--workers", "2"]) as broker:
        yield broker.bootstrap_servers


def tidelog(bootstrap: str, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([*arguments, "--bootstrap", bootstrap])
    return status, out.getvalue(), err.getvalue()


def described(bootstrap: str, name: str) -> dict[str, object]:
    status, out, err = tidelog(bootstrap, "topics", "describe", name, "--json")
    assert (status, err) == (0, "")
    (topic,) = json.loads(out)
    return dict(topic)


def test_a_topics_life(bootstrap: str) -> None:
    create = ("topics", "create", "t", "--partitions", "3", "--config", "retention.ms=1000")
    assert tidelog(bootstrap, *create) == (0, "created t\n", "")
    topic = described(bootstrap, "t")
    assert topic["configs"] == {"retention.ms": "1000"}
    assert len(str(topic["topic_id"])) == 22
    partitions = topic["partitions"]
    assert isinstance(partitions, list)
    assert [p["partition"] for p in partitions] == [0, 1, 2]
    assert {p["leader"] for p in partitions} == {1, 2}
    alter = ("topics", "alter", "t", "--partitions", "4", "--config", "segment.ms=60000")
    assert tidelog(bootstrap, *alter, "--delete-config", "retention.ms")[0] == 0
    topic = described(bootstrap, "t")
    assert topic["configs"] == {"segment.ms": "60000"}
    assert len(topic["partitions"]) == 4  # type: ignore[arg-type]
    assert tidelog(bootstrap, "topics", "list")[1] == "t\n"
    assert tidelog(bootstrap, "topics", "delete", "t") == (0, "deleted t\n", "")
    assert tidelog(bootstrap, "topics", "list", "--json")[1] == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("create", "a b"), "characters"),
        (("create", "r", "--replication-factor", "3"), "INVALID_REPLICATION_FACTOR"),
        (("create", "c", "--config", "no.such.config=1"), "INVALID_CONFIG"),
        (("delete", "none"), "none"),
        (("describe", "none"), "none"),
        (("alter", "none", "--partitions", "3"), "none"),
    ],
)
def test_refusals_are_one_line(bootstrap: str, arguments: tuple[str, ...], hint: str) -> None:
    status, out, err = tidelog(bootstrap, "topics", *arguments)
    assert status == 1
    assert out == ""
    assert err.startswith("tidelog: ") and err.count("\n") == 1
    assert hint in err


def test_as_a_program(bootstrap: str) -> None:
    """In a process of its own, with the address in the environment."""
    for address, status in ((bootstrap, 0), ("127.0.0.1:1", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "tidelog", "topics", "list"],
            env=os.environ | {"TIDELOG_BOOTSTRAP": address},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status
    expected = "tidelog: the cluster cannot be reached: 127.0.0.1:1: Connection refused\n"
    assert done.stderr == expected


def test_quotas(bootstrap: str) -> None:
    billing = ("--client", "billing", "--user", "default")
    changes = ("--set", "producer_byte_rate=1048576", "--set", "request_percentage=50.5")
    status, out, err = tidelog(bootstrap, "configs", "alter", *billing, *changes)
    assert (status, out, err) == (0, "changed user default, client-id billing\n", "")
    found = json.loads(tidelog(bootstrap, "configs", "describe", *billing, "--json")[1])
    assert found == [
        {"name": "producer_byte_rate", "value": 1048576.0},
        {"name": "request_percentage", "value": 50.5},
    ]
    assert "1048576\n" in tidelog(bootstrap, "configs", "describe", *billing)[1]
    # Exactly that entity.
    assert tidelog(bootstrap, "configs", "describe", "--user", "default", "--json")[1] == "[]\n"
    gone = ("--delete", "producer_byte_rate", "--delete", "request_percentage")
    assert tidelog(bootstrap, "configs", "alter", *billing, *gone)[0] == 0
    assert tidelog(bootstrap, "configs", "describe", *billing, "--json")[1] == "[]\n"

    refused = ("configs", "alter", "--ip", "10.0.0.1", "--set", "nope=1")
    status, out, err = tidelog(bootstrap, *refused)
    assert (status, out) == (1, "")
    assert "ip 10.0.0.1 was not changed" in err

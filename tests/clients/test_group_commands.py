"""`tidelog groups` and `tidelog top` against a running broker, as a user types them."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import pytest

from tests.clients.read_groups import filled_topic, reader
from tests.house.broker import ServedBroker
from tidelog.cli.main import main

#: Records of each of the two partitions.
RECORDS = 20
COMMITTED = 8
PROTOCOLS = ("classic", "consumer")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    arguments = ["--workers", "2", "--metrics", "127.0.0.1:0"]
    with ServedBroker(tmp_path_factory.mktemp("group-commands") / "data", arguments) as running:
        yield running


@pytest.fixture
def topic(broker: ServedBroker) -> str:
    return filled_topic(broker.bootstrap_servers, RECORDS, first_timestamp_ms=1_000_000)


@contextmanager
def member(broker: ServedBroker, group: str, topic: str, protocol: str) -> Iterator[None]:
    """Has read everything and committed COMMITTED in each partition."""
    servers = broker.bootstrap_servers
    consumer = reader(
        servers, topic, group, records=RECORDS, committed=COMMITTED, protocol=protocol
    )
    yield
    consumer.close()


def tidelog(broker: ServedBroker, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([*arguments, "--bootstrap", broker.bootstrap_servers])
    return status, out.getvalue(), err.getvalue()


def told(broker: ServedBroker, *arguments: str) -> Any:
    status, out, err = tidelog(broker, *arguments, "--json")
    assert status == 0, err
    return json.loads(out)


def moved(broker: ServedBroker, group: str, *options: str) -> list[tuple[int | None, int]]:
    """(from, to) of each partition, of a reset that is done."""
    rows = told(broker, "groups", "reset", group, *options, "--execute")
    return [(row["from"], row["to"]) for row in rows]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_group_with_a_member(broker: ServedBroker, topic: str, protocol: str) -> None:
    group = uuid.uuid4().hex
    with member(broker, group, topic, protocol):
        row = {"group": group, "type": protocol.title(), "state": "Stable"}
        assert row in told(broker, "groups", "list")
        assert row in told(broker, "groups", "list", "--state", "stable", "--type", protocol)
        assert row not in told(broker, "groups", "list", "--state", "Empty")
        (found,) = told(broker, "groups", "describe", group)
        assert (found["type"], found["state"]) == (protocol.title(), "Stable")
        (one,) = found["members"]
        assert (one["client"], one["host"]) == ("reader", "/127.0.0.1")
        assert one["partitions"] == [f"{topic}-0", f"{topic}-1"]
        for index, line in enumerate(found["offsets"]):
            assert (line["topic"], line["partition"]) == (topic, index)
            assert (line["committed"], line["end"]) == (COMMITTED, RECORDS)
            assert line["lag"] == RECORDS - COMMITTED
            assert line["member"] == one["member"]
        out = tidelog(broker, "groups", "describe", group)[1]
        assert f"lag {2 * (RECORDS - COMMITTED)}" in out
        assert one["member"] in tidelog(broker, "groups", "describe", group, "--members")[1]
        for command in (
            ("reset", group, "--topic", topic, "--to-latest", "--execute"),
            ("delete", group),
        ):
            status, _, err = tidelog(broker, "groups", *command)
            assert status == 1
            assert group in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_way_to_reset(broker: ServedBroker, topic: str, protocol: str) -> None:
    group = uuid.uuid4().hex
    with member(broker, group, topic, protocol):
        pass
    at = (group, "--topic", topic)
    assert moved(broker, *at, "--to-earliest") == [(COMMITTED, 0)] * 2
    assert moved(broker, *at, "--to-latest") == [(0, RECORDS)] * 2
    assert moved(broker, *at, "--to-offset", "5") == [(RECORDS, 5)] * 2
    assert moved(broker, *at, "--shift-by", "3") == [(5, 8)] * 2
    assert moved(broker, *at, "--shift-by", "-10") == [(8, 0)] * 2
    assert moved(broker, *at, "--to-datetime", "1000004") == [(0, 4)] * 2
    assert moved(broker, *at, "--by-duration", "P1D") == [(4, RECORDS)] * 2
    assert moved(broker, *at, "--to-offset", "999") == [(RECORDS, RECORDS)] * 2
    assert moved(broker, group, "--topic", f"{topic}:1", "--to-offset", "2") == [(RECORDS, 2)]
    rows = told(broker, "groups", "reset", group, "--all-topics", "--to-earliest")
    assert [(row["from"], row["to"]) for row in rows] == [(RECORDS, 0), (2, 0)]
    (found,) = told(broker, "groups", "describe", group)
    # Without --execute nothing was changed.
    assert [line["committed"] for line in found["offsets"]] == [RECORDS, 2]
    _, out, err = tidelog(broker, "groups", "reset", *at, "--to-latest")
    assert topic in out
    assert "--execute" in err


def test_a_reset_makes_a_group(broker: ServedBroker, topic: str) -> None:
    group = uuid.uuid4().hex
    assert moved(broker, group, "--topic", topic, "--to-offset", "7") == [(None, 7)] * 2
    (found,) = told(broker, "groups", "describe", group)
    assert found["state"] == "Empty"


def test_groups_are_deleted(broker: ServedBroker, topic: str) -> None:
    groups = [uuid.uuid4().hex for _ in range(2)]
    for group in groups:
        moved(broker, group, "--topic", topic, "--to-latest")
    status, out, err = tidelog(broker, "groups", "delete", groups[0], "no-such-group", groups[1])
    assert status == 1
    assert sorted(out.split()[1::2]) == sorted(groups)
    assert "no-such-group" in err and len(err.splitlines()) == 1
    names = {row["group"] for row in told(broker, "groups", "list")}
    assert not names & set(groups)


@pytest.mark.parametrize(
    "command",
    [
        "describe no-such-group",
        "reset g --topic no-such-topic --to-latest",
        "reset no-such-group --all-topics --to-latest",
    ],
)
def test_what_is_not_there_is_one_line(broker: ServedBroker, command: str) -> None:
    status, out, err = tidelog(broker, "groups", *command.split())
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("by_metrics", [True, False])
def test_top(broker: ServedBroker, topic: str, by_metrics: bool) -> None:
    group = uuid.uuid4().hex
    moved(broker, group, "--topic", topic, "--to-offset", "5")
    options = ["--metrics", broker.metrics] if by_metrics else []
    (view,) = [told(broker, "top", "--once", "--interval", "0.1", *options)]
    (found,) = [row for row in view["topics"] if row["topic"] == topic]
    assert found["records_in_per_s"] == 0
    assert (found["size"] is not None) == by_metrics
    (row,) = [row for row in view["groups"] if row["group"] == group]
    assert (row["state"], row["members"]) == ("Empty", 0)
    assert (row["topic"], row["lag"]) == (topic, 2 * (RECORDS - 5))
    nodes = [node["node"] for node in view["nodes"]]
    assert nodes == (["1", "2", "supervisor"] if by_metrics else [])
    status, out, _ = tidelog(broker, "top", "--count", "2", "--interval", "0.1", *options)
    assert status == 0
    # Of each view: the topic, and the group in it.
    assert out.count(topic) == 4

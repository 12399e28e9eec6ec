"""Connecting, and what errors look like."""

from __future__ import annotations

import socket

import pytest
import typer
from confluent_kafka import KafkaError, KafkaException

from tidelog.cli.app import run
from tidelog.cli.cluster import connect, parse_configs, print_table, reason


def test_a_cluster_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        # Bound but not listening: refused, and nobody else gets the port meanwhile.
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert run(["topics", "list", "--bootstrap", f"127.0.0.1:{port}"]) == 1
    expected = f"tidelog: the cluster cannot be reached: 127.0.0.1:{port}: Connection refused\n"
    assert capsys.readouterr().err == expected


def test_one_address_that_answers_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in (unused, there)]
        assert connect(", ".join(addresses)) is not None


@pytest.mark.parametrize(
    "bootstrap",
    ["", "localhost", "localhost:", "localhost:x", "h:\u0661", "h:0", "h:99999", f"h:{'9' * 5000}"],
)
def test_addresses_that_are_none(bootstrap: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "list", "--bootstrap", bootstrap]) == 2
    err = capsys.readouterr().err
    assert "HOST:PORT is expected" in err
    assert err.count("\n") == 1


def test_every_address_is_looked_at() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as there,
        pytest.raises(typer.BadParameter, match="--bootstrap other: HOST:PORT"),
    ):
        connect(f"127.0.0.1:{there.getsockname()[1]},other")


def test_reasons() -> None:
    refused = KafkaException(KafkaError(KafkaError.INVALID_PARTITIONS, "no increase"))
    assert reason(refused) == "no increase (INVALID_PARTITIONS)"
    away = KafkaException(KafkaError(KafkaError._TRANSPORT, "broker transport failure"))
    assert reason(away) == "the cluster cannot be reached"
    assert reason(KafkaException("just text")) == "just text"


def test_configs() -> None:
    assert parse_configs(None) == {}
    assert parse_configs([" a = b ", "c=", "d=e=f"]) == {"a": "b", "c": "", "d": "e=f"}
    for wrong in (["a"], ["=b"], ["a=1", "a=2"]):
        with pytest.raises(typer.BadParameter, match="--config"):
            parse_configs(wrong)
        with pytest.raises(typer.BadParameter, match="--set"):
            parse_configs(wrong, "--set")


def test_tables_are_not_cut_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"name": "left", "size": "right"}, [["x" * 300, 1], ["[bold]", 22]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["x" * 300, "1"]
    assert lines[2].split() == ["[bold]", "22"]


def test_one_very_long_name_takes_no_room_from_others(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["x" * 32_000, "Ongoing"], ["short", "CompleteCommit"]]
    print_table({"transactional id": "left", "state": "left"}, rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == rows

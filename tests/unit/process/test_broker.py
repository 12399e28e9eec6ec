"""From options to configs and addresses; whole starts are in tests/recovery."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidelog.config import BrokerConfig
from tidelog.config.properties import ConfigFileError, StaticConfig
from tidelog.process.broker import (
    BrokerOptions,
    _first_node_id,
    log_directories,
    make_slots,
    resolve_static,
)


def resolved(options: BrokerOptions) -> tuple[StaticConfig, BrokerConfig]:
    static = resolve_static(options)
    return static, BrokerConfig.resolve(static.layers)


def test_what_wins_over_what() -> None:
    file = "listeners=PLAINTEXT://file:1\nlog.dirs=/file\nnum.partitions=2\n"
    static, _ = resolved(BrokerOptions(properties=file))
    assert static.values["listeners"] == "PLAINTEXT://file:1"
    over = BrokerOptions(
        properties=file,
        settings=("listeners=PLAINTEXT://set:2", "num.partitions=3"),
        listen="option:3",
        data_dir="/option",
    )
    static, config = resolved(over)
    assert static.values["listeners"] == "PLAINTEXT://option:3"
    assert static.values["log.dirs"] == "/option"
    assert config.num_partitions == 3


def test_without_anything_it_listens_to_this_machine_only() -> None:
    static, config = resolved(BrokerOptions())
    assert config.listeners == ("PLAINTEXT://127.0.0.1:9092",)
    (slot,) = make_slots((1,), static, config)
    assert (slot.addresses[0].host, slot.addresses[0].port) == ("127.0.0.1", 9092)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (BrokerOptions(), [Path.cwd() / "tidelog-data"]),
        (BrokerOptions(data_dir="x"), [Path.cwd() / "x"]),
        (BrokerOptions(properties="log.dirs=/a,/b"), [Path("/a"), Path("/b")]),
        (BrokerOptions(properties="log.dir=/c"), [Path("/c")]),
        (BrokerOptions(properties="log.dirs=/a,/b", data_dir="/x"), [Path("/x")]),
    ],
)
def test_where_the_data_is(options: BrokerOptions, expected: list[Path]) -> None:
    static, config = resolved(options)
    assert log_directories(options, static, config) == expected


def test_a_log_directory_is_named_once() -> None:
    options = BrokerOptions(properties="log.dirs=/a,/b,/a")
    with pytest.raises(ConfigFileError, match="names /a twice"):
        log_directories(options, *resolved(options))


def test_an_ipv6_address() -> None:
    static, config = resolved(BrokerOptions(listen="[::1]:9092"))
    assert make_slots((1,), static, config)[0].addresses[0].host == "::1"


@pytest.mark.parametrize(
    "listen", ["", "h", "h:", ":x", "h:65536", "::1:1", "SSL://h:1", "h:-1", f"h:{'9' * 5000}"]
)
def test_addresses_that_are_none(listen: str) -> None:
    with pytest.raises(ConfigFileError, match="--listen"):
        resolve_static(BrokerOptions(listen=listen))


def test_a_data_directory_without_a_name() -> None:
    with pytest.raises(ConfigFileError, match="--data-dir is empty"):
        resolve_static(BrokerOptions(data_dir=""))


def test_apaches_own_file() -> None:
    """The lines of a KRaft server.properties that are about roles, listeners and directories."""
    file = (
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n"
        "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n"
        "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n"
        "controller.listener.names=CONTROLLER\n"
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n"
        "num.network.threads=3\nlog.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n"
    )
    static, config = resolved(BrokerOptions(properties=file))
    assert static.warnings == ()
    slots = make_slots((1, 2), static, config)
    assert [[a.name for a in slot.addresses] for slot in slots] == [["PLAINTEXT"]] * 2
    assert [endpoint.host for endpoint in slots[1].endpoints()] == ["localhost"]
    assert slots[1].endpoints()[0].port == 9093


@pytest.mark.parametrize("text", ["7", " 7 ", "\x1f7"])
def test_a_node_id_from_the_file(text: str) -> None:
    static = StaticConfig({"node.id": text}, ())
    assert _first_node_id(BrokerOptions(), static) == 7
    assert _first_node_id(BrokerOptions(node_id=3), static) == 3

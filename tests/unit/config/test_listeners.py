"""Listener addresses and the protocol map."""

from __future__ import annotations

import pytest

from tidelog.config.definition import ConfigValueError
from tidelog.config.listeners import Endpoint, parse_listeners, parse_protocol_map


def test_protocol_map() -> None:
    assert parse_protocol_map("inside:plaintext, OUT : SASL_SSL") == {
        "INSIDE": "PLAINTEXT",
        "OUT": "SASL_SSL",
    }
    assert parse_protocol_map("") == {}
    for bad in ("A", "A:", ":SSL", "A:TLS", "A:SSL,a:SSL"):
        with pytest.raises(ConfigValueError):
            parse_protocol_map(bad)


def test_listeners() -> None:
    endpoints = parse_listeners(
        "listeners",
        ["PLAINTEXT://:9092", "inside://[::1]:0", "SSL://host.example:65535"],
        {"INSIDE": "SASL_PLAINTEXT"},
    )
    assert endpoints == (
        Endpoint("PLAINTEXT", "PLAINTEXT", "", 9092),
        Endpoint("INSIDE", "SASL_PLAINTEXT", "::1", 0),
        Endpoint("SSL", "SSL", "host.example", 65535),
    )


@pytest.mark.parametrize(
    "value",
    [
        "localhost:9092",
        "PLAINTEXT://localhost",
        "PLAINTEXT://localhost:",
        "PLAINTEXT://localhost:x",
        "PLAINTEXT://localhost:65536",
        "PLAINTEXT://localhost:-1",
        "PLAINTEXT://[::1:9092",
        "UNMAPPED://localhost:1",
    ],
)
def test_bad_listeners(value: str) -> None:
    with pytest.raises(ConfigValueError, match="listeners"):
        parse_listeners("listeners", [value], {})


def test_a_name_stands_once() -> None:
    with pytest.raises(ConfigValueError, match="twice"):
        parse_listeners("listeners", ["SSL://:1", "ssl://:2"], {})

"""Limits of connections in all and per address."""

from __future__ import annotations

from tidelog.net.admission import Admission


def test_the_limit_in_all() -> None:
    admission = Admission(2, 100, {})
    assert admission.admit("10.0.0.1") is None
    assert admission.admit("10.0.0.2") is None
    assert admission.admit("10.0.0.3") == "max.connections=2"
    admission.release("10.0.0.1")
    assert admission.admit("10.0.0.3") is None


def test_the_limits_change_while_connections_are_open() -> None:
    admission = Admission(2, 2, {})
    assert [admission.admit("10.0.0.1") for _ in range(2)] == [None, None]
    admission.follow(10, 1, {"10.0.0.2": 2})
    assert admission.admit("10.0.0.1") == "max.connections.per.ip=1"
    assert [admission.admit("10.0.0.2") for _ in range(2)] == [None, None]
    assert admission.total == 4


def test_the_limit_per_address_and_its_overrides() -> None:
    admission = Admission(100, 1, {"10.0.0.9": 2, "10.0.0.8": 0})
    assert admission.admit("10.0.0.1") is None
    assert admission.admit("10.0.0.1") == "max.connections.per.ip=1"
    assert [admission.admit("10.0.0.9") for _ in range(3)] == [
        None,
        None,
        "max.connections.per.ip=2",
    ]
    assert admission.admit("10.0.0.8") == "max.connections.per.ip=0"
    assert admission.total == 3
    admission.release("10.0.0.1")
    assert admission.admit("10.0.0.1") is None

"""Connections a second from an address."""

from __future__ import annotations

from tidelog.limits import QUOTA_CLIENTS_MAX
from tidelog.quotas.connections import NO_LIMIT, ConnectionRates, CreationRate

RATE = "connection_creation_rate"


def rates(**limits: float) -> ConnectionRates:
    made = ConnectionRates(11, 1000)
    names = {"default": None, "one": "10.0.0.1", "six": "0::1"}
    made.follow({(("ip", names[name]),): {RATE: limit} for name, limit in limits.items()})
    return made


def admitted(made: ConnectionRates, address: str, count: int, now_ms: int = 0) -> list[int]:
    return [made.admit(address, now_ms) for _ in range(count)]


def test_only_so_many_in_the_window() -> None:
    made = rates(one=1)
    assert admitted(made, "10.0.0.1", 11) == [0] * 10 + [1000]
    # What was refused does not count.
    assert admitted(made, "10.0.0.1", 2) == [1000, 1000]
    assert admitted(made, "10.0.0.2", 100) == [0] * 100
    assert admitted(made, "10.0.0.1", 1, 12_000) == [0]


def test_the_default_is_for_those_without_their_own() -> None:
    made = rates(default=1, six=2)
    assert admitted(made, "10.0.0.2", 11)[-1] > 0
    assert admitted(made, "10.0.0.3", 10) == [0] * 10
    assert admitted(made, "::1", 21) == [0] * 20 + [500]


def test_no_limit_costs_no_memory() -> None:
    made = rates(one=1)
    admitted(made, "10.0.0.1", 11)
    made.follow({})
    assert admitted(made, "10.0.0.1", 100) == [0] * 100
    made.follow({(("ip", "10.0.0.1"),): {RATE: 1.0}})
    assert admitted(made, "10.0.0.1", 10) == [0] * 10


def test_the_hold_and_the_table_have_limits() -> None:
    made = rates(default=1e-6)
    assert made.admit("10.0.0.9", 0) == 11_000
    for number in range(QUOTA_CLIENTS_MAX):
        made.admit(f"a{number}", 0)
    assert made.admit("10.0.0.9", 0) == 11_000


def test_a_node_takes_so_many_in_all() -> None:
    creation = CreationRate(11, 1000)
    assert [creation.accepted(0) for _ in range(1000)] == [0] * 1000
    creation.limit = 1
    assert [creation.accepted(0) for _ in range(11)] == [0] * 10 + [1000]
    assert creation.accepted(20_000) == 0
    creation.limit = NO_LIMIT
    assert [creation.accepted(20_000) for _ in range(100)] == [0] * 100

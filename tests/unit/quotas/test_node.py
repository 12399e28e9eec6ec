"""A node's quotas: what each kind of request is charged, and who is paused."""

from __future__ import annotations

from dataclasses import dataclass

from tidelog.clock import ManualClock
from tidelog.config import BrokerConfig, BrokerLayers
from tidelog.metadata.quotas import Quotas
from tidelog.quotas.node import NodeQuotas

MS = 1_000_000


@dataclass
class Connection:
    connection_id: int = 5
    principal: str = "User:ANONYMOUS"


class World:
    def __init__(self, quotas: Quotas, **static: str) -> None:
        names = {name.replace("_", "."): value for name, value in static.items()}
        self.clock = ManualClock()
        self.node = NodeQuotas(BrokerConfig.resolve(BrokerLayers(static=names)), self.clock)
        self.paused: list[tuple[int, int]] = []
        self.node.pause = lambda connection_id, ms: self.paused.append((connection_id, ms))
        self.node.follow(quotas)


CLIENT = (("client-id", "c"),)


def test_nothing_is_measured_without_quotas() -> None:
    world = World({})
    assert not world.node.in_use
    assert not World({(("ip", None),): {"connection_creation_rate": 1.0}}).node.in_use
    assert not World({CLIENT: {"controller_mutation_rate": 1.0}}).node.in_use
    assert World({CLIENT: {"request_percentage": 1.0}}).node.in_use


def test_produced_bytes() -> None:
    world = World({CLIENT: {"producer_byte_rate": 100.0}})
    assert world.node.produced(Connection(), b"c", 1000, 0) == 0
    assert world.node.produced(Connection(), b"d", 5000, 0) == 0
    assert world.node.produced(Connection(), b"c", 1000, 0) == 10_000
    assert world.paused == [(5, 10_000)]


def test_fetched_bytes_beyond_the_quota_are_not_charged() -> None:
    world = World({CLIENT: {"consumer_byte_rate": 100.0}})
    assert world.node.fetch_bytes_max(Connection(), b"c") == 1000
    assert world.node.fetch_bytes_max(Connection(), b"d") == 2**31 - 1
    assert world.node.fetched(Connection(), b"c", 600, 0) == 0
    assert world.node.fetched(Connection(), b"c", 600, 0) == 2000
    assert world.node.fetched(Connection(), b"c", 400, 0) == 0


def test_the_time_of_every_kind_of_request_counts_together() -> None:
    """Half of a loop's time: five of ten seconds."""
    world = World({(("user", "ANONYMOUS"),): {"request_percentage": 50.0}})
    assert world.node.requested(Connection(), "a", 2000 * MS) == 0
    assert world.node.produced(Connection(), b"b", 9_999, 2000 * MS) == 0
    assert world.node.requested(Connection(), None, 1000 * MS) == 0
    assert world.node.fetched(Connection(), b"c", 9_999, 500 * MS) == 1000
    assert world.node.requested(Connection(7, "User:other"), "c", 9000 * MS) == 0
    assert world.paused == [(5, 1000)]


def test_the_longest_wait_counts() -> None:
    both = {"producer_byte_rate": 100.0, "request_percentage": 1.0}
    world = World({CLIENT: both})
    assert world.node.produced(Connection(), b"c", 2000, 10_000 * MS) == 10_000
    assert world.node.requested(Connection(), "c", 0, owed_ms=3000) == 3000
    assert world.node.requested(Connection(), "d", 0, owed_ms=20) == 20


def test_the_window_is_configured() -> None:
    quotas: Quotas = {CLIENT: {"producer_byte_rate": 100.0, "controller_mutation_rate": 1.0}}
    world = World(
        quotas,
        quota_window_num="3",
        quota_window_size_seconds="2",
        controller_quota_window_num="2",
        controller_quota_window_size_seconds="3",
    )
    assert world.node.produced(Connection(), b"c", 400, 0) == 0
    assert world.node.produced(Connection(), b"c", 100, 0) == 1000
    changes = world.node.mutations(Connection(), "c", strict=True)
    assert changes is not None
    assert changes.take(7)
    assert not changes.take(1)


def test_names_of_clients_are_any_bytes() -> None:
    world = World({(("client-id", None),): {"producer_byte_rate": 1.0}})
    assert world.node.produced(Connection(), b"\xff", 100, 0) > 0
    assert world.node.produced(Connection(), b"", 100, 0) > 0
    assert world.node.requested(Connection(), None, 0) == 0

"""What a request of a client with quotas costs beside its handling."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tidelog.clock import SystemClock
from tidelog.config import BrokerConfig
from tidelog.metadata.quotas import Quotas
from tidelog.quotas.node import NodeQuotas

pytestmark = pytest.mark.benchmark(group="python")


@dataclass
class Connection:
    connection_id: int = 1
    principal: str = "User:ANONYMOUS"


RATES: Quotas = {
    (("client-id", None),): {"producer_byte_rate": 1e15, "request_percentage": 1e9},
}
OTHERS: Quotas = {(("client-id", "other"),): {"producer_byte_rate": 1e15}}


@pytest.mark.parametrize("whose", ["own", "others"])
def test_charging_a_produce(benchmark: BenchmarkFixture, whose: str) -> None:
    node = NodeQuotas(BrokerConfig.resolve(), SystemClock())
    node.follow({"own": RATES, "others": OTHERS}[whose])
    connection = Connection()
    assert benchmark(node.produced, connection, b"client", 1000, 5000) == 0

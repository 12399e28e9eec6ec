"""UnregisterBroker: who is forgotten, and who is not."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import FenceNode
from tidelog.handlers.context import RequestContext
from tidelog.protocol.messages.describe_cluster import DescribeClusterRequest
from tidelog.protocol.messages.unregister_broker import UnregisterBrokerRequest


async def nodes(node: Node) -> list[tuple[int, bool]]:
    answer = await node.ask(DescribeClusterRequest(include_fenced_brokers=True), 2)
    return [(broker.broker_id, broker.is_fenced) for broker in answer.brokers]


async def test_a_fenced_node_is_forgotten() -> None:
    node = Node(nodes=3)
    node.controller.ask(FenceNode(3, 0))
    await node.follow()
    assert await nodes(node) == [(1, False), (2, False), (3, True)]
    answer = await node.ask(UnregisterBrokerRequest(broker_id=3), 0)
    assert (answer.error_code, answer.error_message) == (0, "")
    assert await nodes(node) == [(1, False), (2, False)]


@pytest.mark.parametrize(("broker", "code"), [(2, 42), (9, 102)])
async def test_refused(broker: int, code: int) -> None:
    node = Node(nodes=2)
    answer = await node.ask(UnregisterBrokerRequest(broker_id=broker), 0)
    assert answer.error_code == code
    assert str(broker) in answer.error_message


async def test_what_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    monkeypatch.setattr(RequestContext, "authorize", lambda self, operation, kind, name: False)
    assert (await node.ask(UnregisterBrokerRequest(broker_id=2), 0)).error_code == 31
    assert node.requests == []

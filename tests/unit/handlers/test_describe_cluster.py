"""DescribeCluster: live and fenced nodes, endpoint types."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import node as node_record
from tests.unit.handlers.worlds import Node
from tidelog.protocol.messages.describe_cluster import DescribeClusterRequest


@pytest.mark.parametrize("version", range(3))
async def test_live_nodes(version: int) -> None:
    node = Node(nodes=3)
    node.controller.apply(node_record(2, fenced=True, epoch=1))
    request = DescribeClusterRequest(include_cluster_authorized_operations=True)
    answer = await node.ask(request, version)
    assert (answer.error_code, answer.controller_id) == (0, 1)
    assert [(b.broker_id, b.host, b.port, b.is_fenced) for b in answer.brokers] == [
        (1, "127.0.0.1", 9092, False),
        (3, "127.0.0.1", 9094, False),
    ]
    assert answer.cluster_authorized_operations == 8096


async def test_fenced_nodes_on_request() -> None:
    node = Node(nodes=2)
    node.controller.apply(node_record(2, fenced=True, epoch=1))
    answer = await node.ask(DescribeClusterRequest(include_fenced_brokers=True), 2)
    assert [(b.broker_id, b.is_fenced) for b in answer.brokers] == [(1, False), (2, True)]
    assert answer.cluster_authorized_operations == -(1 << 31)


@pytest.mark.parametrize(("endpoint_type", "code"), [(2, 114), (0, 115), (3, 115)])
async def test_other_endpoint_types(endpoint_type: int, code: int) -> None:
    answer = await Node().ask(DescribeClusterRequest(endpoint_type=endpoint_type), 1)
    assert (answer.error_code, answer.brokers, answer.cluster_id) == (code, [], "")
    assert answer.error_message

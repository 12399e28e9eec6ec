"""Broker configs that change while the broker runs take effect on every node, and outlive a
restart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_quotas import Cluster
from tests.compat.parity.batches import Batch, Record
from tests.compat.parity.scenarios_produce import producing
from tests.compat.parity.session import Closed, Session
from tidelog.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResponse,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataResponse
from tidelog.protocol.messages.produce import ProduceResponse

MESSAGE_TOO_LARGE = 10


def change(node: Session, broker: str, key: str, value: str | None) -> None:
    config = AlterableConfig(name=key, value=value, config_operation=1 if value is None else 0)
    resource = AlterConfigsResource(resource_type=4, resource_name=broker, configs=[config])
    request = IncrementalAlterConfigsRequest(resources=[resource])
    answer = node.call(request, 1, IncrementalAlterConfigsResponse)
    assert answer.responses[0].error_code == 0, answer


def shown(node: Session, broker: str, key: str) -> tuple[str | None, int]:
    """Value and source of a broker's config."""
    resource = DescribeConfigsResource(
        resource_type=4, resource_name=broker, configuration_keys=[key]
    )
    answer = node.call(DescribeConfigsRequest(resources=[resource]), 4, DescribeConfigsResponse)
    (config,) = answer.results[0].configs
    return config.value, config.config_source


def refuses_connections(node: Session) -> bool:
    try:
        other = node.connect()
        other.send(MetadataRequest(topics=[]), 9)
        other.answer(MetadataRequest(topics=[]), 9)
        other.close()
    except Closed:
        return True
    return False


def code_of_a_large_batch(node: Session, partition: int) -> int:
    batch = Batch([Record(value=b"x" * 5000)]).encode()
    answer: Any = node.call(producing("q", batch, partition=partition), 9, ProduceResponse)
    return int(answer.responses[0].partition_responses[0].error_code)


@pytest.mark.parametrize("workers", [1, 3], ids=["one worker", "three workers"])
def test_configs_of_all_nodes_and_of_one(workers: int, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", workers)
    try:
        _check(cluster)
    finally:
        cluster.close_sessions()
        cluster.served.stop()


def _check(cluster: Cluster) -> None:
    first, last = cluster.nodes[0], cluster.nodes[-1]
    own = str(cluster.workers)
    # For all of them, asked of one.
    change(first, "", "message.max.bytes", "1000")
    for index, node in enumerate(cluster.nodes):
        assert code_of_a_large_batch(node, index) == MESSAGE_TOO_LARGE
        assert shown(node, str(index + 1), "message.max.bytes") == ("1000", 3)
    # Of the last one alone, where it wins.
    change(last, own, "message.max.bytes", "100000")
    assert code_of_a_large_batch(last, cluster.workers - 1) == 0
    assert shown(last, own, "message.max.bytes") == ("100000", 2)
    if cluster.workers > 1:
        assert code_of_a_large_batch(first, 0) == MESSAGE_TOO_LARGE

    cluster.restart()
    first, last = cluster.nodes[0], cluster.nodes[-1]
    assert code_of_a_large_batch(last, cluster.workers - 1) == 0
    if cluster.workers > 1:
        assert code_of_a_large_batch(first, 0) == MESSAGE_TOO_LARGE
    change(last, own, "message.max.bytes", None)
    assert code_of_a_large_batch(last, cluster.workers - 1) == MESSAGE_TOO_LARGE
    change(first, "", "message.max.bytes", None)
    assert code_of_a_large_batch(last, cluster.workers - 1) == 0

    # Connections: those that are open stay.
    for node in cluster.nodes:
        node.call(MetadataRequest(topics=[]), 9, MetadataResponse)
    change(first, "", "max.connections.per.ip.overrides", "127.0.0.1:1")
    assert all(refuses_connections(node) for node in cluster.nodes)
    change(first, "", "max.connections.per.ip.overrides", None)
    assert not any(refuses_connections(node) for node in cluster.nodes)

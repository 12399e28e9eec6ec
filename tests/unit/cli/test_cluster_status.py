"""`tidelog cluster status`: what is counted as trouble."""

from __future__ import annotations

from tidelog.cli.cluster_status import summary
from tidelog.protocol.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterResponse,
)
from tidelog.protocol.messages.metadata import (
    MetadataResponse,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

ROWS = {
    0: (1, [1, 2], [1, 2]),
    1: (2, [2, 1], [2]),
    2: (-1, [1, 2], [2]),
}


def metadata(*partitions: int) -> MetadataResponse:
    topic = MetadataResponseTopic(
        name="t",
        partitions=[
            MetadataResponsePartition(
                partition_index=index,
                leader_id=ROWS[index][0],
                replica_nodes=ROWS[index][1],
                isr_nodes=ROWS[index][2],
            )
            for index in partitions
        ],
    )
    return MetadataResponse(topics=[topic])


def cluster(fenced: bool) -> DescribeClusterResponse:
    brokers = [
        DescribeClusterBroker(broker_id=2, host="h", port=2, rack="r", is_fenced=fenced),
        DescribeClusterBroker(broker_id=1, host="h", port=1),
    ]
    return DescribeClusterResponse(cluster_id="c", brokers=brokers)


def test_all_in_order() -> None:
    found = summary(cluster(False), metadata(0), {})
    assert found["in_order"]
    assert (found["topics"], found["partitions"]) == (1, 1)
    assert [node["id"] for node in found["nodes"]] == [1, 2]
    assert [node["leads"] for node in found["nodes"]] == [1, 0]


def test_troubles_are_told_apart() -> None:
    found = summary(cluster(False), metadata(0, 1, 2), {"t": 2})
    assert not found["in_order"]
    assert found["offline"] == ["t-2"]
    assert found["under_replicated"] == found["under_min_isr"] == ["t-1", "t-2"]
    assert summary(cluster(False), metadata(0, 1), {"t": 1})["under_min_isr"] == []
    assert [node["out_of_sync"] for node in found["nodes"]] == [2, 0]
    assert [node["replicas"] for node in found["nodes"]] == [3, 3]


def test_a_fenced_node_is_trouble() -> None:
    found = summary(cluster(True), metadata(0), {})
    assert [node["state"] for node in found["nodes"]] == ["live", "fenced"]
    assert not found["in_order"]

"""Encoding and decoding of messages that clients send often, by the table-driven codec."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tidelog.protocol.codec import decode, encode
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

pytestmark = pytest.mark.benchmark(group="python")

METADATA_VERSION = 12


def metadata_answer() -> MetadataResponse:
    """Ten topics of ten partitions on three nodes."""
    partitions = [
        MetadataResponsePartition(
            partition_index=index, leader_id=1, replica_nodes=[1, 2, 3], isr_nodes=[1, 2, 3]
        )
        for index in range(10)
    ]
    return MetadataResponse(
        brokers=[
            MetadataResponseBroker(node_id=node, host="localhost", port=9091 + node)
            for node in (1, 2, 3)
        ],
        cluster_id="cluster",
        controller_id=1,
        topics=[
            MetadataResponseTopic(name=f"topic-{number}", partitions=partitions)
            for number in range(10)
        ],
    )


def test_metadata_answer_encode(benchmark: BenchmarkFixture) -> None:
    answer = metadata_answer()
    data = benchmark(encode, answer, METADATA_VERSION)
    assert decode(MetadataResponse, METADATA_VERSION, data) == answer


def test_metadata_request_decode(benchmark: BenchmarkFixture) -> None:
    request = MetadataRequest(topics=[MetadataRequestTopic(name="topic-1")])
    data = encode(request, METADATA_VERSION)
    assert benchmark(decode, MetadataRequest, METADATA_VERSION, data) == request


def test_heartbeat_decode(benchmark: BenchmarkFixture) -> None:
    request = HeartbeatRequest(group_id="group", generation_id=7, member_id="member-1")
    data = encode(request, 4)
    assert benchmark(decode, HeartbeatRequest, 4, data) == request

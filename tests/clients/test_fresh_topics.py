"""A topic serves when its creation is answered: on every node, for everybody, at the first request.

Raw requests on connections that are open already, so that nothing gives a slow node time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.house.broker import ServedBroker
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tidelog.protocol.schema import Request
from tidelog.record.builder import NewRecord, build_batch

WORKERS = 3
TIMEOUT_S = 30.0


class Node:
    """One open connection to one node."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.port = int(port)
        self._socket = socket.create_connection((host, self.port), TIMEOUT_S)

    def ask(self, request: Request, version: int) -> Any:
        self._socket.sendall(encode_request_frame(request, version, 1, "raw"))
        size = int.from_bytes(self._read(4), "big")
        return decode_response(type(request).API, version, self._read(size))[1]

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self._socket.recv(count - len(data))
            assert chunk, "the connection was closed"
            data += chunk
        return data

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    data = tmp_path_factory.mktemp("fresh") / "data"
    with ServedBroker(data, ["--workers", str(WORKERS)]) as broker:
        opened = [Node(address) for address in broker.bootstrap_servers.split(",")]
        yield opened
        for node in opened:
            node.close()


def produce(node: Node, topic: str, index: int) -> int:
    batch = bytes(build_batch([NewRecord(1_700_000_000_000, b"k", b"v")]))
    data = TopicProduceData(
        name=topic, partition_data=[PartitionProduceData(index=index, records=batch)]
    )
    answer = node.ask(ProduceRequest(acks=-1, timeout_ms=10000, topic_data=[data]), 9)
    return int(answer.responses[0].partition_responses[0].error_code)


def metadata(node: Node, topic: str, *, create: bool = False) -> Any:
    request = MetadataRequest(
        topics=[MetadataRequestTopic(name=topic)], allow_auto_topic_creation=create
    )
    answer = node.ask(request, 12)
    ports = {broker.node_id: broker.port for broker in answer.brokers}
    return answer.topics[0], ports


def produce_everywhere(nodes: list[Node], topic: str, seen_by: Node) -> None:
    described, ports = metadata(seen_by, topic)
    assert described.error_code == 0
    by_port = {node.port: node for node in nodes}
    for partition in described.partitions:
        assert partition.error_code == 0
        leader = by_port[ports[partition.leader_id]]
        assert produce(leader, topic, partition.partition_index) == 0


@pytest.mark.parametrize("number", range(12))
def test_a_created_topic_serves_at_once(nodes: list[Node], number: int) -> None:
    topic = f"fresh-{number}"
    new = CreatableTopic(name=topic, num_partitions=7, replication_factor=1)
    creator, other = nodes[number % WORKERS], nodes[(number + 1) % WORKERS]
    answer = creator.ask(CreateTopicsRequest(topics=[new], timeout_ms=10000), 7)
    assert answer.topics[0].error_code == 0
    produce_everywhere(nodes, topic, other)
    gone = DeleteTopicsRequest(topics=[DeleteTopicState(name=topic)], timeout_ms=10000)
    assert other.ask(gone, 6).responses[0].error_code == 0
    for node in nodes:
        assert metadata(node, topic)[0].error_code == 3
        assert produce(node, topic, 0) == 3


@pytest.mark.parametrize("number", range(6))
def test_a_topic_created_by_use_serves_at_once(nodes: list[Node], number: int) -> None:
    topic = f"used-{number}"
    described, _ = metadata(nodes[number % WORKERS], topic, create=True)
    assert described.error_code == 0
    produce_everywhere(nodes, topic, nodes[(number + 1) % WORKERS])

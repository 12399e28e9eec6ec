"""Requests as kio reads them, and the places that the generator patches."""

import importlib
import struct
from typing import Any

import pytest
from kio.serial import entity_reader

from tidelog._native.loadgen import FENCE_CORRELATION_ID
from tidelog.benchmarks.batches import sized_batch
from tidelog.benchmarks.requests import fence_request, fetch_request, produce_request

BATCH = sized_batch(300, 1_700_000_000_000, producer_id=5, producer_epoch=0, base_sequence=0)
OTHER = sized_batch(400, 1_700_000_000_000)


def read(api: str, cls: str, version: int, flexible: bool, frame: bytes) -> Any:
    """(header, request), read to the last byte."""
    headers = importlib.import_module(f"kio.schema.request_header.v{2 if flexible else 1}.header")
    module = importlib.import_module(f"kio.schema.{api}.v{version}.request")
    assert struct.unpack_from(">i", frame) == (len(frame) - 4,)
    header, at = entity_reader(headers.RequestHeader)(frame[4:], 0)
    request, size = entity_reader(getattr(module, cls))(frame[4:], at)
    assert at + size == len(frame) - 4
    assert (header.request_api_version, header.client_id) == (version, "load")
    return header, request


@pytest.mark.parametrize("version", range(3, 13))
def test_produce(version: int) -> None:
    template = produce_request(version, {"a": {0: BATCH, 4: OTHER}, "b": {1: BATCH}}, acks=-1)
    header, request = read("produce", "ProduceRequest", version, version >= 9, template.frame)
    assert header.request_api_key == 0
    assert (request.acks, request.transactional_id) == (-1, None)
    found = [
        (topic.name, part.index, bytes(part.records))
        for topic in request.topic_data
        for part in topic.partition_data
    ]
    assert found == [("a", 0, BATCH.data), ("a", 4, OTHER.data), ("b", 1, BATCH.data)]
    placed = [template.frame[b.position : b.position + b.length] for b in template.batches]
    assert placed == [BATCH.data, OTHER.data, BATCH.data]
    assert [b.base_sequence for b in template.batches] == [0, -1, 0]
    assert template.expected_partitions == 3
    assert template.payload_bytes == 1000
    assert template.payload_records == 2 * BATCH.record_count + OTHER.record_count


@pytest.mark.parametrize("version", range(4, 13))
def test_fetch(version: int) -> None:
    template = fetch_request(
        version,
        {"a": {0: (10, 20), 4: (30, 40)}, "b": {1: (50, 60)}},
        max_bytes=1000,
        partition_max_bytes=500,
        max_wait_ms=7,
        min_bytes=3,
        isolation_level=1,
    )
    header, request = read("fetch", "FetchRequest", version, version >= 12, template.frame)
    assert header.request_api_key == 1
    assert (request.min_bytes, request.max_bytes) == (3, 1000)
    assert int(request.isolation_level) == 1
    assert request.max_wait.total_seconds() == pytest.approx(0.007)
    if version >= 7:
        assert (request.session_id, request.session_epoch) == (0, -1)
    found = [
        (topic.topic, part.partition, part.fetch_offset, part.partition_max_bytes)
        for topic in request.topics
        for part in topic.partitions
    ]
    assert found == [("a", 0, 10, 500), ("a", 4, 30, 500), ("b", 1, 50, 500)]
    places = [struct.unpack_from(">q", template.frame, c.position)[0] for c in template.cursors]
    assert places == [10, 30, 50]
    assert [(c.partition, c.start, c.end) for c in template.cursors] == [
        (0, 10, 20),
        (4, 30, 40),
        (1, 50, 60),
    ]


def test_fence() -> None:
    header, _ = read("api_versions", "ApiVersionsRequest", 0, False, fence_request())
    assert header.correlation_id == FENCE_CORRELATION_ID


def test_versions_that_name_no_topics_are_refused() -> None:
    with pytest.raises(ValueError, match="Produce version 13"):
        produce_request(13, {})
    with pytest.raises(ValueError, match="Fetch version 13"):
        fetch_request(13, {}, max_bytes=1, partition_max_bytes=1)

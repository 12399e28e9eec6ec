"""Small questions about partitions."""

from __future__ import annotations

from tests.unit.controller.worlds import node
from tidelog.handlers.partitions import codes_of, duplicates, is_offline, merged_codes
from tidelog.metadata.image import MetadataImage, PartitionImage, TopicImage
from tidelog.protocol.error_codes import ErrorCode


def test_offline_nodes() -> None:
    image = MetadataImage().apply([node(1), node(2, fenced=True)], 1)
    assert [is_offline(i, image) for i in (1, 2, 3, -1)] == [False, True, True, True]


def test_duplicates() -> None:
    assert duplicates([]) == set()
    assert duplicates(["a", "b"]) == set()
    assert duplicates([("a", 1), ("a", 2), ("a", 1), ("a", 1)]) == {("a", 1)}


def test_codes_of() -> None:
    partitions = tuple(PartitionImage(index, (1,), (1,), 1, 0, 0) for index in range(2))
    topic = TopicImage("a", bytes(16), partitions)
    none, unknown = ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert codes_of(topic, [1, 0, 2, -1]) == {1: none, 0: none, 2: unknown, -1: unknown}
    assert codes_of(None, [0, 7]) == {0: unknown, 7: unknown}
    by_id = ErrorCode.UNKNOWN_TOPIC_ID
    assert codes_of(None, [0], by_id) == {0: by_id}
    assert codes_of(topic, [2], by_id) == {2: unknown}


def test_merged_codes() -> None:
    assert merged_codes([0, 3, 0], [7, 0]) == [7, 3, 0]
    assert merged_codes([], []) == []

"""Small questions about partitions."""

from __future__ import annotations

from tests.unit.controller.worlds import node
from tidelog.handlers.partitions import duplicates, is_offline
from tidelog.metadata.image import MetadataImage


def test_offline_nodes() -> None:
    image = MetadataImage().apply([node(1), node(2, fenced=True)], 1)
    assert [is_offline(i, image) for i in (1, 2, 3, -1)] == [False, True, True, True]


def test_duplicates() -> None:
    assert duplicates([]) == set()
    assert duplicates(["a", "b"]) == set()
    assert duplicates([("a", 1), ("a", 2), ("a", 1), ("a", 1)]) == {("a", 1)}
